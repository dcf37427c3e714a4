#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/ascii.h"
#include "proxy/base/ensure.h"
#include "tests/kit/judged_rows.h"

TestSuite(ascii, .timeout = 10);

Test(ascii, a_name_is_a_token)
{
    static const struct judged_row rows[] = {
        GOOD("a"),    GOOD("X-Y_z.1"), GOOD("!#$%&'*+-.^_`|~"),
        BAD(""),      BAD("a b"),      BAD("a:"),
        BAD("a\0b"),  BAD("\x80"),     BAD("a\t"),
        BAD("(a)"),   BAD("a/b"),      BAD("{a}"),
        BAD("\"a\""), BAD("a\x7f"),    BAD("a,b"),
    };

    check_rows(ascii_is_token, rows, ARRAY_LEN(rows));
}

Test(ascii, a_lower_name_has_no_capital)
{
    static const struct judged_row rows[] = {GOOD("a-1"), BAD("A"), BAD("aBc"), BAD(""),
                                             BAD(":path")};
    char mixed[] = "X-FoO: b";

    check_rows(ascii_is_lower_token, rows, ARRAY_LEN(rows));
    cr_expect_eq(ascii_lower_token(mixed, 8), 5);
    cr_expect_str_eq(mixed, "x-foo: b");
    cr_expect_eq(ascii_lower_token(mixed + 5, 3), 0);
    cr_expect_eq(ascii_lower_token(mixed, 3), 3);
}

Test(ascii, a_name_of_any_length_ends_at_the_first_byte_that_is_not_for_one)
{
    char text[40], was[sizeof(text)];

    for (size_t at = 0; at < sizeof(text); at++) {
        for (int byte = 0; byte < 256; byte++) {
            memset(text, 'N', sizeof(text));
            text[at] = (char)byte;
            memcpy(was, text, sizeof(text));
            const bool is_token = ascii_is_token(str_of(&text[at], 1));
            const size_t len = ascii_lower_token(text, sizeof(text));

            cr_assert_eq(len, is_token ? sizeof(text) : at, "byte %d at %zu", byte, at);
            for (size_t i = 0; i < sizeof(text); i++)
                cr_assert_eq(text[i], i < len ? ascii_lower(was[i]) : was[i], "byte %d at %zu: %zu",
                             byte, at, i);
        }
    }
}

Test(ascii, digits_and_letters_are_of_ascii_alone)
{
    for (int byte = 0; byte < 256; byte++) {
        const char c = (char)byte;
        const bool is_digit = byte >= '0' && byte <= '9';
        const bool is_letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        const char *hex = byte ? strchr("00112233445566778899aAbBcCdDeEfF", c) : NULL;

        cr_expect_eq(ascii_is_alnum(c), is_digit || is_letter, "%d", byte);
        cr_expect_eq(ascii_lower(c), byte >= 'A' && byte <= 'Z' ? byte + 32 : c, "%d", byte);
        cr_expect_eq(ascii_hex(c), hex ? strtol((char[]){c, 0}, NULL, 16) : -1, "%d", byte);
    }
}

Test(ascii, a_copy_in_lower_case_leaves_what_is_no_letter)
{
    struct arena arena = {0};

    cr_expect(str_eq(ascii_lower_str(&arena, STR("Aa-\xc4Z[@")), STR("aa-\xc4z[@")));
    cr_expect_eq(ascii_lower_str(&arena, (struct str){0}).len, 0);
    arena_fini(&arena);
}
