#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/yaml.h"
#include "fixture.h"
#include "proxy/base/clock.h"
#include "proxy/base/text.h"

static struct arena arena;
static struct diag diag;

static void begin(void)
{
    arena = (struct arena){0};
    diag = (struct diag){0};
}

static void end(void)
{
    arena_fini(&arena);
    diag_fini(&diag);
}

TestSuite(yaml, .init = begin, .fini = end, .timeout = 20);

static struct yaml *one(const char *text)
{
    struct yaml **docs;
    size_t n = yaml_parse(&arena, STR("f.yaml"), str_from(text), &docs, &diag);
    return n > 0 ? docs[0] : NULL;
}

Test(yaml, remembers_where_everything_stood)
{
    const struct yaml *doc = one("a: 1\nb:\n  - x\n  - {c: \"2\"}\n");
    cr_assert(diag_is_clean(&diag), "%s", said(&diag));
    const struct yaml *c = yaml_get(yaml_get(doc, "b")->items[1], "c");
    cr_expect_eq(c->place.line, 4);
    cr_expect_eq(c->place.column, 9);
    cr_expect(str_eq(c->place.file, STR("f.yaml")));
    cr_expect(c->quoted);
    cr_expect_not(yaml_get(doc, "a")->quoted);
}

Test(yaml, reads_many_documents_and_leaves_out_empty_ones)
{
    struct yaml **docs;
    size_t n =
        yaml_parse(&arena, STR("f"), STR("---\n# none\n---\na: 1\n---\n---\nb: 2\n"), &docs, &diag);
    cr_assert_eq(n, 2);
    cr_expect_not_null(yaml_get(docs[0], "a"));
    cr_expect_not_null(yaml_get(docs[1], "b"));
}

Test(yaml, reads_json_with_tabs)
{
    const struct yaml *doc = one("{\n\t\"a\": {\n\t\t\"b\": [1, 2]\n\t}\n}\n");
    cr_assert(diag_is_clean(&diag), "%s", said(&diag));
    cr_expect_eq(yaml_path(doc, "a.b")->len, 2);
}

Test(yaml, takes_null_tilde_and_nothing_as_absent)
{
    const struct yaml *doc = one("a: null\nb: ~\nc:\nd: \"null\"\n");
    cr_expect_null(yaml_get(doc, "a"));
    cr_expect_null(yaml_get(doc, "b"));
    cr_expect_null(yaml_get(doc, "c"));
    cr_expect_not_null(yaml_get(doc, "d"));
    cr_expect_null(yaml_get(NULL, "a"));
    cr_expect_null(yaml_path(doc, "a.b.c"));
}

Test(yaml, unfolds_aliases)
{
    const struct yaml *doc = one("a: &x {b: 1}\nc: *x\n");
    cr_expect(str_eq(yaml_path(doc, "c.b")->text, STR("1")));
}

Test(yaml, refuses_what_the_header_says_with_its_place)
{
    static const struct {
        const char *name, *text, *said;
    } rows[] = {
        {"tab", "a:\n\tb: 1\n", "f.yaml:2:1: error: a tab stands where the indentation is"},
        {"tab after blanks", "a:\n  \tb: 1\n", "f.yaml:2:3: error: a tab stands"},
        {"duplicate key", "a: 1\nb: 2\na: 3\n",
         "f.yaml:3:1: error: the key \"a\" is there twice, first in line 1"},
        {"duplicate key below", "x:\n  a: 1\n  a: 1\n", "f.yaml:3:3: error: the key \"a\""},
        {"list as key", "? [a]\n: 1\n", "f.yaml:1:3: error: a key must be a plain word"},
        {"alias of nothing", "a: *b\n", "f.yaml:1:4: error: the alias \"*b\" has no anchor"},
        {"alias in itself", "a: &b\n  c: *b\n",
         "f.yaml:2:6: error: the alias \"*b\" stands inside"},
        {"anchors end with their document", "a: &b 1\n---\na: *b\n",
         "f.yaml:3:4: error: the alias"},
        {"merge key", "a: &b {c: 1}\nd:\n  <<: *b\n", "f.yaml:3:3: error: merge keys"},
        {"foreign tag", "a: !ruby/object 1\n", "f.yaml:1:4: error: the tag"},
        {"cut off", "a: {b: 1,\n", "f.yaml:2:1: error: not valid YAML"},
        {"cut off in quotes", "a: \"b\n", "error: not valid YAML"},
        {"not UTF-8", "a: 1\nb: \"\xff\"\n", "f.yaml:2:5: error: the text is not UTF-8"},
        {"Latin-1", "name: caf\xe9\n", "f.yaml:1:10: error: the text is not UTF-8"},
        {"control character", "a: 1\nb: \x01\n", "f.yaml:2:4: error: the text has a character"},
        {"colon in a value", "a: b: c\n", "f.yaml:1:5: error: not valid YAML"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        diag = (struct diag){0};
        (void)one(rows[i].text);
        cr_expect_eq(diag.n_errors, 1, "%s: %s", rows[i].name, said(&diag));
        expect_said(&diag, rows[i].name, rows[i].said);
        diag_fini(&diag);
    }
}

Test(yaml, returns_the_documents_before_an_error)
{
    struct yaml **docs;
    cr_expect_eq(yaml_parse(&arena, STR("f"), STR("a: 1\n---\nb: {\n"), &docs, &diag), 1);
    cr_expect_eq(diag.n_errors, 1);
}

Test(yaml, counts_columns_in_letters_not_bytes)
{
    (void)one("\"\xc3\xa4\xc3\xb6\": {b: 1, b: 2}\n");
    expect_said(&diag, "umlauts", "f.yaml:1:14: error: the key \"b\"");
}

Test(yaml, bounds_the_depth)
{
    struct text text = {0};
    for (int i = 0; i < YAML_DEPTH_MAX; i++)
        text_addc(&text, '[');
    for (int i = 0; i < YAML_DEPTH_MAX; i++)
        text_addc(&text, ']');
    cr_expect_not_null(one(text.ptr));
    cr_expect(diag_is_clean(&diag), "%s", said(&diag));
    text_clear(&text);
    for (int i = 0; i < 100000; i++)
        text_addc(&text, '[');
    cr_expect_null(one(text.ptr));
    expect_said(&diag, "deep", "nested too deeply");
    text_fini(&text);
}

Test(yaml, bounds_the_depth_that_aliases_make)
{
    struct text text = {0};
    text_add(&text, STR("a0: &a0 [[[[[[[[[[1]]]]]]]]]]\n"));
    for (int i = 1; i < 10; i++)
        text_addf(&text, "a%d: &a%d [[[[[[[[[[*a%d]]]]]]]]]]\n", i, i, i - 1);
    cr_expect_null(one(text.ptr));
    expect_said(&diag, "deep aliases", "nested too deeply");
    text_fini(&text);
}

Test(yaml, bounds_a_billion_laughs_by_the_node_count)
{
    struct text text = {0};
    text_add(&text, STR("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"));
    for (int i = 1; i < 20; i++)
        text_addf(&text, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i,
                  i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    cr_expect_null(one(text.ptr));
    expect_said(&diag, "laughs", "too many nodes");
    text_fini(&text);
}

Test(yaml, reads_durations)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } rows[] = {
        {"400ms", 400 * NS_PER_MS},    {"10s", 10 * NS_PER_SEC},     {"5m", 300 * NS_PER_SEC},
        {"1h", 3600 * NS_PER_SEC},     {"1h30m", 5400 * NS_PER_SEC}, {"0", 0},
        {"1s500ms", 1500 * NS_PER_MS}, {"\"2s\"", 2 * NS_PER_SEC},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), "d: %s\n", rows[i].text);
        cr_expect_eq(yaml_duration_ns(yaml_get(one(text), "d"), "d", 0, UINT64_MAX, 7, &diag),
                     rows[i].ns, "%s", rows[i].text);
    }
    cr_expect(diag_is_clean(&diag), "%s", said(&diag));
}

Test(yaml, says_what_a_duration_looks_like)
{
    static const char *const rows[] = {"10",
                                       "s",
                                       "-1s",
                                       "1.5s",
                                       "1 s",
                                       "10sec",
                                       "[1s]",
                                       "\"\"",
                                       "99999999999999999999s",
                                       "9999999999999h",
                                       "1s1"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[64];
        diag = (struct diag){0};
        snprintf(text, sizeof(text), "d: %s\n", rows[i]);
        cr_expect_eq(yaml_duration_ns(yaml_get(one(text), "d"), "d", 0, UINT64_MAX, 7, &diag), 7,
                     "%s", rows[i]);
        expect_said(&diag, rows[i], "a duration such as 400ms, 10s, 5m or 1h");
        diag_fini(&diag);
    }
    (void)yaml_duration_ns(yaml_get(one("d: 2h\n"), "d"), "timeouts.d", NS_PER_MS,
                           3600 * NS_PER_SEC, 7, &diag);
    expect_said(&diag, "range",
                "f.yaml:1:4: error: timeouts.d: \"2h\" is not a duration from 1ms to 1h");
}

Test(yaml, typed_readers_name_field_value_and_expectation)
{
    const struct yaml *doc = one("t: [1]\nb: yes\nq: \"true\"\nn: 70000\ns: \"5\"\nm: x\n");
    cr_expect(str_eq(yaml_text(yaml_get(doc, "t"), "a.t", STR("z"), &diag), STR("z")));
    expect_said(&diag, "text", "f.yaml:1:4: error: a.t: expected text, found a list");
    cr_expect(yaml_bool(yaml_get(doc, "b"), "a.b", true, &diag));
    expect_said(&diag, "bool", "f.yaml:2:4: error: a.b: \"yes\" is not true or false");
    cr_expect_not(yaml_bool(yaml_get(doc, "q"), "a.q", false, &diag));
    expect_said(&diag, "quoted", "\"true\" is not true or false (without quotes)");
    cr_expect_eq(yaml_u64(yaml_get(doc, "n"), "a.n", 1, 65535, 9, &diag), 9);
    expect_said(&diag, "u64", "a.n: \"70000\" is not a whole number from 1 to 65535");
    cr_expect_eq(yaml_u64(yaml_get(doc, "s"), "a.s", 1, 65535, 9, &diag), 9);
    expect_said(&diag, "number in quotes", "a.s: \"5\" is not a whole number");
    cr_expect_not(yaml_is_mapping(yaml_get(doc, "m"), "a.m", &diag));
    expect_said(&diag, "mapping", "a.m: \"x\" is not a mapping");
    cr_expect_eq(diag.n_errors, 6);
    cr_expect_eq(yaml_u64(yaml_get(doc, "absent"), "a", 1, 2, 9, &diag), 9);
    cr_expect_eq(diag.n_errors, 6);
}

Test(yaml, names_the_nearest_known_key)
{
    static const char *const known[] = {"principals", "namespaces", "ports", NULL};
    yaml_only_keys(one("principal: 1\nports: 2\nfoo: 3\n"), "source", known, &diag);
    cr_expect_eq(diag.n_errors, 2);
    expect_said(&diag, "near",
                "f.yaml:1:1: error: source.principal: there is no such key; did you "
                "mean \"principals\"?");
    expect_said(&diag, "far", "f.yaml:3:1: error: source.foo: there is no such key\n");
}

Test(yaml, as_json_reads_as_the_same_tree)
{
    static const struct {
        const char *text, *json;
    } rows[] = {
        {"{a: [1, -2.5e+3, 0, true, false, null, ~]}",
         "{\"a\":[1,-2.5e+3,0,true,false,null,null]}"},
        {"{a: '1', \"b\": \"true\"}", "{\"a\":\"1\",\"b\":\"true\"}"},
        {"a: 10.0.0.1\nb: 007\nc: 1.\nd: 1e\ne: --\nf: .5\n",
         "{\"a\":\"10.0.0.1\",\"b\":\"007\",\"c\":\"1.\",\"d\":\"1e\",\"e\":\"--\",\"f\":\".5\"}"},
        {"\"q\\\"\\n\": \"\\\\ \xc3\xa4\"\n", "{\"q\\\"\\n\":\"\\\\ \xc3\xa4\"}"},
        {"[[], {}]", "[[],{}]"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena = {0};
        struct diag told = {0};
        struct text json = {0}, again = {0};
        struct yaml **docs;

        cr_assert_eq(yaml_parse(&arena, STR("x"), str_from(rows[i].text), &docs, &told), 1);
        yaml_json(docs[0], &json);
        cr_expect_str_eq(json.ptr, rows[i].json, "%s: %s", rows[i].text, json.ptr);
        cr_assert_eq(yaml_parse(&arena, STR("x"), text_str(&json), &docs, &told), 1);
        yaml_json(docs[0], &again);
        cr_expect_str_eq(again.ptr, json.ptr);
        text_fini(&json);
        text_fini(&again);
        diag_fini(&told);
        arena_fini(&arena);
    }
}
