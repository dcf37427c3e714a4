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
