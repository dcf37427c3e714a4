/* Records pass whole and in order; what was full of them takes no memory when it is still. */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/pages.h"
#include "proxy/io/record_ring.h"

TestSuite(record_ring, .timeout = 10);

#define CAP    ((size_t)65536)
#define RECORD ((size_t)1000)

static struct record_ring *ring;
static char record[RECORD];

static void setup(void)
{
    ring = record_ring_new(CAP);
}

static void teardown(void)
{
    record_ring_free(ring);
}

static unsigned fill(void)
{
    unsigned n = 0;

    while (record_ring_try(ring, str_of(record, sizeof record), 0))
        memset(record, (int)++n, sizeof record);
    memset(record, 0, sizeof record);
    return n;
}

/* In order, each as it was put in. */
static void take(unsigned first, unsigned n)
{
    char out[RECORD], wanted[RECORD];

    for (unsigned i = first; i < first + n; i++) {
        memset(wanted, (int)i, sizeof wanted);
        cr_assert_eq(record_ring_take(ring, out, sizeof out), RECORD);
        cr_assert_eq(memcmp(out, wanted, RECORD), 0, "record %u", i);
    }
}

Test(record_ring, still_and_empty_it_gives_its_memory_back_and_goes_on_where_it_was, .init = setup,
     .fini = teardown)
{
    const uint64_t still_ns = RECORD_RING_STILL_NS;
    uint64_t now_ns = 1;

    for (unsigned round = 0; round < 3; round++, now_ns += still_ns) {
        const unsigned n = fill();
        cr_assert_eq(n, CAP / (RECORD + sizeof(uint32_t)), "whatever the round");
        cr_expect_not(record_ring_rest(ring, now_ns));
        cr_expect_not(record_ring_rest(ring, now_ns += 2 * still_ns), "they are not taken yet");
        take(0, n);
        cr_expect_gt(record_ring_pages(ring), 0);
        cr_expect_not(record_ring_rest(ring, now_ns += still_ns - 1), "since it was last full");
        cr_expect(record_ring_rest(ring, ++now_ns));
        cr_expect_eq(record_ring_pages(ring), 0);
        cr_expect(record_ring_rest(ring, now_ns), "and stays there");
    }
}

Test(record_ring, what_is_used_now_and_then_is_left_alone, .init = setup, .fini = teardown)
{
    uint64_t now_ns = 1;

    for (unsigned i = 0; i < 5; i++, now_ns += RECORD_RING_STILL_NS / 2) {
        cr_assert(record_ring_put(ring, str_of(record, sizeof record)));
        take(0, 1);
        cr_expect_not(record_ring_rest(ring, now_ns));
    }
    cr_expect_gt(record_ring_pages(ring), 0);
    cr_expect_eq(record_ring_lost(ring), 0);
}
