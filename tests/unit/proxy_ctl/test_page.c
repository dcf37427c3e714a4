#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/ctl/page.h"

TestSuite(page, .timeout = 30);

static char *print(const char *text, const char *filter, bool is_wide)
{
    static char out[65536];
    struct text page = {0};
    json_error_t error;
    const struct page_options options = {str_from(filter), is_wide};
    json_t *json = json_loads(text, JSON_ALLOW_NUL, &error);
    cr_assert_not_null(json, "%s", error.text);
    page_print(json, &options, &page);
    snprintf(out, sizeof(out), "%s", page.ptr ? page.ptr : "");
    json_decref(json);
    text_fini(&page);
    return out;
}

Test(page, units_of_names_are_shown_as_people_write_them)
{
    static const struct {
        const char *member, *line;
    } rows[] = {
        {"\"up_s\":0", "up:  0s\n"},
        {"\"up_s\":59", "up:  59s\n"},
        {"\"up_s\":60", "up:  1m00s\n"},
        {"\"up_s\":3599", "up:  59m59s\n"},
        {"\"up_s\":3600", "up:  1h00m\n"},
        {"\"up_s\":86399", "up:  23h59m\n"},
        {"\"up_s\":86400", "up:  1d00h\n"},
        {"\"up_s\":-5", "up:  -5\n"},
        {"\"age_ms\":999", "age:  999ms\n"},
        {"\"age_ms\":61000", "age:  1m01s\n"},
        {"\"bytes_sent\":1023", "bytes sent:  1023B\n"},
        {"\"bytes_sent\":1024", "bytes sent:  1.0KiB\n"},
        {"\"bytes_sent\":1048575", "bytes sent:  1.0MiB\n"},
        {"\"bytes_sent\":9223372036854775807", "bytes sent:  8.0EiB\n"},
        {"\"n\":12345", "n:  12345\n"},
        {"\"x\":0.5", "x:  0.5\n"},
        {"\"x\":null", "x:  -\n"},
        {"\"x\":true", "x:  yes\n"},
        {"\"x\":[]", "x:  -\n"},
        {"\"x\":{}", "x:  -\n"},
        {"\"x\":[1,\"a\",null,[2,3]]", "x:  1, a, , 2, 3\n"},
    };

    char page[256];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(page, sizeof(page), "{%s}", rows[i].member);
        cr_expect_str_eq(print(page, "", false), rows[i].line, "%s", rows[i].member);
    }
}

Test(page, a_list_that_nobody_knows_is_a_table_of_what_its_rows_hold)
{
    cr_expect_str_eq(print("{\"peers\":[{\"cluster\":\"east\",\"up\":true},{\"up\":false,"
                           "\"why\":\"tls\"}],\"x\":1}",
                           "", false),
                     "x:  1\n"
                     "\n"
                     "peers:\n"
                     "  CLUSTER  UP   WHY\n"
                     "  east     yes  -\n"
                     "  -        no   tls\n");
}

Test(page, a_column_that_no_row_has_is_left_out)
{
    cr_expect_str_eq(
        print("{\"endpoints\":[{\"address\":\"10.0.0.1\",\"service\":\"a\"}]}", "", false),
        "SERVICE  ADDRESS\n"
        "a        10.0.0.1\n");
}

Test(page, conditions_are_written_as_kubernetes_does)
{
    static const char text[] =
        "{\"exports\":[{\"name\":\"a\",\"conditions\":["
        "{\"type\":\"Ready\",\"status\":\"True\",\"reason\":\"Ready\"},"
        "{\"type\":\"Conflict\",\"status\":\"True\",\"reason\":\"PortConflict\","
        "\"message\":\"two ports\"}]}]}";
    cr_expect_str_eq(print(text, "", false), "NAME  CONDITIONS\n"
                                             "a     Ready=True, Conflict=True (PortConflict): two "
                                             "ports\n");
}

Test(page, lists_without_rows_say_so)
{
    cr_expect_str_eq(print("{\"endpoints\":[]}", "", false), "no endpoints\n");
    cr_expect_str_eq(print("{\"certificates\":[],\"bundles\":[]}", "", false),
                     "certificates:\n  no certificates\n\nbundles:\n  no bundles\n");
    cr_expect_str_eq(print("{\"peers\":[]}", "", false), "peers:  -\n");
    cr_expect_str_eq(print("{\"health\":[]}", "", false), "no active checks\n");
}

Test(page, a_page_of_a_longer_list_says_which_and_how_to_see_the_next)
{
    static const struct {
        const char *rows, *total, *offset, *last;
    } rows[] = {
        {"{\"service\":\"a\"},{\"service\":\"b\"}", "10", "0",
         "b\n\nendpoints 1 to 2 of 10; --offset 2 shows the next\n"},
        {"{\"service\":\"a\"},{\"service\":\"b\"}", "10", "4",
         "b\n\nendpoints 5 to 6 of 10; --offset 6 shows the next\n"},
        {"{\"service\":\"a\"},{\"service\":\"b\"}", "10", "8", "b\n\nendpoints 9 to 10 of 10\n"},
        {"{\"service\":\"a\"},{\"service\":\"b\"}", "2", "0", "SERVICE\na\nb\n"},
        {"", "10", "20", "no endpoints\nthere are only 10\n"},
        {"", "0", "0", "no endpoints\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256];
        snprintf(text, sizeof(text), "{\"endpoints\":[%s],\"total\":%s,\"offset\":%s}",
                 rows[i].rows, rows[i].total, rows[i].offset);
        const char *out = print(text, "", false);
        cr_expect(str_ends_with(str_from(out), str_from(rows[i].last)), "row %zu: %s", i, out);
    }
}

Test(page, endpoints_show_share_and_latency_with_their_units_and_why_they_get_nothing)
{
    cr_expect_str_eq(
        print("{\"endpoints\":[{\"service\":\"a\",\"share_pct\":33.333,\"in_flight\":2,"
              "\"latency_ms\":1.25,\"health\":\"healthy\",\"active\":\"good\",\"passive\":\"good\","
              "\"until\":null,\"why\":\"\"},{\"service\":\"a\",\"share_pct\":null,\"in_flight\":0,"
              "\"latency_ms\":null,\"health\":\"unready\",\"why\":\"terminating\"}]}",
              "", false),
        "SERVICE  SHARE  IN FLIGHT  LATENCY  HEALTH   WHY\n"
        "a        33.3%  2          1.2ms    healthy  -\n"
        "a        -      0          -        unready  terminating\n");
}

Test(page, what_the_server_cut_off_is_told)
{
    const char *page = print("{\"endpoints\":[{\"service\":\"a\"}],\"truncated\":true}", "", false);
    cr_expect(strstr(page, "truncated:  yes\n"), "%s", page);
}

Test(page, depth_and_columns_are_bounded_whatever_the_server_sends)
{
    static char deep[4096], wide[16384];
    for (int i = 0; i < 300; i++)
        strncat(deep, "{\"a\":", sizeof(deep) - strlen(deep) - 1);
    strncat(deep, "1", sizeof(deep) - strlen(deep) - 1);
    for (int i = 0; i < 300; i++)
        strncat(deep, "}", sizeof(deep) - strlen(deep) - 1);
    const char *page = print(deep, "", false);
    cr_expect(strstr(page, "...") != NULL && strlen(page) < 1000, "%s", page);

    size_t len = (size_t)snprintf(wide, sizeof(wide), "{\"rows\":[");
    for (int i = 0; i < 500; i++)
        len += (size_t)snprintf(wide + len, sizeof(wide) - len, "%s{\"m%d\":%d}", i > 0 ? "," : "",
                                i, i);
    snprintf(wide + len, sizeof(wide) - len, "]}");
    page = print(wide, "", false);
    cr_expect(strstr(page, "M31") != NULL);
    cr_expect(strstr(page, "M32") == NULL);
}

Test(page, a_filter_looks_into_every_string_of_a_row)
{
    static const char text[] = "{\"endpoints\":[{\"service\":\"a\",\"x\":{\"y\":[\"deep\"]}},"
                               "{\"service\":\"b\"}]}";
    cr_expect(strstr(print(text, "deep", false), "\na "));
    cr_expect(!strstr(print(text, "deep", false), "\nb "));
    cr_expect_str_eq(print(text, "none\x1b", false), "no endpoints match \"none\\x1b\"\n");
}
