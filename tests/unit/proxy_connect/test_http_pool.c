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
    struct http_link *link = http_pool_add(pool, &key, &(struct upstream){.stream = &wire->stream});

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

/* ---- waiting for what another makes ---- */

struct waiter {
    struct http_wait wait;
    struct http_link *link;
    unsigned n_told;
};

static void on_link(struct http_wait *wait, struct http_link *link)
{
    struct waiter *waiter = container_of(wait, struct waiter, wait);
    waiter->link = link;
    waiter->n_told++;
}

static struct http_link_key h2_key(void)
{
    struct http_link_key key = key_of(SELLER, "web");
    key.is_h2 = true;
    return key;
}

Test(http_pool, who_waits_for_a_link_gets_it_when_it_is_there)
{
    struct loop *loop = loop_new();
    struct http_pool *pool = http_pool_new(loop);
    struct fake_stream *wire = fake_stream_new(loop);
    const struct http_link_key key = h2_key(), other = key_of(SELLER, "web");
    struct http_making making = {0}, h1 = {0};
    struct waiter waiters[3] = {0};

    cr_expect_not(http_pool_wait(pool, &key, &waiters[0].wait, on_link), "nobody makes one");
    http_pool_make(pool, &key, &making);
    http_pool_make(pool, &other, &h1);
    for (size_t i = 0; i < 3; i++)
        cr_expect(http_pool_wait(pool, &key, &waiters[i].wait, on_link));
    cr_expect_not(http_pool_wait(pool, &other, &waiters[0].wait, on_link),
                  "HTTP/1.1 is not shared");
    http_wait_cancel(&waiters[1].wait);
    run_turns(loop, 3);
    cr_expect_eq(waiters[0].n_told, 0);
    http_making_end(&making);
    struct http_link *link = http_pool_add(pool, &key, &(struct upstream){.stream = &wire->stream});
    cr_expect_eq(waiters[0].n_told, 0, "not within the call");
    run_turns(loop, 3);
    cr_expect(waiters[0].link == link && waiters[2].link == link, "it has nothing to do yet");
    cr_expect(waiters[0].n_told == 1 && waiters[1].n_told == 0 && waiters[2].n_told == 1);

    http_making_end(&h1);
    http_pool_free(pool);
    run_turns(loop, 5);
    fake_stream_free(wire);
    loop_finish(loop);
}

/* ---- a server that says how much it takes ---- */

static void on_data(void *owner, struct slice bytes)
{
    (void)owner, (void)bytes;
}

static void on_end(void *owner)
{
    (void)owner;
}

static void on_fail(void *owner, int err)
{
    (void)owner, (void)err;
}

static struct http_stream *ask(struct http_link *link)
{
    static const struct stream_events events = {
        .on_data = on_data, .on_end = on_end, .on_fail = on_fail};
    static const struct http_stream_events http_events = {0};
    const struct http_request head = {.method = STR("GET"),
                                      .scheme = STR("http"),
                                      .authority = STR("web"),
                                      .path = STR("/"),
                                      .content_length = HTTP_LENGTH_UNKNOWN,
                                      .version = HTTP_2};
    return http_link_request(link, &head, &http_events, &events, NULL);
}

static void give_up(struct http_link *link, struct http_stream *stream)
{
    stream_close(&stream->stream, -ERR_RESET);
    http_link_ended(link);
}

struct shop { /* a pool with one link, and the far end of it */
    struct loop *loop;
    struct http_pool *pool;
    struct http_link_key key;
    struct fake_stream *ours, *theirs;
    struct http_link *link;
};

static void open_shop(struct shop *shop)
{
    *shop = (struct shop){.loop = loop_new(), .key = h2_key()};
    shop->pool = http_pool_new(shop->loop);
    fake_stream_pair(shop->loop, &shop->ours, &shop->theirs);
    shop->link =
        http_pool_add(shop->pool, &shop->key, &(struct upstream){.stream = &shop->ours->stream});
}

static void close_shop(struct shop *shop)
{
    http_pool_free(shop->pool);
    stream_close(&shop->theirs->stream, 0);
    run_turns(shop->loop, 5);
    fake_stream_free(shop->ours);
    fake_stream_free(shop->theirs);
    loop_finish(shop->loop);
}

Test(http_pool, a_link_is_for_one_exchange_until_its_server_has_said_for_how_many)
{
    struct shop shop;
    static const char settings[] = "\x00\x00\x06\x04\x00\x00\x00\x00\x00" /* SETTINGS: */
                                   "\x00\x03\x00\x00\x00\x03";            /* 3 streams */
    struct waiter waiters[5] = {0};
    struct http_stream *streams[3];

    open_shop(&shop);
    cr_assert_eq(http_pool_find(shop.pool, &shop.key), shop.link);
    cr_assert_not_null(streams[0] = ask(shop.link));
    cr_expect_null(http_pool_find(shop.pool, &shop.key), "its server may want no more");
    for (size_t i = 0; i < 5; i++)
        cr_expect(http_pool_wait(shop.pool, &shop.key, &waiters[i].wait, on_link));
    run_turns(shop.loop, 3);
    cr_expect_eq(waiters[0].n_told, 0);
    for (size_t i = 2; i < 5; i++)
        http_wait_cancel(&waiters[i].wait);
    (void)stream_write_copy(&shop.theirs->stream, settings, sizeof settings - 1);
    run_turns(shop.loop, 5);
    cr_expect(waiters[0].link == shop.link && waiters[1].link == shop.link);
    cr_assert_not_null(streams[1] = ask(shop.link));
    cr_assert_not_null(streams[2] = ask(shop.link));
    cr_expect_null(http_pool_find(shop.pool, &shop.key), "three are three");
    give_up(shop.link, streams[1]);
    cr_expect_eq(http_pool_find(shop.pool, &shop.key), shop.link);
    give_up(shop.link, streams[0]);
    give_up(shop.link, streams[2]);
    close_shop(&shop);
}

/* How many may wait beside one link that is being made. */
static size_t count_room(struct http_pool *pool, const struct http_link_key *key)
{
    struct http_making making = {0};
    struct waiter waiters[HTTP_POOL_STREAMS] = {0};
    size_t n = 0;

    http_pool_make(pool, key, &making);
    while (n < HTTP_POOL_STREAMS && http_pool_wait(pool, key, &waiters[n].wait, on_link))
        n++;
    for (size_t i = 0; i < n; i++)
        http_wait_cancel(&waiters[i].wait);
    http_making_end(&making);
    return n;
}

Test(http_pool, as_many_wait_for_a_link_as_its_server_takes_by_its_latest_word)
{
    struct shop shop;

    static const struct {
        const char settings[16]; /* MAX_CONCURRENT_STREAMS */
        size_t n_room;
    } rows[] = {
        {"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x03", 2},
        {"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x09", 8},
        {"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x05", 4},
        {"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00", 0},
        {"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x7f\xff\xff\xff", HTTP_POOL_STREAMS - 1},
    };

    open_shop(&shop);
    struct http_stream *stream = ask(shop.link);
    cr_assert_not_null(stream);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)stream_write_copy(&shop.theirs->stream, rows[i].settings, 15);
        run_turns(shop.loop, 5);
        cr_expect_eq(count_room(shop.pool, &shop.key), rows[i].n_room, "row %zu", i);
    }
    give_up(shop.link, stream);
    close_shop(&shop);
}

static bool is_told(void *waiter)
{
    return ((const struct waiter *)waiter)->n_told > 0;
}

Test(http_pool, a_server_that_never_says_for_how_many_is_not_waited_for_long)
{
    struct shop shop;
    struct waiter waiter = {0};

    open_shop(&shop);
    struct http_stream *stream = ask(shop.link);
    cr_assert_not_null(stream);
    cr_assert(http_pool_wait(shop.pool, &shop.key, &waiter.wait, on_link));
    cr_assert(run_until(shop.loop, is_told, &waiter, 15000));
    cr_expect_eq(waiter.link, shop.link,
                 "and not NULL, as when it is given up for want of SETTINGS");
    give_up(shop.link, stream);
    close_shop(&shop);
}

Test(http_pool, who_waits_for_a_link_that_does_not_come_is_told)
{
    struct loop *loop = loop_new();
    struct http_pool *pool = http_pool_new(loop);
    const struct http_link_key key = h2_key();
    struct http_making first = {0}, second = {0};
    struct waiter waiters[HTTP_POOL_STREAMS] = {0};

    http_pool_make(pool, &key, &first);
    for (size_t i = 0; i < HTTP_POOL_STREAMS - 1; i++)
        cr_expect(http_pool_wait(pool, &key, &waiters[i].wait, on_link), "%zu", i);
    struct waiter *last = &waiters[HTTP_POOL_STREAMS - 1];
    cr_expect_not(http_pool_wait(pool, &key, &last->wait, on_link), "it has no room for more");
    http_pool_make(pool, &key, &second);
    cr_expect(http_pool_wait(pool, &key, &last->wait, on_link), "the second has");
    http_making_end(&first);
    run_turns(loop, 3);
    unsigned n_told = 0;
    for (size_t i = 0; i < HTTP_POOL_STREAMS; i++)
        n_told += waiters[i].n_told;
    cr_expect(n_told == 1 && waiters[0].n_told == 1 && !waiters[0].link, "one is too many now");
    http_making_end(&second);
    run_turns(loop, 3);
    for (size_t i = 0; i < HTTP_POOL_STREAMS; i++)
        cr_expect(waiters[i].n_told == 1 && !waiters[i].link, "%zu", i);

    http_pool_free(pool);
    run_turns(loop, 5);
    loop_finish(loop);
}

/* ---- HTTP/1.1: one exchange after the other ---- */

struct till { /* a link, and what came to it */
    struct fake_stream *wire;
    struct http_link *link;
    struct http_stream *stream;
};

static void open_till(struct loop *loop, struct http_pool *pool, struct till *till)
{
    const struct http_link_key key = key_of(SELLER, "web");
    till->wire = fake_stream_new(loop);
    till->link = http_pool_add(pool, &key, &(struct upstream){.stream = &till->wire->stream});
    cr_assert_not_null(till->stream = ask(till->link));
    stream_resume(&till->stream->stream);
}

static void serve(struct loop *loop, struct till *till)
{
    fake_feed_text(till->wire, "HTTP/1.1 204 No Content\r\n\r\n");
    run_turns(loop, 5);
}

static void end_exchange(struct till *till)
{
    stream_close(&till->stream->stream, 0);
    http_link_ended(till->link);
}

Test(http_pool, a_link_of_http_1_is_for_the_next_exchange_as_soon_as_the_one_before_has_ended)
{
    struct loop *loop = loop_new();
    struct http_pool *pool = http_pool_new(loop);
    const struct http_link_key key = key_of(SELLER, "web");
    struct till tills[2];

    for (size_t i = 0; i < 2; i++) {
        open_till(loop, pool, &tills[i]);
        cr_expect_null(http_pool_find(pool, &key), "it has one");
    }
    for (size_t i = 0; i < 2; i++)
        serve(loop, &tills[i]);
    cr_expect_null(http_pool_find(pool, &key), "and has it until that is closed");
    end_exchange(&tills[0]);
    cr_expect_eq(http_pool_find(pool, &key), tills[0].link);
    end_exchange(&tills[1]);
    cr_expect_eq(http_pool_find(pool, &key), tills[1].link, "the last one that was used");
    cr_assert_not_null(tills[1].stream = ask(tills[1].link));
    cr_expect_eq(http_pool_find(pool, &key), tills[0].link);
    run_turns(loop, 5);
    cr_expect_eq(http_pool_links(pool), 2);

    stream_close(&tills[1].stream->stream, -ERR_RESET);
    http_link_ended(tills[1].link);
    http_pool_free(pool);
    run_turns(loop, 5);
    for (size_t i = 0; i < 2; i++)
        fake_stream_free(tills[i].wire);
    loop_finish(loop);
}

struct pool_size {
    const struct http_pool *pool;
    size_t n_links;
};

static bool has_shrunk(void *ctx)
{
    const struct pool_size *size = ctx;
    return http_pool_links(size->pool) == size->n_links;
}

Test(http_pool, so_many_links_of_http_1_rest_and_no_more)
{
    struct loop *loop = loop_new();
    struct http_pool *pool = http_pool_new(loop);
    static struct till tills[HTTP_POOL_IDLE_PER_KEY + 2];
    struct pool_size size = {pool, HTTP_POOL_IDLE_PER_KEY};

    for (size_t i = 0; i < ARRAY_LEN(tills); i++) {
        open_till(loop, pool, &tills[i]);
        serve(loop, &tills[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(tills); i++)
        end_exchange(&tills[i]);
    cr_expect(run_until(loop, has_shrunk, &size, 15000));
    cr_expect(tills[HTTP_POOL_IDLE_PER_KEY].wire->is_closed && !tills[0].wire->is_closed);

    http_pool_forget(pool, &(struct ip){4, {10, 0, 0, 1}});
    size.n_links = 0;
    cr_expect(run_until(loop, has_shrunk, &size, 15000));
    http_pool_free(pool);
    run_turns(loop, 5);
    for (size_t i = 0; i < ARRAY_LEN(tills); i++)
        fake_stream_free(tills[i].wire);
    loop_finish(loop);
}

Test(http_pool, a_link_of_a_pod_that_left_goes_with_its_exchange)
{
    struct loop *loop = loop_new();
    struct http_pool *pool = http_pool_new(loop);
    struct pool_size size = {pool, 0};
    struct till till;

    open_till(loop, pool, &till);
    http_pool_forget(pool, &(struct ip){4, {10, 0, 0, 1}});
    serve(loop, &till);
    cr_expect_eq(http_pool_links(pool), 1);
    end_exchange(&till);
    const struct http_link_key key = key_of(SELLER, "web");
    cr_expect_null(http_pool_find(pool, &key));
    cr_expect(run_until(loop, has_shrunk, &size, 15000));
    http_pool_free(pool);
    run_turns(loop, 5);
    fake_stream_free(till.wire);
    loop_finish(loop);
}
