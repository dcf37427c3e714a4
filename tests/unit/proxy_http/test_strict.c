#include <criterion/criterion.h>
#include <string.h>

#include "proxy/http/strict.h"
#include "tests/kit/judged_rows.h"

TestSuite(strict, .timeout = 10);

Test(strict, a_value_ends_before_the_first_control_character_wherever_it_stands)
{
    static const char bad_ones[] = {'\r', '\n', 0, 0x1f, 0x7f};
    char bytes[40];
    for (size_t len = 0; len < sizeof(bytes); len++) {
        memset(bytes, 0xff, sizeof(bytes));
        cr_assert_eq(strict_value_len(bytes, len), len);
        for (size_t at = 0; at < len; at++) {
            bytes[at] = "\t ~\x80"[at % 4];
            for (size_t i = 0; i < sizeof(bad_ones); i++) {
                const char good = bytes[at];
                bytes[at] = bad_ones[i];
                cr_assert_eq(strict_value_len(bytes, len), at, "byte %d at %zu of %zu", bad_ones[i],
                             at, len);
                bytes[at] = good;
            }
        }
    }
}

Test(strict, a_value_has_no_control_character_wherever_it_stands)
{
    static const struct judged_row rows[] = {
        GOOD(""),   GOOD("a"),  GOOD("a b\tc"), GOOD("\x80\xff"), BAD(" a"),   BAD("a "),
        BAD("\ta"), BAD("a\t"), BAD("\x7f"),    BAD("a\rb"),      BAD("a\nb"), BAD("a\0b")};
    static const char bad_ones[] = {0, 1, '\r', '\n', 0x0b, 0x1f, 0x7f};
    char value[40];

    check_rows(strict_is_value, rows, ARRAY_LEN(rows));
    for (size_t len = 1; len < sizeof(value); len++) {
        for (size_t at = 0; at < len; at++) {
            memset(value, 0xc3, sizeof(value));
            value[at] = '~';
            cr_assert(strict_is_value(str_of(value, len)));
            for (size_t i = 0; i < sizeof(bad_ones); i++) {
                value[at] = bad_ones[i];
                cr_assert(!strict_is_value(str_of(value, len)), "byte %d at %zu of %zu",
                          bad_ones[i], at, len);
            }
        }
    }
}

Test(strict, an_authority_is_a_host_and_perhaps_a_port)
{
    static const struct judged_row rows[] = {
        GOOD("a"),
        GOOD("a.b_c-d~e:80"),
        GOOD("10.0.0.1:65535"),
        GOOD("[::1]"),
        GOOD("[fd00::1]:80"),
        BAD(""),
        BAD(":80"),
        BAD("a:"),
        BAD("a:65536"),
        BAD("a:+1"),
        BAD("a:000080"),
        BAD("u@a"),
        BAD("a/b"),
        BAD("a b"),
        BAD("a,b"),
        BAD("a:1:2"),
        BAD("[::1"),
        BAD("[::1]80"),
        BAD("[1.2.3.4]"),
        BAD("[fe80::1%eth0]"),
        BAD("a%2eb"),
        BAD("a#"),
        BAD("a?b"),
        BAD("\xc3\xa4"),
        BAD("a\0"),
        BAD("[]"),
    };
    char long_name[600];

    check_rows(strict_is_authority, rows, ARRAY_LEN(rows));
    memset(long_name, 'a', sizeof(long_name));
    cr_expect(!strict_is_authority(str_of(long_name, sizeof(long_name))));
}

Test(strict, a_path_begins_with_a_slash_and_is_visible)
{
    static const struct judged_row rows[] = {
        GOOD("/"),   GOOD("/a?b=c&d"), GOOD("//a"),      GOOD("/%00"), BAD(""),
        BAD("a"),    BAD("/a b"),      BAD("/a#b"),      BAD("/\x7f"), BAD("/\xc3"),
        BAD("/a\t"), BAD("*"),         BAD("http://a/"),
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(strict_is_path(STR("GET"), rows[i].text), rows[i].is_good, "row %zu", i);
    cr_expect(strict_is_path(STR("OPTIONS"), STR("*")));
}

/* As the RFCs' tables have it, a byte at a time. */
static bool is_of_path(int byte)
{
    return byte > 0x20 && byte < 0x7f && byte != '#';
}

static bool is_of_host(int byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') || (byte && strchr("-._~", byte));
}

Test(strict, every_byte_of_a_path_and_of_a_host_is_looked_at)
{
    char text[40];

    for (size_t len = 2; len < sizeof(text); len++) {
        for (size_t at = 1; at < len; at++) {
            for (int byte = 0; byte < 256; byte++) {
                memset(text, 'a', sizeof(text));
                text[at] = (char)byte;
                const bool is_port = byte == ':' && at + 1 < len;
                cr_assert(is_port || strict_is_authority(str_of(text, len)) == is_of_host(byte),
                          "host: byte %d at %zu of %zu", byte, at, len);
                text[0] = '/';
                cr_assert_eq(strict_is_path(STR("GET"), str_of(text, len)), is_of_path(byte),
                             "path: byte %d at %zu of %zu", byte, at, len);
                cr_assert_eq(strict_path_len(text, len), is_of_path(byte) ? len : at);
            }
        }
    }
}

Test(strict, a_length_is_digits_alone)
{
    static const struct judged_row rows[] = {GOOD("0"),
                                             GOOD("007"),
                                             GOOD("999999999999999999"),
                                             BAD(""),
                                             BAD("+1"),
                                             BAD("-1"),
                                             BAD("1 "),
                                             BAD("0x1"),
                                             BAD("1,1"),
                                             BAD("1.0"),
                                             BAD("1000000000000000000"),
                                             BAD("1e3")};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t length = -7;
        cr_expect_eq(strict_length(rows[i].text, &length), rows[i].is_good, "row %zu", i);
        cr_expect_eq(length != -7, rows[i].is_good, "row %zu", i);
    }
}

Test(strict, a_list_is_read_member_by_member)
{
    struct str list = STR(" a ,b,\t, c"), member;
    const char *wanted[] = {"a", "b", "", "c"};

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        cr_assert(strict_next_member(&list, &member));
        cr_expect(str_eq(member, str_from(wanted[i])), "%zu", i);
    }
    cr_expect(!strict_next_member(&list, &member));
}

Test(strict, the_fields_of_a_hop_are_six)
{
    static const struct judged_row rows[] = {GOOD("te"),
                                             GOOD("upgrade"),
                                             GOOD("connection"),
                                             GOOD("keep-alive"),
                                             GOOD("proxy-connection"),
                                             GOOD("transfer-encoding"),
                                             BAD("trailer"),
                                             BAD("host"),
                                             BAD("")};

    check_rows(strict_is_hop_field, rows, ARRAY_LEN(rows));
}
