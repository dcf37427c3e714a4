/*
 * One pod reads nothing of what it asks for; another goes on as if it were not there.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/flow/relief.h"
#include "proxy/flow/walk.h"
#include "proxy/meter/process.h"
#include "town.h"

TestSuite(relief, .timeout = 60);

#define HOG       "10.0.0.9"
#define N_HOGS    20
#define MIB       (UINT64_C(1) << 20)
#define ANSWER    ((size_t)16777216) /* more than all on the way takes ahead of its reader */
#define PIECE     ((size_t)16384)
#define WINDOW    ((size_t)262144) /* of a tunnel's stream: came, and is not taken out of it */
#define EACH_MOST (FAKE_QUEUE_HIGH + SLAB_BYTES + WINDOW)

/* A heap that keeps what is freed is at the bound for good. */
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
#define HEAP_KEEPS true
#else
#define HEAP_KEEPS false
#endif

static struct town town;
static struct town_call honest, hogs[N_HOGS];
static unsigned n_hogs;

static void open_all(enum app_protocol protocol)
{
    n_hogs = 0;
    town_open(&town);
    snap_pod(&town.snap, "hog", "n1", HOG)->service_account = STR("cart");
    town_service(&town)->ports[0].app_protocol = protocol;
    town_learn(&town);
}

static bool is_served(void *n)
{
    return town.n_served >= *(const unsigned *)n;
}

struct pour {
    struct town_call *hog;
    struct tap *served;
};

/* The app goes on until the hog's connection takes no more. */
static bool is_full(void *ctx)
{
    const struct pour *pour = ctx;
    if (stream_queued(pour->served->stream) < FAKE_QUEUE_HIGH)
        (void)tap_write_pattern(pour->served, ANSWER, PIECE);
    return stream_queued(&pour->hog->theirs->stream) >= FAKE_QUEUE_HIGH;
}

static bool has_asked(void *idx)
{
    return str_contains(text_str(&town.served[*(const unsigned *)idx].got), STR("\r\n\r\n"));
}

/* One that asks for much and reads nothing of it. */
static void start_hog(bool is_http)
{
    struct town_call *hog = &hogs[n_hogs++];
    unsigned served = town.n_served, wanted = served + 1;
    call_start(hog, &town.n1, ARRIVAL_OUTBOUND, HOG, VIP, 6379);
    if (is_http)
        call_say(hog, "GET / HTTP/1.1\r\nHost: store\r\n\r\n");
    cr_assert(run_until(town.world.loop, is_served, &wanted, PATIENCE_MS));
    stream_pause(&hog->ours->stream);
    if (is_http) {
        static const char head[] = "HTTP/1.1 200 OK\r\ncontent-length: 16777216\r\n\r\n";
        cr_assert(run_until(town.world.loop, has_asked, &served, PATIENCE_MS));
        (void)stream_write_copy(town.served[served].stream, head, sizeof head - 1);
    }
    struct pour pour = {hog, &town.served[served]};
    cr_assert(run_until(town.world.loop, is_full, &pour, PATIENCE_MS), "%u", n_hogs);
}

static void start_hogs(unsigned n, bool is_http)
{
    for (unsigned i = 0; i < n; i++)
        start_hog(is_http);
}

static unsigned n_cut(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < n_hogs; i++)
        n += hogs[i].theirs->is_closed;
    return n;
}

static void close_all(void)
{
    for (unsigned i = 0; i < n_hogs; i++)
        call_end(&hogs[i]);
    call_end(&honest);
    town_close(&town);
}

Test(relief, of_the_client_that_holds_most_so_many_are_cut_as_are_needed)
{
    open_all(APP_UNKNOWN);
    call_start(&honest, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_assert(call_echoes(&honest, 1));
    start_hogs(N_HOGS, false);

    const uint64_t bytes = relief_cut(town.n1.walk, MIB).bytes;
    cr_expect(bytes >= MIB && bytes < MIB + EACH_MOST, "%llu", (unsigned long long)bytes);
    cr_expect(n_cut() > 0 && n_cut() <= MIB / FAKE_QUEUE_HIGH, "%u", n_cut());
    cr_expect(call_echoes(&honest, 1));
    close_all();
}

Test(relief, nobody_is_cut_who_holds_little)
{
    open_all(APP_UNKNOWN);
    call_start(&honest, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_assert(call_echoes(&honest, 1));
    start_hogs(3, false);

    cr_expect_eq(relief_cut(town.n1.walk, 100 * MIB).bytes, 0);
    cr_expect_eq(n_cut(), 0);
    close_all();
}

Test(relief, at_the_bound_of_memory_a_pod_that_reads_nothing_costs_others_no_connection)
{
    static const struct {
        const char *name;
        enum app_protocol protocol;
    } rows[] = {{"bytes", APP_UNKNOWN}, {"HTTP", APP_HTTP11}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const int64_t cut = meter_total(METRIC_FLOWS_RELIEVED);
        const char *name = rows[i].name;
        struct town_call late;
        open_all(rows[i].protocol);
        call_start(&honest, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        cr_assert(call_echoes(&honest, 1), "%s", name);
        start_hogs(N_HOGS, rows[i].protocol == APP_HTTP11);
        struct walk *walk = town.n1.walk;

        mem_trim();
        walk->options.max_memory_bytes = process_resident_bytes() - MIB / 4;
        walk->trim_due_ns = 0;
        walk_sample(walk, 0);

        cr_expect_eq(walk->overload.strain, STRAIN_NONE, "%s", name);
        cr_expect_gt(n_cut(), 0, "%s", name);
        cr_expect_eq(meter_total(METRIC_FLOWS_RELIEVED) - cut, (int64_t)n_cut(), "%s", name);
        if (HEAP_KEEPS)
            walk->options.max_memory_bytes = 0;
        cr_expect(call_echoes(&honest, 1), "%s", name);
        const unsigned n_served = town.n_served + 1;
        call_start(&late, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        cr_expect(call_echoes(&late, n_served), "%s: a new connection is served", name);
        cr_expect(LOGGED(&town, "\"why\":\"held_most\"", HOG), "%s", name);
        call_end(&late);
        close_all();
    }
}

/* n2 stands for another worker of n1's process, at which the hog has nothing. */
Test(relief, a_worker_refuses_nobody_while_another_has_the_hog)
{
    struct ledger *ledger = ledger_new(2);
    struct town_call late;
    open_all(APP_UNKNOWN);
    town.n1.ledger = town.n2.ledger = ledger;
    town_walk(&town.n1, &(struct walk_options){0});
    town_walk(&town.n2, &(struct walk_options){0});
    call_start(&honest, &town.n2, ARRIVAL_PLAINTEXT, CART, PAY1, town.port);
    cr_assert(call_echoes(&honest, 1));
    start_hogs(N_HOGS, false);
    mem_trim();
    town.n1.walk->options.max_memory_bytes = town.n2.walk->options.max_memory_bytes =
        process_resident_bytes() - MIB / 4;

    walk_sample(town.n2.walk, 0);
    cr_expect_eq(town.n2.walk->overload.strain, STRAIN_NONE, "n1 has not told, and may have one");
    walk_sample(town.n1.walk, 0);
    cr_expect_gt(n_cut(), 0, "n2 has none");
    walk_sample(town.n2.walk, 0);
    cr_expect_eq(town.n2.walk->overload.strain, STRAIN_NONE, "what was cut counts as free");
    if (HEAP_KEEPS)
        town.n1.walk->options.max_memory_bytes = town.n2.walk->options.max_memory_bytes = 0;
    call_start(&late, &town.n2, ARRIVAL_PLAINTEXT, CART, PAY1, town.port);
    cr_expect(call_echoes(&late, town.n_served + 1));
    cr_expect(call_echoes(&honest, 1));
    call_end(&late);
    close_all();
    ledger_free(ledger);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)

#define BLOCKS 4096

Test(relief, who_fills_the_memory_again_within_the_second_is_cut_again)
{
    static void *blocks[BLOCKS];
    open_all(APP_UNKNOWN);
    struct walk *walk = town.n1.walk;
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = memset(mem_alloc(PIECE), 1, PIECE);
    void *above = mem_alloc(PIECE); /* so that it does not end with the heap */
    const uint64_t bound = process_resident_bytes() - MIB / 4;
    for (size_t i = 0; i < BLOCKS; i++)
        mem_free(blocks[i]);
    walk->options.max_memory_bytes = bound;
    walk_sample(walk, 0);
    cr_expect_eq(walk->overload.strain, STRAIN_NONE, "what was free was given back");
    walk->options.max_memory_bytes = 0;
    call_start(&honest, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_assert(call_echoes(&honest, 1));
    start_hogs(N_HOGS, false);

    mem_trim();
    walk->options.max_memory_bytes = process_resident_bytes() - MIB / 4;
    walk_sample(walk, 0);
    cr_expect_eq(walk->overload.strain, STRAIN_NONE);
    cr_expect_gt(n_cut(), 0);
    mem_free(above);
    close_all();
}

#endif
