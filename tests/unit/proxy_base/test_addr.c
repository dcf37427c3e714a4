#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>

#include "proxy/base/addr.h"
#include "proxy/base/err.h"

TestSuite(addr, .timeout = 5);

Test(addr, reads_and_writes_ips_in_one_form)
{
    static const struct {
        const char *in, *out; /* out NULL: refused */
    } rows[] = {
        {"10.0.0.1", "10.0.0.1"},
        {"255.255.255.255", "255.255.255.255"},
        {"fd00::1", "fd00::1"},
        {"FD00:0:0::0001", "fd00::1"},
        {"::", "::"},
        {"::ffff:10.0.0.1", "10.0.0.1"},
        {"::ffff:a00:1", "10.0.0.1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"", NULL},
        {"10.0.0", NULL},
        {"10.0.0.256", NULL},
        {"010.0.0.1", NULL},
        {"10.0.0.1 ", NULL},
        {" 10.0.0.1", NULL},
        {"[fd00::1]", NULL},
        {"fe80::1%eth0", NULL},
        {"10.0.0.1:80", NULL},
        {"fd00:::1", NULL},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ip ip = {.len = 99};
        char buf[IP_TEXT_MAX];
        int err = ip_parse(str_from(rows[i].in), &ip);
        cr_assert_eq(err, rows[i].out ? 0 : -ERR_INVALID, "'%s'", rows[i].in);
        if (rows[i].out)
            cr_assert_str_eq(ip_text(&ip, buf), rows[i].out);
        else
            cr_assert_eq(ip.len, 99, "'%s' was touched", rows[i].in);
    }
    cr_assert_eq(ip_parse(str_of("10.0.0.1\0", 9), &(struct ip){0}), -ERR_INVALID);
}

Test(addr, takes_four_or_sixteen_bytes)
{
    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 9};
    struct ip ip;
    char buf[IP_TEXT_MAX];

    cr_assert_eq(ip_from_bytes("\x7f\0\0\1", 4, &ip), 0);
    cr_assert_str_eq(ip_text(&ip, buf), "127.0.0.1");
    cr_assert_eq(ip_from_bytes(mapped, 16, &ip), 0);
    cr_assert_str_eq(ip_text(&ip, buf), "10.0.0.9");
    for (size_t len = 0; len < 20; len++)
        if (len != 4 && len != 16)
            cr_assert_eq(ip_from_bytes(mapped, len, &ip), -ERR_INVALID);
}

Test(addr, knows_loopback)
{
    static const struct {
        const char *text;
        bool loopback;
    } rows[] = {{"127.0.0.1", true}, {"127.9.9.9", true}, {"128.0.0.1", false},      {"::1", true},
                {"::2", false},      {"::", false},       {"::ffff:127.0.0.1", true}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ip ip;
        cr_assert_eq(ip_parse(str_from(rows[i].text), &ip), 0);
        cr_assert_eq(ip_is_loopback(&ip), rows[i].loopback, "%s", rows[i].text);
    }
    cr_assert_not(ip_is_loopback(&(struct ip){0}));
}

Test(addr, reads_and_writes_addresses_with_a_port)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"10.0.0.1:80", "10.0.0.1:80"},
        {"10.0.0.1:0", "10.0.0.1:0"},
        {"10.0.0.1:65535", "10.0.0.1:65535"},
        {"[fd00::1]:80", "[fd00::1]:80"},
        {"[::ffff:10.0.0.1]:80", "10.0.0.1:80"},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {"10.0.0.1:65536", NULL},
        {"10.0.0.1:", NULL},
        {"10.0.0.1", NULL},
        {":80", NULL},
        {"fd00::1:80", NULL},
        {"fd00::1", NULL},
        {"[10.0.0.1]:80", NULL},
        {"[fd00::1]80", NULL},
        {"[fd00::1]", NULL},
        {"[fd00::1:80", NULL},
        {"fd00::1]:80", NULL},
        {"[]:80", NULL},
        {"10.0.0.1:80x", NULL},
        {"10.0.0.1:+80", NULL},
        {"", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr addr = {.port = 9};
        char buf[ADDR_TEXT_MAX];
        int err = addr_parse(str_from(rows[i].in), &addr);
        cr_assert_eq(err, rows[i].out ? 0 : -ERR_INVALID, "'%s'", rows[i].in);
        if (rows[i].out)
            cr_assert_str_eq(addr_text(&addr, buf), rows[i].out);
        else
            cr_assert(addr.port == 9 && ip_is_none(&addr.ip));
    }
}

Test(addr, survives_the_way_through_a_sockaddr)
{
    static const char *const rows[] = {"10.1.2.3:4", "[fd00::1]:65535"};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr addr, back;
        struct sockaddr_storage sa;
        cr_assert_eq(addr_parse(str_from(rows[i]), &addr), 0);
        socklen_t len = addr_to_sockaddr(&addr, &sa);
        cr_assert_eq(len,
                     addr.ip.len == 4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        addr_from_sockaddr((const struct sockaddr *)&sa, &back);
        cr_assert(addr_eq(&addr, &back), "%s", rows[i]);
    }
}

Test(addr, a_mapped_sockaddr_becomes_ipv4_and_another_family_none)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    struct sockaddr_storage other = {.ss_family = AF_UNIX};
    struct addr addr, expected;

    cr_assert_eq(inet_pton(AF_INET6, "::ffff:10.0.0.1", &in6.sin6_addr), 1);
    cr_assert_eq(addr_parse(STR("10.0.0.1:80"), &expected), 0);
    addr_from_sockaddr((const struct sockaddr *)&in6, &addr);
    cr_assert(addr_eq(&addr, &expected));
    addr_from_sockaddr((const struct sockaddr *)&other, &addr);
    cr_assert(ip_is_none(&addr.ip) && addr.port == 0);
}

Test(addr, none_listens_on_ipv6_any)
{
    struct sockaddr_storage sa;
    struct sockaddr_in6 in6;

    cr_assert_eq(addr_to_sockaddr(&(struct addr){.port = 53}, &sa), sizeof(in6));
    memcpy(&in6, &sa, sizeof(in6));
    cr_assert_eq(in6.sin6_family, AF_INET6);
    cr_assert_eq(ntohs(in6.sin6_port), 53);
    cr_assert_eq(memcmp(&in6.sin6_addr, &in6addr_any, 16), 0);
}

Test(addr, reads_ranges_and_refuses_host_bits)
{
    static const struct {
        const char *text;
        int len, prefix_len; /* len 0: refused */
    } rows[] = {
        {"10.0.0.0/8", 4, 8},          {"0.0.0.0/0", 4, 0},
        {"10.0.0.1", 4, 32},           {"10.0.0.1/32", 4, 32},
        {"fd00::/64", 16, 64},         {"::/0", 16, 0},
        {"fd00::1", 16, 128},          {"10.128.0.0/9", 4, 9},
        {"::ffff:10.0.0.0/104", 4, 8}, {"::ffff:10.0.0.1", 4, 32},
        {"10.0.0.1/8", 0, 0},          {"10.192.0.0/9", 0, 0},
        {"fd00::1/64", 0, 0},          {"10.0.0.0/33", 0, 0},
        {"fd00::/129", 0, 0},          {"10.0.0.0/", 0, 0},
        {"10.0.0.0/-1", 0, 0},         {"/8", 0, 0},
        {"10.0.0.0/8/8", 0, 0},        {"", 0, 0},
        {"::ffff:10.0.0.0/8", 0, 0},   {"::ffff:0.0.0.0/95", 0, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cidr cidr = {.prefix_len = 77};
        int err = cidr_parse(str_from(rows[i].text), &cidr);
        cr_assert_eq(err, rows[i].len ? 0 : -ERR_INVALID, "'%s'", rows[i].text);
        cr_assert_eq(cidr.prefix_len, rows[i].len ? rows[i].prefix_len : 77, "'%s'", rows[i].text);
        cr_assert_eq(cidr.ip.len, rows[i].len, "'%s'", rows[i].text);
    }
}

Test(addr, a_range_contains_what_shares_its_prefix)
{
    static const struct {
        const char *cidr, *ip;
        bool inside;
    } rows[] = {
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.128.0.0/9", "10.127.255.255", false},
        {"10.128.0.0/9", "10.200.0.1", true},
        {"0.0.0.0/0", "1.2.3.4", true},
        {"0.0.0.0/0", "fd00::1", false},
        {"::/0", "1.2.3.4", false},
        {"fd00::/64", "fd00::ffff", true},
        {"fd00::/64", "fd00:0:0:1::", false},
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.0", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cidr cidr;
        struct ip ip;
        cr_assert_eq(cidr_parse(str_from(rows[i].cidr), &cidr), 0);
        cr_assert_eq(ip_parse(str_from(rows[i].ip), &ip), 0);
        cr_assert_eq(cidr_contains(&cidr, &ip), rows[i].inside, "row %zu", i);
    }
    cr_assert_not(cidr_contains(&(struct cidr){0}, &(struct ip){0}));
}
