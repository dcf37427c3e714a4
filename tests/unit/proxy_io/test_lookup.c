#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/io/lookup.h"
#include "tests/kit/loop_kit.h"

TestSuite(lookup, .timeout = 30);

#define PATIENCE_MS 15000

struct answer {
    bool is_done;
    int err;
    struct addr addrs[LOOKUP_ADDRESSES_MAX];
    size_t n_addrs;
};

static void on_done(void *owner, int err, const struct addr *addrs, size_t n_addrs)
{
    struct answer *answer = owner;

    cr_assert(!answer->is_done);
    answer->is_done = true;
    answer->err = err;
    answer->n_addrs = n_addrs;
    for (size_t i = 0; i < n_addrs; i++)
        answer->addrs[i] = addrs[i];
}

static struct answer ask(struct str host)
{
    struct loop *loop = loop_new();
    struct answer answer = {0};

    lookup_start(loop, host, 15012, on_done, &answer);
    cr_assert(!answer.is_done, "it answers from the loop only");
    cr_assert(run_until_set(loop, &answer.is_done, PATIENCE_MS));
    loop_finish(loop);
    return answer;
}

Test(lookup, an_address_answers_itself)
{
    static const char *const hosts[] = {"127.0.0.1", "10.1.0.10", "::1", "fd00:1::9"};

    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct answer answer = ask(str_from(hosts[i]));
        struct ip ip;

        cr_assert_eq(ip_parse(str_from(hosts[i]), &ip), 0);
        cr_assert_eq(answer.err, 0, "%s", hosts[i]);
        cr_assert_eq(answer.n_addrs, 1);
        cr_assert(ip_eq(&answer.addrs[0].ip, &ip), "%s", hosts[i]);
        cr_assert_eq(answer.addrs[0].port, 15012);
    }
}

Test(lookup, a_name_has_addresses_with_the_port)
{
    struct answer answer = ask(STR("localhost"));

    cr_assert_eq(answer.err, 0);
    cr_assert_geq(answer.n_addrs, 1);
    cr_assert(ip_is_loopback(&answer.addrs[0].ip));
    cr_assert_eq(answer.addrs[0].port, 15012);
}

Test(lookup, what_is_no_name_is_not_found)
{
    char long_name[300];

    memset(long_name, 'a', sizeof(long_name));
    cr_assert_eq(ask(STR("")).err, -ERR_NOT_FOUND);
    cr_assert_eq(ask((struct str){"a\0b", 3}).err, -ERR_NOT_FOUND);
    cr_assert_eq(ask(str_of(long_name, sizeof(long_name))).err, -ERR_NOT_FOUND);
}

Test(lookup, cancelled_says_nothing_and_leaves_nothing)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", ""};

    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        for (unsigned n_turns = 0; n_turns < 3; n_turns++) {
            struct loop *loop = loop_new();
            struct answer answer = {0};
            struct lookup *lookup = lookup_start(loop, str_from(hosts[i]), 1, on_done, &answer);

            if (n_turns == 0)
                lookup_cancel(lookup);
            run_turns(loop, n_turns);
            if (n_turns > 0 && !answer.is_done)
                lookup_cancel(lookup);
            cr_assert(run_until_empty(loop, PATIENCE_MS));
            cr_assert(n_turns > 0 || !answer.is_done);
            loop_finish(loop);
        }
    }
}
