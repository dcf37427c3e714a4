/* Paths: one form, or none. */
#include <criterion/criterion.h>

#include "proxy/http/path.h"

TestSuite(path, .timeout = 20);

struct row {
    const char *target, *base, *merged, *decoded; /* NULL: as the one before it */
};

static void expect(const char *target, enum http_path_rules rules, const char *expected)
{
    struct arena arena = {0};
    struct http_path path;
    const char *why = "";
    const int err = http_path_normalize(str_from(target), rules, &arena, &path, &why);
    cr_expect_eq(err, 0, "%s: %s", target, why);
    cr_expect(err || str_eq(path.target, str_from(expected)), "%s by rules %d is %.*s, not %s",
              target, rules, STR_ARG(path.target), expected);
    /* What is forwarded must be read by the next one as it was read here. */
    struct http_path again;
    cr_expect_eq(http_path_normalize(path.target, rules, &arena, &again, &why), 0, "%s", target);
    cr_expect(str_eq(again.target, path.target), "%s by rules %d moves on to %.*s", target, rules,
              STR_ARG(again.target));
    arena_fini(&arena);
}

/* An escape in front of a path makes it one that is looked at byte by byte. */
static void expect_same_the_long_way(struct str target, enum http_path_rules rules)
{
    struct arena arena = {0};
    struct http_path path = {0}, longer = {0};
    const char *why = "";
    const struct str with_escape = arena_printf(&arena, "/%%41%.*s", STR_ARG(target));
    const int err = http_path_normalize(target, rules, &arena, &path, &why);
    const int longer_err = http_path_normalize(with_escape, rules, &arena, &longer, &why);

    cr_assert_eq(err, longer_err, "%.*s by rules %d", STR_ARG(target), rules);
    if (!err)
        cr_assert(str_eq(longer.target, arena_printf(&arena, "/A%.*s", STR_ARG(path.target))),
                  "%.*s by rules %d is %.*s, or else %.*s", STR_ARG(target), rules,
                  STR_ARG(path.target), STR_ARG(longer.target));
    arena_fini(&arena);
}

Test(path, of_any_length_is_the_same_whether_it_is_looked_at_in_blocks_or_not)
{
    char path[40];

    for (size_t len = 2; len < sizeof(path); len += 1 + len / 20 * 4) {
        for (size_t at = 1; at < len; at++) {
            for (int byte = 1; byte<256; byte += byte> '0' && byte < 'z' ? 5 : 1) {
                for (size_t i = 0; i < len; i++)
                    path[i] = i % 8 == 0 ? '/' : 'a';
                path[at] = (char)byte;
                for (int rules = HTTP_PATH_MERGE_SLASHES;
                     rules <= HTTP_PATH_DECODE_AND_MERGE_SLASHES; rules++)
                    expect_same_the_long_way(str_of(path, len), (enum http_path_rules)rules);
            }
        }
    }
}

Test(path, has_one_normal_form_under_each_rule)
{
    static const struct row rows[] = {
        {"/", "/", NULL, NULL},
        {"/a/b", "/a/b", NULL, NULL},
        {"/a/b/", "/a/b/", NULL, NULL},
        {"/%61", "/a", NULL, NULL},
        {"/%2561", "/%2561", NULL, NULL},
        {"/%7euser/%2E%2e/x", "/x", NULL, NULL},
        {"/a%2fb", "/a%2Fb", "/a%2Fb", "/a/b"},
        {"/a%5cb", "/a%5Cb", "/a%5Cb", "/a/b"},
        {"/a\\b", "/a/b", NULL, NULL},
        {"/caf\xc3\xa9", "/caf%C3%A9", NULL, NULL},
        {"/caf%c3%a9", "/caf%C3%A9", NULL, NULL},
        {"/info/../admin", "/admin", NULL, NULL},
        {"/./a/./b/.", "/a/b/", NULL, NULL},
        {"/a/b/..", "/a/", NULL, NULL},
        {"/../../a", "/a", NULL, NULL},
        {"/..", "/", NULL, NULL},
        {"/a/..\\admin", "/admin", NULL, NULL},
        {"/a/%2e%2e%2fadmin", "/a/..%2Fadmin", "/a/..%2Fadmin", "/admin"},
        {"/...", "/...", NULL, NULL},
        {"/.hidden", "/.hidden", NULL, NULL},
        {"/a.b/c..d", "/a.b/c..d", NULL, NULL},
        {"//admin", "//admin", "/admin", "/admin"},
        {"/a//b///c", "/a//b///c", "/a/b/c", "/a/b/c"},
        {"/a//../b", "/a/b", NULL, NULL},
        {"/a/%2f/b", "/a/%2F/b", "/a/%2F/b", "/a/b"},
        {"/a?q=%2e%2e//%zz", "/a?q=%2e%2e//%zz", NULL, NULL},
        {"/%61?", "/a?", NULL, NULL},
        {"/?", "/?", NULL, NULL},
        {"/a;p=1/b:c@d!$&'()*+,=", "/a;p=1/b:c@d!$&'()*+,=", NULL, NULL},
        {"*", "*", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *merged = rows[i].merged ? rows[i].merged : rows[i].base;
        expect(rows[i].target, HTTP_PATH_BASE, rows[i].base);
        expect(rows[i].target, HTTP_PATH_MERGE_SLASHES, merged);
        expect(rows[i].target, HTTP_PATH_DECODE_AND_MERGE_SLASHES,
               rows[i].decoded ? rows[i].decoded : merged);
    }
}

Test(path, that_could_be_read_in_two_ways_is_refused)
{
    static const char *const rows[] = {"",       "a",      "a/b",  "?a",    "http://a/b", "/a%",
                                       "/a%4",   "/a%4g",  "/%00", "/a#b",  "/a b",       "/a\tb",
                                       "/a\x7f", "/a\x01", "**",   "*?a=b", "/%%41"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena = {0};
        struct http_path path;
        const char *why = NULL;
        cr_expect_lt(
            http_path_normalize(str_from(rows[i]), HTTP_PATH_MERGE_SLASHES, &arena, &path, &why), 0,
            "\"%s\"", rows[i]);
        cr_expect_not_null(why, "\"%s\"", rows[i]);
        arena_fini(&arena);
    }
    const char *why;
    struct http_path path;
    struct arena arena = {0};
    cr_expect_lt(http_path_normalize((struct str){"/a\0b", 4}, HTTP_PATH_BASE, &arena, &path, &why),
                 0);
}

Test(path, in_normal_form_is_borrowed)
{
    struct arena arena = {0};
    struct http_path path;
    const char *why;
    const struct str target = STR("/a/b.c?d=e?f");
    cr_assert_eq(http_path_normalize(target, HTTP_PATH_MERGE_SLASHES, &arena, &path, &why), 0);
    cr_expect_eq(path.target.ptr, target.ptr);
    cr_expect(str_eq(path.path, STR("/a/b.c")));
    cr_expect(str_eq(path.query, STR("d=e?f")));
    cr_expect_eq(arena.allocated_bytes, 0);
    cr_assert_eq(http_path_normalize(STR("/%61?d"), HTTP_PATH_BASE, &arena, &path, &why), 0);
    cr_expect(str_eq(path.path, STR("/a")));
    cr_expect(str_eq(path.query, STR("d")));
    arena_fini(&arena);
}

Test(path, a_liberal_server_reads_some_paths_otherwise)
{
    static const struct {
        const char *path, *lax;
    } rows[] = {
        {"/a/b", "/a/b"},
        {"/", "/"},
        {"/a;x=1", "/a"},
        {"/a;x=1/b;y", "/a/b"},
        {"/pub/..;/admin", "/admin"},
        {"/pub/..;x=1/admin", "/admin"},
        {"/pub/.;/admin", "/pub/admin"},
        {"/pub/;/admin", "/pub/admin"},
        {"/pub/..%2Fadmin", "/admin"},
        {"/pub%2F..%2Fadmin", "/admin"},
        {"/pub/..%5Cadmin", "/admin"},
        {"/pub/%2F/../admin", "/admin"},
        {"/..%2F..%2F", "/"},
        {"/..;/..;", "/"},
        {"/;", "/"},
        {"/a%2Fb", "/a/b"},
        {"/a%252Fb", "/a%252Fb"},
        {"/a%3Bb", "/a%3Bb"},
        {"*", "*"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {0};
        const struct str lax = http_path_lax(str_from(rows[i].path), &arena);
        cr_expect(str_eq(lax, str_from(rows[i].lax)), "%s is %.*s", rows[i].path, STR_ARG(lax));
        arena_fini(&arena);
    }
}
