#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/base/text.h"

TestSuite(text, .timeout = 5);

Test(text, grows_and_stays_terminated)
{
    struct text text = {0};

    for (int i = 0; i < 1000; i++)
        text_addf(&text, "%03d,", i);

    cr_assert_eq(text.len, 4000);
    cr_assert_eq(strlen(text.ptr), 4000);
    cr_assert(str_starts_with(text_str(&text), STR("000,001,")));
    cr_assert(str_ends_with(text_str(&text), STR("998,999,")));
    text_fini(&text);
}

Test(text, formats_what_is_longer_than_the_small_buffer)
{
    struct text text = {0};
    char long_word[3001];

    memset(long_word, 'x', 3000);
    long_word[3000] = '\0';
    text_addf(&text, "<%s>", long_word);

    cr_assert_eq(text.len, 3002);
    cr_assert_eq(text.ptr[3001], '>');
    cr_assert_eq(text.ptr[3002], '\0');
    text_fini(&text);
}

Test(text, nothing_is_added_past_the_limit_nor_after_the_first_refusal)
{
    struct text text = {.limit = 10};

    text_add(&text, STR("12345678"));
    text_add(&text, STR("abc"));
    cr_assert(text.truncated);
    text_add(&text, STR("z"));
    text_addf(&text, "%d", 1);

    cr_assert(str_eq(text_str(&text), STR("12345678")));
    text_clear(&text);
    cr_assert_not(text.truncated);
    text_add(&text, STR("0123456789"));
    cr_assert_eq(text.len, 10);
    cr_assert_not(text.truncated);
    text_fini(&text);
}

Test(text, json_escapes_what_could_break_a_string)
{
    static const struct {
        struct str in;
        const char *out;
    } rows[] = {
        {STR("plain"), "plain"},
        {STR(""), ""},
        {STR("a\"b\\c"), "a\\\"b\\\\c"},
        {STR("\n\r\t"), "\\n\\r\\t"},
        {STR("\x01\x1f\x7f"), "\\u0001\\u001f\\u007f"},
        {STR("a\0b"), "a\\u0000b"},
        {STR("\xc3\xa9\xf0\x9f\x98\x80"), "\xc3\xa9\xf0\x9f\x98\x80"},
        {STR("\xff<\xc3"), "\xef\xbf\xbd<\xef\xbf\xbd"},
        {STR("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {STR("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd"},
        /* U+009B is to terminals what ESC [ is; the others break lines or turn them round. */
        {STR("\xc2\x9b"
             "31m"),
         "\\u009b31m"},
        {STR("\xc2\x80\xc2\x9f\xc2\xa0"), "\\u0080\\u009f\xc2\xa0"},
        {STR("a\xe2\x80\xa8\xe2\x80\xa9"), "a\\u2028\\u2029"},
        {STR("\xe2\x80\xae"
             "evil"),
         "\\u202eevil"},
        {STR("\xe2\x80\xaa\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa"),
         "\\u202a\\u2066\\u2069\xe2\x81\xaa"},
        {STR("\xe2\x80\xa7\xe2\x80\xaf\xe2\x82\xac"), "\xe2\x80\xa7\xe2\x80\xaf\xe2\x82\xac"},
        {STR("\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c"), "\\u200e\\u200f\\u061c"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text text = {0};
        text_add_json(&text, rows[i].in);
        cr_assert(str_eq(text_str(&text), str_from(rows[i].out)), "row %zu: %s", i, text.ptr);
        text_fini(&text);
    }
}

/* Eight bytes are looked at together: whatever needs care does so at each place among them. */
Test(text, json_escapes_the_same_wherever_it_stands)
{
    static const struct {
        struct str in;
        const char *out;
    } rows[] = {
        {STR("\""), "\\\""},
        {STR("\\"), "\\\\"},
        {STR("\x1f"), "\\u001f"},
        {STR("\0"), "\\u0000"},
        {STR("\x7f"), "\\u007f"},
        {STR("\x80"), "\xef\xbf\xbd"},
        {STR("\xff"), "\xef\xbf\xbd"},
        {STR("\xc3\xa9"), "\xc3\xa9"},
        {STR(" "), " "},
        {STR("!"), "!"},
        {STR("#"), "#"},
        {STR("["), "["},
        {STR("]"), "]"},
        {STR("~"), "~"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t before = 0; before < 18; before++) {
            struct text in = {0}, out = {0}, expected = {0};
            for (size_t n = 0; n < 2; n++) {
                for (size_t k = 0; k < before; k++) {
                    text_addc(&in, (char)('a' + k));
                    text_addc(&expected, (char)('a' + k));
                }
                text_add(&in, rows[i].in);
                text_add(&expected, str_from(rows[i].out));
            }
            text_add_json(&out, text_str(&in));
            cr_assert(str_eq(text_str(&out), text_str(&expected)), "row %zu, %zu before: %s", i,
                      before, out.ptr);
            text_fini(&in);
            text_fini(&out);
            text_fini(&expected);
        }
    }
}

Test(text, writes_numbers)
{
    static const struct {
        uint64_t number;
        const char *text;
    } rows[] = {{0, "0"}, {9, "9"}, {10, "10"}, {UINT64_MAX, "18446744073709551615"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text text = {0};
        text_add_u64(&text, rows[i].number);
        cr_assert_str_eq(text.ptr, rows[i].text);
        text_fini(&text);
    }
}

Test(text, a_json_member_is_what_its_three_parts_are)
{
    static const char odd[] = "\"\\\n\x7f\xc3\xa9\xff\xe2\x80\xae";
    for (size_t len = 0; len < 40; len++) {
        for (size_t at = 0; at <= len; at++) {
            for (size_t i = 0; i < sizeof odd; i++) { /* the last is a NUL */
                char value[40];
                struct text one = {0}, three = {0};
                memset(value, 'v', sizeof value);
                if (at < len)
                    value[at] = odd[i];
                text_add_json_member(&one, STR(",\"k\":\""), str_of(value, len));
                text_add(&three, STR(",\"k\":\""));
                text_add_json(&three, str_of(value, len));
                text_addc(&three, '"');
                cr_assert(str_eq(text_str(&one), text_str(&three)), "%zu %zu %zu: %s", len, at, i,
                          one.ptr);
                cr_assert_eq(one.ptr[one.len], '\0');
                text_fini(&one);
                text_fini(&three);
            }
        }
    }
    struct text bounded = {.limit = 8};
    text_add_json_member(&bounded, STR("12345"), STR("6789"));
    cr_assert(bounded.truncated);
    cr_assert_leq(bounded.len, 8);
    text_fini(&bounded);
}

Test(text, a_json_string_has_its_quotes)
{
    struct text text = {0};

    text_add_json_string(&text, STR("a\"b"));

    cr_assert(str_eq(text_str(&text), STR("\"a\\\"b\"")));
    text_fini(&text);
}

Test(text, clear_keeps_the_memory)
{
    struct text text = {0};

    text_addc(&text, 'x');
    size_t cap = text.cap;
    text_clear(&text);

    cr_assert_eq(text.len, 0);
    cr_assert_eq(text.cap, cap);
    cr_assert_str_eq(text.ptr, "");
    text_fini(&text);
    cr_assert_null(text.ptr);
}
