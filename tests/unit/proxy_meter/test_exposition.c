#include <criterion/criterion.h>

#include "proxy/meter/exposition.h"

TestSuite(exposition, .timeout = 5);

Test(exposition, a_metric_begins_with_help_and_type)
{
    struct text text = {0};

    exposition_head(&text, "a_total", "counter", "What it counts");

    cr_assert_str_eq(text.ptr, "# HELP a_total What it counts\n# TYPE a_total counter\n");
    text_fini(&text);
}

Test(exposition, label_values_cannot_break_the_page)
{
    static const struct {
        struct str in;
        const char *out;
    } rows[] = {
        {STR("plain"), "l=\"plain\""},
        {STR(""), "l=\"\""},
        {STR("a\"} 1\nx{l=\"b"), "l=\"a\\\"} 1\\nx{l=\\\"b\""},
        {STR("\\"), "l=\"\\\\\""},
        {STR("tab\tstays"), "l=\"tab\tstays\""},
        {STR("\xc3\xa9"), "l=\"\xc3\xa9\""},
        {STR("a\xff"
             "b"),
         "l=\"a\xef\xbf\xbd"
         "b\""},
        {STR("\xe2\x82"), "l=\"\xef\xbf\xbd\xef\xbf\xbd\""},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text text = {0};
        exposition_label(&text, "l", rows[i].in);
        cr_assert_str_eq(text.ptr, rows[i].out, "row %zu: %s", i, text.ptr);
        text_fini(&text);
    }
}
