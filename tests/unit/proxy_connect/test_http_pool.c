#include <criterion/criterion.h>

#include "proxy/connect/http_pool.h"
#include "tests/kit/fake_stream.h"
#include "tests/kit/loop_kit.h"

TestSuite(http_pool, .timeout = 20);

#define SELLER "spiffe://east/ns/shop/sa/seller"
#define BUYER  "spiffe://east/ns/shop/sa/buyer"

static struct http_link_key key_of(const char *identity, const char *service)
{
    return (struct http_link_key){
        .source = {4, {10, 0, 0, 1}},
        .identity = str_from(identity),
        .addr = {{4, {10, 0, 0, 2}}, 80},
        .service = str_from(service),
        .through_tunnel = true,
    };
}

Test(http_pool, a_link_is_for_who_made_it_alone_even_if_another_gets_its_address)
{
    static const struct {
        const char *identity, *service;
        bool is_its;
    } rows[] = {
        {SELLER, "web", true},
        {BUYER, "web", false},
        {SELLER, "till", false},
        {"spiffe://east/ns/shop/sa/sellerw", "eb", false},
    };
    struct loop *loop = loop_new();
    struct http_pool *pool = http_pool_new(loop);
    struct fake_stream *wire = fake_stream_new(loop);
    const struct http_link_key key = key_of(SELLER, "web");
    struct http_link *link =
        http_pool_add(pool, &key, &(struct upstream){.stream = &wire->stream, .is_tunnel = true});

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct http_link_key asked = key_of(rows[i].identity, rows[i].service);
        cr_expect_eq(http_pool_find(pool, &asked) == link, rows[i].is_its, "row %zu", i);
    }
    cr_expect_eq(http_pool_links(pool), 1);

    http_pool_free(pool);
    run_turns(loop, 5);
    cr_expect(wire->is_closed);
    fake_stream_free(wire);
    loop_finish(loop);
}
