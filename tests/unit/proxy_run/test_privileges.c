/* In a network namespace of its own; needs root, to give it up, and nft. */
#include <criterion/criterion.h>
#include <sched.h>
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
