#include <criterion/criterion.h>

#include "config/path_template.h"

TestSuite(path_template, .timeout = 20);

/* A16 */
Test(path_template, an_operator_is_a_segment_or_any_number_of_them)
{
    static const struct {
        const char *template_, *path;
        bool matches;
    } rows[] = {
        {"/foo/{*}", "/foo/bar", true},
        {"/foo/{*}", "/foo/bar/baz", false},
        {"/foo/{*}", "/foo/", false},
        {"/foo/{*}", "/foo", false},
        {"/foo/{*}", "/foo/bar/", false},
        {"/foo/{*}", "/foo/*", true},
        {"/foo/{*}/", "/foo/bar/", true},
        {"/foo/{*}/", "/foo//", false},
        {"/{*}", "/a", true},
        {"/{*}", "/", false},
        {"/{*}", "", false},
        {"/{*}/b/{*}", "/a/b/c", true},
        {"/{*}/b/{*}", "/a/c/c", false},
        {"/{*}/b/{*}", "/a/x/b/c", false},
        {"/{*}/b", "/ab/b", true},
        {"/{*}/b", "/a/bc", false},
        {"/foo/{**}", "/foo/", true},
        {"/foo/{**}", "/foo", false},
        {"/foo/{**}", "/foo/a", true},
        {"/foo/{**}", "/foo/a/b/c/", true},
        {"/foo/{**}", "/food/a", false},
        {"/foo/{**}/", "/foo/bar/", true},
        {"/foo/{**}/", "/foo/bar/baz.txt/", true},
        {"/foo/{**}/", "/foo//", true},
        {"/foo/{**}/", "/foo/", false},
        {"/foo/{**}/", "/foo/bar", false},
        {"/foo/{**}/c", "/foo/a/b/c", true},
        {"/foo/{**}/c", "/foo//c", true},
        {"/foo/{**}/c", "/foo/c", false},
        {"/foo/{**}/c", "/foo/a/c/d", false},
        {"/foo/{*}/bar/{**}", "/foo/buzz/bar/", true},
        {"/foo/{*}/bar/{**}", "/foo/buzz/bar/baz/x", true},
        {"/foo/{*}/bar/{**}", "/foo/bar/x", false},
        {"/{**}", "/", true},
        {"/{**}", "/a//b", true},
        {"/{**}", "*", false},
        {"/FOO/{*}", "/foo/a", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct str template_ = str_from(rows[i].template_);
        cr_expect(path_is_template(template_), "row %zu", i);
        cr_expect_null(path_template_fault(template_), "row %zu: %s", i, rows[i].template_);
        cr_expect_eq(path_template_matches(template_, str_from(rows[i].path)), rows[i].matches,
                     "row %zu: %s of %s", i, rows[i].template_, rows[i].path);
    }
}

Test(path_template, what_is_no_template_says_what_is_wrong)
{
    static const struct {
        const char *text, *fault;
    } rows[] = {
        {"/*/baz/{*}", "a segment is empty or has a letter that no path has"},
        {"/{**}/foo/{*}", "{**} is not the last operator"},
        {"/{**}/{**}", "{**} is not the last operator"},
        {"/foo/{*}.txt", "a segment is {*}, {**} or letters, not both"},
        {"/foo{*}", "a segment is {*}, {**} or letters, not both"},
        {"/{**}bar", "a segment is {*}, {**} or letters, not both"},
        {"/{foo}", "a segment is {*}, {**} or letters, not both"},
        {"/{}", "a segment is {*}, {**} or letters, not both"},
        {"/{*}/}", "a segment is {*}, {**} or letters, not both"},
        {"/{***}", "a segment is {*}, {**} or letters, not both"},
        {"/{*}*", "a segment is {*}, {**} or letters, not both"},
        {"/{*}/a*", "a segment is empty or has a letter that no path has"},
        {"/a//{*}", "a segment is empty or has a letter that no path has"},
        {"/a b/{*}", "a segment is empty or has a letter that no path has"},
        {"/a?b={*}", "a segment is {*}, {**} or letters, not both"},
        {"{*}", "it does not begin with a slash"},
        {"{**}/a", "it does not begin with a slash"},
        {"a/{*}", "it does not begin with a slash"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *fault = path_template_fault(str_from(rows[i].text));
        cr_assert_not_null(fault, "%s", rows[i].text);
        cr_expect_str_eq(fault, rows[i].fault, "%s", rows[i].text);
        cr_expect(path_is_template(str_from(rows[i].text)), "%s", rows[i].text);
    }
}
