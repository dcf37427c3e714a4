#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/ctl/table.h"

TestSuite(table, .timeout = 30);

Test(table, columns_are_as_wide_as_their_widest_cell_in_characters)
{
    struct table table = {.n_columns = 2};
    struct text out = {0};
    table_add(&table, STR("a"));
    table_add(&table, STR("b"));
    table_add(&table, STR("m\xc3\xbcnchen"));
    table_add(&table, STR(""));
    table_add(&table, STR("1234567"));
    table_add(&table, STR("x"));
    table_print(&table, 2, &out);
    cr_expect_str_eq(out.ptr, "  a        b\n"
                              "  m\xc3\xbcnchen  -\n"
                              "  1234567  x\n");
    table_fini(&table);
    text_fini(&out);
}

Test(table, many_rows_are_kept)
{
    struct table table = {.n_columns = 1};
    struct text out = {0};
    for (int i = 0; i < 1000; i++)
        table_add(&table, STR("x"));
    table_print(&table, 0, &out);
    cr_expect_eq(out.len, 2000);
    table_fini(&table);
    text_fini(&out);
}

Test(table, what_a_terminal_would_obey_or_hide_is_escaped)
{
    static const struct {
        struct str text;
        const char *plain;
    } rows[] = {
        {STR("redis-0"), "redis-0"},
        {STR("gr\xc3\xbc\xc3\x9f"
             "e \xe2\x82\xac \xf0\x9f\x98\x80"),
         "gr\xc3\xbc\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x98\x80"},
        {STR("\x1b[31mred"), "\\x1b[31mred"},
        {STR("a\0b"), "a\\x00b"},
        {STR("a\nb\tc\rd\x7f"), "a\\x0ab\\x09c\\x0dd\\x7f"},
        {STR("\\x1b"), "\\\\x1b"},
        {STR("\xc2\x9b"
             "31m"),
         "\\u{9b}31m"}, /* CSI as one character */
        {STR("\x9b"
             "31m"),
         "\\x9b31m"}, /* CSI as one byte: not UTF-8 */
        {STR("\xe2\x80\xae"
             "evil"),
         "\\u{202e}evil"}, /* right-to-left override */
        {STR("\xe2\x81\xa6"
             "x"),
         "\\u{2066}x"}, /* isolate */
        {STR("a\xe2\x80\x8b"
             "b"),
         "a\\u{200b}b"},                         /* zero width */
        {STR("\xf3\xa0\x81\x81"), "\\u{e0041}"}, /* tag character */
        {STR("\xef\xbb\xbf"), "\\u{feff}"},
        {STR("\xc3"), "\\xc3"},                   /* cut off */
        {STR("\xc0\xaf"), "\\xc0\\xaf"},          /* overlong */
        {STR("\xed\xa0\x80"), "\\xed\\xa0\\x80"}, /* surrogate */
    };
    struct text out = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        text_clear(&out);
        plain_add(&out, rows[i].text);
        cr_expect_str_eq(out.ptr, rows[i].plain, "row %zu", i);
    }
    text_clear(&out);
    plain_add_lines(&out, STR("a\nb\x1b"));
    cr_expect_str_eq(out.ptr, "a\nb\\x1b");
    text_fini(&out);
}
