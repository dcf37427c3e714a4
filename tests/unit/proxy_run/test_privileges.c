/* In a network namespace of its own; needs root, to give it up, and nft. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proxy/accept/nft.h"
#include "proxy/run/privileges.h"

TestSuite(privileges, .timeout = 60);

/* As a container is started that runs as another user and has capabilities. */
static void become_another_user(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        cr_skip("needs root, to give it up");
    cr_assert_eq(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), 0);
    cr_assert_eq(setgid(65534), 0);
    cr_assert_eq(setuid(65534), 0);
}

#define BIT(capability) (UINT64_C(1) << (capability))

/* A line of the status of whoever reads it: the program of this command, or we. */
static uint64_t status_of(const char *command, const char *line)
{
    char row[128];
    uint64_t value = UINT64_MAX;
    FILE *status = command ? popen(command, "r") : fopen("/proc/self/status", "r");
    cr_assert_not_null(status);
    while (fgets(row, sizeof row, status))
        if (strncmp(row, line, strlen(line)) == 0)
            (void)sscanf(row + strlen(line), "%" SCNx64, &value);
    (void)(command ? pclose(status) : fclose(status));
    return value;
}

static void expect_two_capabilities_and_one_of_a_program(void)
{
    const uint64_t both = BIT(CAP_NET_ADMIN) | BIT(CAP_NET_BIND_SERVICE);
    cr_expect_eq(status_of(NULL, "CapPrm:"), both);
    cr_expect_eq(status_of(NULL, "CapEff:"), both);
    cr_expect_eq(status_of(NULL, "NoNewPrivs:"), 1);
    cr_expect_eq(status_of("cat /proc/self/status", "CapPrm:"), BIT(CAP_NET_ADMIN));
}

static int write_a_table(struct text *why)
{
    static const char commands[] = "add table inet privileges\ndelete table inet privileges\n";
    return nft_run(str_from(commands), why);
}

Test(privileges, a_proxy_that_is_not_root_writes_rules_by_its_capability)
{
    struct text why = {0};
    become_another_user();
    cr_assert_null(privileges_keep_network());

    cr_expect_eq(write_a_table(&why), 0, "%s", why.ptr);

    text_fini(&why);
}

Test(privileges, a_proxy_has_two_capabilities_and_its_programs_one)
{
    become_another_user();
    cr_assert_null(privileges_keep_network());

    expect_two_capabilities_and_one_of_a_program();
}

Test(privileges, a_proxy_that_is_root_has_no_more)
{
    if (geteuid() != 0 || prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) != 1)
        cr_skip("needs root with CAP_SETPCAP");
    cr_assert_null(privileges_keep_network());

    expect_two_capabilities_and_one_of_a_program();
}

Test(privileges, control_has_none_and_neither_have_its_programs)
{
    if (geteuid() != 0 || prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) != 1)
        cr_skip("needs root with CAP_SETPCAP");
    privileges_drop_all();

    cr_expect_eq(status_of(NULL, "CapPrm:"), 0);
    cr_expect_eq(status_of(NULL, "NoNewPrivs:"), 1);
    cr_expect_eq(status_of("cat /proc/self/status", "CapPrm:"), 0);
}

Test(privileges, control_which_drops_all_can_write_none)
{
    struct text why = {0};
    become_another_user();
    privileges_drop_all();

    cr_expect_eq(write_a_table(&why), -ERR_SYSTEM);

    cr_expect_not_null(why.ptr);
    cr_expect(why.ptr && strstr(why.ptr, "nftables: "), "%s", why.ptr);
    text_fini(&why);
}
