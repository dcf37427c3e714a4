/* Requests that say the same become one record, others do not, and the table stays bounded. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "proxy/audit/fold.h"
#include "proxy/base/ensure.h"

TestSuite(audit_fold, .timeout = 10);

static struct fold *fold;

static void setup(void)
{
    fold = fold_new();
}

static void teardown(void)
{
    fold_free(fold);
}

static struct audit_request ended_at(int64_t wall_ns)
{
    return (struct audit_request){
        .n = 1,
        .first_wall_ns = wall_ns,
        .last_wall_ns = wall_ns,
        .bytes_sent = 100,
        .bytes_received = 10,
        .duration_ns = (uint64_t)wall_ns,
        .longest_ns = (uint64_t)wall_ns,
        .attempts = 1,
    };
}

static bool add(struct str packed, uint64_t connection, int64_t wall_ns)
{
    const struct audit_request request = ended_at(wall_ns);
    return fold_add(fold, packed, connection, &request, (uint64_t)wall_ns);
}

Test(audit_fold, requests_that_say_the_same_are_one_record_with_their_sums, .init = setup,
     .fini = teardown)
{
    cr_assert(add(STR("GET /a"), 1, 5));
    cr_assert(add(STR("GET /a"), 1, 9));
    cr_assert(add(STR("GET /a"), 1, 7));

    struct fold_record *record = fold_oldest(fold);
    cr_assert(record != NULL);
    cr_expect(str_eq(str_of(record->packed, record->len), STR("GET /a")));
    cr_expect(eq(u64, record->sum.n, 3));
    cr_expect(eq(i64, record->sum.first_wall_ns, 5));
    cr_expect(eq(i64, record->sum.last_wall_ns, 9));
    cr_expect(eq(u64, record->sum.bytes_sent, 300));
    cr_expect(eq(u64, record->sum.bytes_received, 30));
    cr_expect(eq(u64, record->sum.duration_ns, 21));
    cr_expect(eq(u64, record->sum.longest_ns, 9));
    cr_expect(eq(u64, record->sum.attempts, 3));
    cr_expect(eq(u64, record->begun_ns, 5), "it waits since its first");
    fold_drop(fold, record);
    cr_expect(fold_oldest(fold) == NULL);
}

Test(audit_fold, one_byte_that_differs_is_another_record_and_the_oldest_comes_first, .init = setup,
     .fini = teardown)
{
    static const struct str rows[] = {
        {"GET /a", 6}, {"GET /b", 6}, {"GET /a\0", 7}, {"GET /", 5}, {"PUT /a", 6}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert(add(rows[i], i, (int64_t)i));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fold_record *record = fold_oldest(fold);
        cr_assert(record != NULL);
        cr_expect(str_eq(str_of(record->packed, record->len), rows[i]), "%zu", i);
        cr_expect(eq(u64, record->sum.n, 1));
        fold_drop(fold, record);
    }
    cr_expect(fold_oldest(fold) == NULL);
}

Test(audit_fold, those_of_a_connection_are_found_among_others, .init = setup, .fini = teardown)
{
    struct fold_record *record;
    unsigned n = 0;
    for (uint64_t i = 0; i < 2000; i++) { /* more than there are buckets */
        char text[sizeof i];
        memcpy(text, &i, sizeof i);
        cr_assert(add(str_of(text, sizeof text), i % 1500, 1));
    }
    while ((record = fold_of_connection(fold, 7))) {
        cr_assert(eq(u64, record->connection, 7));
        fold_drop(fold, record);
        n++;
    }
    cr_expect(eq(uint, n, 2));
    cr_expect(fold_of_connection(fold, 2000) == NULL);
}

Test(audit_fold, those_of_a_connection_are_gone_through_once_though_another_has_as_many,
     .init = setup, .fini = teardown)
{
    const uint64_t others = 7 + 1024; /* of the same bucket */
    struct fold_record *next, *record;
    int64_t n = 0;
    for (int64_t i = 0; i < 200; i++) {
        char text[sizeof i];
        memcpy(text, &i, sizeof i);
        cr_assert(add(str_of(text, sizeof text), i % 2 == 0 ? others : 7, i));
    }
    for (record = fold_of_connection(fold, 7); record; record = next) {
        next = fold_next(fold, record);
        cr_assert(eq(u64, record->connection, 7));
        cr_expect(eq(i64, record->sum.first_wall_ns, 2 * n + 1), "in their order");
        fold_drop(fold, record);
        n++;
    }
    cr_expect(eq(i64, n, 100));
    cr_expect(fold_of_connection(fold, 7) == NULL);
    cr_expect(fold_of_connection(fold, others) != NULL);
}

static void fill_with_numbers(size_t *out_n)
{
    for (*out_n = 0;; ++*out_n) {
        char text[sizeof *out_n];
        memcpy(text, out_n, sizeof text);
        if (!add(str_of(text, sizeof text), 1, 1))
            return;
        cr_assert_lt(*out_n, FOLD_RECORDS_MAX);
    }
}

Test(audit_fold, a_full_table_begins_no_record_and_still_counts_on, .init = setup, .fini = teardown)
{
    static char big[FOLD_BYTES_MAX];
    static const size_t zero;
    size_t n;
    fill_with_numbers(&n);
    cr_expect(eq(sz, n, FOLD_RECORDS_MAX));
    cr_expect(add(str_of((const char *)&zero, sizeof zero), 1, 1), "it is there");
    cr_expect(eq(u64, fold_oldest(fold)->sum.n, 2));
    fold_drop(fold, fold_oldest(fold));
    cr_expect_not(add(str_of(big, sizeof big), 1, 1), "nor beyond the bytes");
    cr_expect(add(STR("x"), 1, 1));
}

/* Records of a realistic length, a connection each; how many there is room for. */
static size_t fill_with_lines(size_t from, size_t n_most)
{
    static char line[600];
    for (size_t i = from; i < from + n_most; i++) {
        memcpy(line, &i, sizeof i);
        if (!add(str_of(line, sizeof line), i, 1))
            return i - from;
    }
    return n_most;
}

Test(audit_fold, memory_of_a_burst_goes_back_when_its_records_are_told, .init = setup,
     .fini = teardown)
{
    for (unsigned round = 0; round < 3; round++) {
        cr_assert(eq(sz, fill_with_lines(0, FOLD_RECORDS_MAX), FOLD_RECORDS_MAX));
        cr_expect_gt(fold_chunks(fold), 30);
        while (fold_oldest(fold))
            fold_drop(fold, fold_oldest(fold));
        cr_expect_leq(fold_chunks(fold), 2, "one that is filled next, and one to spare");
        fold_rest(fold);
        cr_expect(eq(sz, fold_chunks(fold), 0));
    }
}

Test(audit_fold, connections_that_come_and_go_share_one_chunk, .init = setup, .fini = teardown)
{
    for (size_t i = 0; i < 10000; i++) {
        cr_assert(eq(sz, fill_with_lines(i, 1), 1));
        fold_drop(fold, fold_of_connection(fold, i));
    }
    cr_expect(eq(sz, fold_chunks(fold), 1));
}

/* One record of each chunk stays: the rest of their room is not used again before they are told. */
Test(audit_fold, what_ends_out_of_turn_cannot_make_it_grow_without_bound, .init = setup,
     .fini = teardown)
{
    size_t n = 0, n_old;
    for (size_t n_chunks = 0; fill_with_lines(n, 1) == 1; n++) {
        const bool is_first_of_chunk = fold_chunks(fold) > n_chunks;
        n_chunks = fold_chunks(fold);
        if (!is_first_of_chunk)
            fold_drop(fold, fold_of_connection(fold, n));
        cr_assert_leq(n_chunks, FOLD_CHUNKS_MAX);
        cr_assert_lt(n, 100000);
    }
    cr_expect(eq(sz, fold_chunks(fold), FOLD_CHUNKS_MAX));
    for (n_old = 0; fill_with_lines(n, 1) == 0; n_old++)
        fold_drop(fold, fold_oldest(fold));
    cr_expect_leq(n_old, 2, "telling the oldest makes room");
}

Test(audit_fold, who_holds_a_record_knows_when_it_is_gone, .init = setup, .fini = teardown)
{
    const struct audit_request request = ended_at(1);
    struct fold_record *a = NULL, *b = NULL;
    struct fold_record *first = fold_add(fold, STR("GET /a"), 1, &request, 1);
    struct fold_record *second = fold_add(fold, STR("GET /b"), 1, &request, 1);
    fold_hold(first, &a);
    fold_add_to(a, &request);
    cr_expect(eq(u64, first->sum.n, 2));
    fold_hold(second, &a);
    cr_expect(a == second, "another has taken the place");
    fold_hold(second, &b);
    cr_expect(a == NULL && b == second, "another holds it");
    fold_drop(fold, second);
    cr_expect(b == NULL);
    fold_hold(first, &b);
    fold_hold(first, &b);
    cr_expect(b == first, "twice the same");
    fold_drop(fold, first);
    cr_expect(b == NULL);
}
