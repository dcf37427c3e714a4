/* ClusterSetIPs: stable, on disk before they are used, and what happens when there are none left.
 */
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "xds/control/vips.h"

#define REQUESTS_MAX 40

static struct temp_dir dir;
static struct vip_request requests[REQUESTS_MAX];

static void init(void)
{
    dir = temp_dir_new();
    log_set_level(LOG_ERROR);
}

static void fini(void)
{
    temp_dir_remove(&dir);
}

TestSuite(vips, .init = init, .fini = fini);

static struct vips *open_vips(const char *range, const char *range_6)
{
    struct cidr ranges[2];
    struct vips *vips = NULL;
    struct text why = {0};
    cr_assert_eq(cidr_parse(str_from(range), &ranges[0]), 0);
    if (range_6)
        cr_assert_eq(cidr_parse(str_from(range_6), &ranges[1]), 0);
    cr_assert_eq(vips_open(temp_dir_path(&dir), ranges, range_6 ? 2 : 1, &vips, &why), 0, "%s",
                 why.ptr);
    return vips;
}

/* names are static texts; the answers stay in requests until the next call. */
static int assign(struct vips *vips, const char *const *names, size_t n, int64_t now_ns)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        text_fini(&requests[i].problem);
    for (size_t i = 0; i < n; i++)
        requests[i] = (struct vip_request){.name = str_from(names[i])};
    return vips_assign(vips, requests, n, now_ns);
}

static void forget(struct vips *vips)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        text_fini(&requests[i].problem);
    vips_free(vips);
}

static const char *got(size_t idx)
{
    static char buf[IP_TEXT_MAX];
    return requests[idx].n_got ? ip_text(&requests[idx].got[0], buf) : "";
}

static void remove_file(void)
{
    struct arena arena = {0};
    cr_assert_eq(file_remove(arena_printf(&arena, "%s/vips.json", dir.path)), 0);
    arena_fini(&arena);
}

Test(vips, an_address_is_the_same_after_a_restart_and_whoever_else_comes)
{
    static const char *const one[] = {"shop/cart"};
    static const char *const three[] = {"bank/a", "shop/cart", "zoo/z"};
    struct vips *vips = open_vips("10.201.0.0/24", "fd00:201::/112");
    cr_assert_eq(assign(vips, one, 1, 1), 0);
    cr_assert_eq(requests[0].n_got, 2, "one a family");
    const struct ip v4 = requests[0].got[0], v6 = requests[0].got[1];
    cr_assert_eq(v4.len, 4);
    cr_assert_eq(v6.len, 16);
    forget(vips);

    vips = open_vips("10.201.0.0/24", "fd00:201::/112");
    cr_assert_eq(assign(vips, three, 3, 2), 0);
    cr_assert(ip_eq(&requests[1].got[0], &v4));
    cr_assert(ip_eq(&requests[1].got[1], &v6));
    cr_assert(!ip_eq(&requests[0].got[0], &v4));
    forget(vips);
}

Test(vips, without_the_file_the_first_choice_is_the_same)
{
    static const char *const one[] = {"shop/cart"};
    struct vips *vips = open_vips("10.201.0.0/16", NULL);
    cr_assert_eq(assign(vips, one, 1, 1), 0);
    const struct ip first = requests[0].got[0];
    forget(vips);
    remove_file();

    vips = open_vips("10.201.0.0/16", NULL);
    cr_assert_eq(assign(vips, one, 1, 1), 0);
    cr_assert(ip_eq(&requests[0].got[0], &first));
    forget(vips);
}

Test(vips, addresses_at_the_ends_of_a_range_are_not_handed_out)
{
    static const struct {
        const char *range;
        size_t n; /* how many it has */
        const char *first, *last;
    } rows[] = {
        {"10.201.0.0/30", 1, "10.201.0.2", "10.201.0.2"},
        {"10.201.0.0/29", 5, "10.201.0.2", "10.201.0.6"},
        {"10.201.0.0/31", 0, "", ""},
        {"10.201.0.0/32", 0, "", ""},
        {"fd00::/126", 2, "fd00::2", "fd00::3"},
        {"fd00::/125", 6, "fd00::2", "fd00::7"},
        {"fd00::/127", 0, "", ""},
        {"fd00::/128", 0, "", ""},
    };

    static const char *const names[] = {"a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "a/7", "a/8"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vips *vips = open_vips(rows[i].range, NULL);
        struct ip first, last;
        size_t n = 0;
        cr_assert_eq(assign(vips, names, ARRAY_LEN(names), 1), 0);
        (void)!ip_parse(str_from(rows[i].first), &first);
        (void)!ip_parse(str_from(rows[i].last), &last);
        for (size_t j = 0; j < ARRAY_LEN(names); j++) {
            if (requests[j].n_got == 0)
                continue;
            n++;
            const uint8_t *bytes = requests[j].got[0].bytes;
            const size_t end = requests[j].got[0].len - 1U;
            cr_assert(bytes[end] >= first.bytes[end] && bytes[end] <= last.bytes[end], "%s: %s",
                      rows[i].range, got(j));
        }
        cr_assert_eq(n, rows[i].n, "%s gives %zu", rows[i].range, n);
        forget(vips);
        temp_dir_remove(&dir);
        dir = temp_dir_new();
    }
}

Test(vips, a_full_range_is_told_and_others_keep_their_addresses)
{
    static const char *const one[] = {"shop/cart"};
    static const char *const two[] = {"bank/a", "shop/cart"};
    struct vips *vips = open_vips("10.201.0.0/30", NULL);
    cr_assert_eq(assign(vips, one, 1, 1), 0);
    cr_assert_eq(assign(vips, two, 2, 2), 0);

    cr_assert_eq(requests[0].n_got, 0);
    assert_str(text_str(&requests[0].problem),
               "the ClusterSetIP range 10.201.0.0/30 is full: bank/a gets no address");
    cr_assert_str_eq(got(1), "10.201.0.2");
    cr_assert(str_is_empty(text_str(&requests[1].problem)));
    forget(vips);
}

Test(vips, an_address_stays_reserved_until_the_range_is_full_then_the_longest_gone_goes)
{
    static const char *const abcde[] = {"a/a", "a/b", "a/c", "a/d", "a/e"};
    static const char *const cde[] = {"a/c", "a/d", "a/e"};
    static const char *const acde[] = {"a/a", "a/c", "a/d", "a/e"};
    static const char *const cdef[] = {"a/c", "a/d", "a/e", "a/f"};
    struct vips *vips = open_vips("10.201.0.0/29", NULL); /* five */
    cr_assert_eq(assign(vips, abcde, 5, 1), 0);
    const struct ip of_a = requests[0].got[0], of_b = requests[1].got[0];
    cr_assert_eq(assign(vips, acde, 4, 2), 0); /* b goes first */
    cr_assert_eq(assign(vips, cde, 3, 3), 0);  /* then a */

    cr_assert_eq(assign(vips, acde, 4, 4), 0);
    cr_assert(ip_eq(&requests[0].got[0], &of_a), "it came back");
    cr_assert_eq(assign(vips, cde, 3, 5), 0);
    forget(vips);
    vips = open_vips("10.201.0.0/29", NULL); /* who is gone since when survives a restart */
    cr_assert_eq(assign(vips, cdef, 4, 6), 0);
    cr_assert(ip_eq(&requests[3].got[0], &of_b), "the longest gone is b, not a");
    forget(vips);
}

Test(vips, a_changed_range_replaces_the_addresses_outside_of_it)
{
    static const char *const one[] = {"shop/cart"};
    struct vips *vips = open_vips("10.201.0.0/24", NULL);
    cr_assert_eq(assign(vips, one, 1, 1), 0);
    forget(vips);

    vips = open_vips("10.202.0.0/24", NULL);
    cr_assert_eq(assign(vips, one, 1, 2), 0);
    cr_assert(str_starts_with(str_from(got(0)), STR("10.202.0.")), "%s", got(0));
    forget(vips);
}

Test(vips, an_address_that_could_not_be_written_is_not_given_out)
{
    static const char *const one[] = {"shop/cart"};
    static const char *const two[] = {"bank/a", "shop/cart"};
    struct arena arena = {0};
    struct vips *vips = open_vips("10.201.0.0/24", NULL);
    const char *temporary = arena_printf(&arena, "%s/vips.json.tmp", dir.path).ptr;
    cr_assert_eq(assign(vips, one, 1, 1), 0);
    cr_assert_eq(mkdir(temporary, 0700), 0); /* a folder where the new file has to go */

    cr_assert_lt(assign(vips, two, 2, 2), 0);
    cr_assert_eq(requests[0].n_got, 0);
    cr_assert(str_contains(text_str(&requests[0].problem), STR("disk")));
    cr_assert_eq(requests[1].n_got, 1, "what is on the disk already stays");

    cr_assert_eq(rmdir(temporary), 0);
    cr_assert_eq(assign(vips, two, 2, 3), 0);
    cr_assert_eq(requests[0].n_got, 1);
    forget(vips);
    arena_fini(&arena);
}

Test(vips, a_damaged_file_is_an_error_and_not_a_new_beginning)
{
    static const char *const contents[] = {
        "",
        "{",
        "{\"version\": 2, \"addresses\": []}",
        "{\"version\": 1, \"addresses\": [{\"service\": \"a/b\"}]}",
        "{\"version\": 1, \"addresses\": [{\"service\": \"a/b\", \"address\": \"10.201.0.5\"}, "
        "{\"service\": \"a/c\", \"address\": \"10.201.0.5\"}]}",
        "{\"version\": 1, \"addresses\": [{\"service\": \"a/b\", \"address\": \"10.201.0.5\"}, "
        "{\"service\": \"a/b\", \"address\": \"10.201.0.6\"}]}",
    };
    struct arena arena = {0};
    struct str path = arena_printf(&arena, "%s/vips.json", dir.path);
    struct cidr range;
    cr_assert_eq(cidr_parse(STR("10.201.0.0/24"), &range), 0);
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        struct vips *vips = NULL;
        struct text why = {0};
        cr_assert_eq(file_write_atomic(path, str_from(contents[i]), 0600), 0);
        cr_assert_eq(vips_open(temp_dir_path(&dir), &range, 1, &vips, &why), -ERR_INVALID,
                     "content %zu", i);
        cr_assert(str_contains(text_str(&why), path), "%s", why.ptr);
        cr_assert_null(vips);
        text_fini(&why);
    }
    arena_fini(&arena);
}

Test(vips, an_address_that_a_manifest_asks_for_is_used_unless_somebody_has_it)
{
    static const char *const one[] = {"shop/cart"};
    struct vips *vips = open_vips("10.201.0.0/29", NULL);
    cr_assert_eq(assign(vips, one, 1, 1), 0);
    const struct ip of_cart = requests[0].got[0];

    for (size_t i = 0; i < 3; i++)
        requests[i] = (struct vip_request){0};
    requests[0].name = STR("bank/a"); /* wants what is free, and so another one does not */
    requests[0].wanted[0] = of_cart;
    requests[0].wanted[0].bytes[3] = of_cart.bytes[3] == 3 ? 4 : 3;
    requests[0].n_wanted = 1;
    requests[1].name = STR("bank/b"); /* wants what cart has */
    requests[1].wanted[0] = of_cart;
    requests[1].n_wanted = 1;
    requests[2].name = STR("shop/cart");
    cr_assert_eq(vips_assign(vips, requests, 3, 2), 0);

    cr_assert(ip_eq(&requests[0].got[0], &requests[0].wanted[0]));
    cr_assert_eq(requests[0].n_got, 1);
    cr_assert_eq(requests[1].n_got, 1);
    cr_assert(!ip_eq(&requests[1].got[0], &of_cart));
    cr_assert(!ip_eq(&requests[1].got[0], &requests[0].got[0]));
    cr_assert(str_contains(text_str(&requests[1].problem), STR("another service")));
    cr_assert(ip_eq(&requests[2].got[0], &of_cart));
    forget(vips);
}
