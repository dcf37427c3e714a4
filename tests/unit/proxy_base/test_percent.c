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
