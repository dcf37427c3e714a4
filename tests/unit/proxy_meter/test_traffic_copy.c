/* Copies of a worker's traffic that are made in pieces, with counting in between. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

#include "proxy/base/rng.h"
#include "traffic_page.h"

TestSuite(traffic_copy, .timeout = 30);

enum { KINDS = 40 };

static struct traffic_labels kind(unsigned i)
{
    static char names[KINDS][16];

    (void)snprintf(names[i], sizeof(names[i]), "kind-%02u", i);
    return labels_of(names[i], "b");
}

static void request_of(struct traffic *traffic, unsigned i)
{
    const struct traffic_labels labels = kind(i);

    (void)traffic_request(traffic, &labels, &(struct traffic_request){1000000, 10, 100});
}

/* What a page has of one kind: how often its line is in it, and the numbers that belong together.
 */
struct shown {
    int n;
    unsigned long long requests, counts[3], bytes;
};

static struct shown shown_of(const struct text *page, unsigned i)
{
    static const char *const counts[] = {"istio_request_duration_milliseconds_count{",
                                         "istio_request_bytes_count{",
                                         "istio_response_bytes_count{"};
    struct shown shown;
    char part[32];
    int n;

    (void)snprintf(part, sizeof(part), "\"kind-%02u\"", i);
    shown.requests = sum_of(page, "istio_requests_total{", part, &shown.n);
    for (int k = 0; k < 3; k++)
        shown.counts[k] = sum_of(page, counts[k], part, &n);
    shown.bytes = sum_of(page, "istio_request_bytes_sum{", part, &n);
    return shown;
}

static struct text page_of_copy(struct traffic_copy *copy)
{
    struct traffic_report *report = traffic_copy_end(copy);
    struct text page = {0};

    traffic_report_write(report, &page);
    traffic_report_free(report);
    return page;
}

Test(traffic_copy, a_copy_in_pieces_has_each_series_once_with_numbers_of_one_moment)
{
    struct traffic *traffic = traffic_new();

    for (unsigned i = 0; i < 6; i++)
        request_of(traffic, i);
    struct traffic_copy *copy = traffic_copy_new(traffic);
    cr_assert(traffic_copy_go_on(copy, 2));
    struct traffic_copy *second = traffic_copy_new(traffic);
    for (unsigned i = 0; i < 6; i++)
        request_of(traffic, i);
    request_of(traffic, 6);
    cr_assert_eq(traffic_forget_idle(traffic, STR("ns"), STR("kind-01")), 1, "where the copy is");
    cr_assert_eq(traffic_forget_idle(traffic, STR("ns"), STR("kind-04")), 1, "before it is there");
    request_of(traffic, 1);
    cr_assert(traffic_copy_go_on(second, 100) == false);
    request_of(traffic, 2);
    struct text page = page_of_copy(copy), page_of_second = page_of_copy(second);

    static const unsigned long long first_has[] = {1, 1, 3, 2, 0, 2, 0};
    static const unsigned long long second_has[] = {2, 0, 2, 2, 0, 2, 0};
    for (unsigned i = 0; i < 7; i++) {
        const struct shown a = shown_of(&page, i), b = shown_of(&page_of_second, i);
        cr_expect_eq(a.requests, first_has[i], "%u: %llu", i, a.requests);
        cr_expect_eq(a.n, first_has[i] > 0, "%u", i);
        cr_expect_eq(b.requests, second_has[i], "%u: %llu of the second", i, b.requests);
        cr_expect_eq(b.n, second_has[i] > 0, "%u", i);
    }
    text_fini(&page);
    text_fini(&page_of_second);
    traffic_free(traffic);
}

/* Whatever happens in between, of several copies at once: see struct shown. */
static void copy_at_random(uint64_t seed)
{
    struct traffic *traffic = traffic_new();
    struct rng rng;
    unsigned long long before[KINDS] = {0};
    int forgotten[KINDS] = {0}; /* in which scrape, at last */
    struct traffic_copy *other = NULL;

    rng_seed(&rng, seed);
    for (int scrape = 2; scrape < 8; scrape++) {
        struct traffic_copy *copy = traffic_copy_new(traffic);
        bool goes_on = true;
        while (goes_on) {
            for (unsigned n = rng_below(&rng, 10); n > 0; n--)
                request_of(traffic, rng_below(&rng, KINDS));
            const unsigned leaves = rng_below(&rng, KINDS);
            char name[16];
            (void)snprintf(name, sizeof(name), "kind-%02u", leaves);
            if (rng_below(&rng, 4) == 0 &&
                traffic_forget_idle(traffic, STR("ns"), str_from(name)) > 0)
                forgotten[leaves] = scrape;
            if (!other)
                other = traffic_copy_new(traffic);
            else if (!traffic_copy_go_on(other, 1 + rng_below(&rng, 5))) {
                traffic_report_free(traffic_copy_end(other));
                other = NULL;
            }
            goes_on = traffic_copy_go_on(copy, 1 + rng_below(&rng, 5));
        }
        struct text page = page_of_copy(copy);
        for (unsigned i = 0; i < KINDS; i++) {
            const struct shown shown = shown_of(&page, i);
            cr_assert_leq(shown.n, 1, "%u is there twice (seed %llu)", i, (unsigned long long)seed);
            for (int k = 0; k < 3; k++)
                cr_assert_eq(shown.counts[k], shown.requests, "%u (seed %llu)", i,
                             (unsigned long long)seed);
            cr_assert_eq(shown.bytes, 10 * shown.requests, "%u (seed %llu)", i,
                         (unsigned long long)seed);
            cr_assert(forgotten[i] >= scrape - 1 || shown.requests >= before[i],
                      "%u: %llu after %llu (seed %llu)", i, shown.requests, before[i],
                      (unsigned long long)seed);
            before[i] = shown.requests;
        }
        text_fini(&page);
    }
    if (other)
        traffic_report_free(traffic_copy_end(other));
    traffic_free(traffic);
}

Test(traffic_copy, copies_in_pieces_lose_nothing_and_have_nothing_twice_whatever_happens_meanwhile)
{
    for (uint64_t seed = 1; seed <= 12; seed++)
        copy_at_random(seed);
}

Test(traffic_copy, a_copy_that_is_not_ended_before_its_worker_is_a_broken_contract,
     .signal = SIGABRT)
{
    struct traffic *traffic = traffic_new();

    (void)traffic_copy_new(traffic);
    traffic_free(traffic);
}
