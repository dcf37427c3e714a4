/* Percent escapes. */
#include <criterion/criterion.h>

#include "proxy/base/percent.h"

TestSuite(percent, .timeout = 20);

Test(percent, of_unreserved_characters_is_decoded_and_the_rest_is_in_upper_case)
{
    static const char *const rows[][2] = {{"", ""},       {"abc", "abc"},     {"%41%7a", "Az"},
                                          {"%2f", "%2F"}, {"%2e%2E", ".."},   {"%c3%A9", "%C3%A9"},
                                          {"%25", "%25"}, {"a%20b", "a%20b"}, {"%7E%5F", "~_"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char to[32];
        size_t len;
        cr_assert(percent_normalize(str_from(rows[i][0]), to, &len), "%s", rows[i][0]);
        cr_expect(str_eq(str_of(to, len), str_from(rows[i][1])), "%s: %.*s", rows[i][0], (int)len,
                  to);
    }
}

Test(percent, without_two_digits_behind_it_is_no_escape)
{
    static const char *const rows[] = {"%", "%4", "a%4", "%4g", "%g4", "%%41"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char to[32];
        size_t len;
        cr_expect_not(percent_normalize(str_from(rows[i]), to, &len), "%s", rows[i]);
    }
    char to[32];
    cr_expect(str_eq(str_of(to, percent_decode(STR("a%zz%20%2"), to)), STR("a%zz %2")));
}

Test(percent, what_a_text_says_is_what_its_escapes_stand_for)
{
    const struct {
        const char *text, *plain;
        bool is_so;
    } rows[] = {
        {"", "", true},         {"abc", "abc", true},   {"abc", "ab", false},
        {"ab", "abc", false},   {"a%62c", "abc", true}, {"%61%62%63", "abc", true},
        {"a%5Fb", "a_b", true}, {"a%5fb", "a_b", true}, {"a%255Fb", "a_b", false},
        {"a%5", "a%5", true},   {"a%zz", "a%zz", true}, {"ABC", "abc", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(percent_says(str_from(rows[i].text), str_from(rows[i].plain)), rows[i].is_so,
                     "%s", rows[i].text);
}
