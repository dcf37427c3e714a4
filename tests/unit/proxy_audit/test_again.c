/* Records of requests are found again by all that they were made of, and by nothing less. */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/audit/again.h"
#include "proxy/base/mem.h"

TestSuite(audit_again, .timeout = 10);

struct values {
    uint64_t connection, other;
};

static struct fold *fold;
static struct again *again;

static void setup(void)
{
    fold = fold_new();
    again = mem_new(struct again);
}

static void teardown(void)
{
    fold_free(fold);
    mem_free(again);
}

static struct fold_record *record_of(const char *packed)
{
    static const struct audit_request request = {.n = 1};
    return fold_add(fold, str_from(packed), 1, &request, 1);
}

Test(audit_again, whatever_differs_is_not_found, .init = setup, .fini = teardown)
{
    const struct values base = {1, 2};
    static const struct str strings[] = {{"shop/a", 6}, {"GET", 3}, {"/x", 2}};
    const struct audit_facts known = {&base, sizeof base, strings, ARRAY_LEN(strings)};

    static const struct {
        struct values values;
        struct str strings[3];
        size_t n_strings;
    } rows[] = {
        {{2, 2}, {{"shop/a", 6}, {"GET", 3}, {"/x", 2}}, 3},
        {{1, 3}, {{"shop/a", 6}, {"GET", 3}, {"/x", 2}}, 3},
        {{1, 2}, {{"shop/b", 6}, {"GET", 3}, {"/x", 2}}, 3},
        {{1, 2}, {{"shop/a", 6}, {"PUT", 3}, {"/x", 2}}, 3},
        {{1, 2}, {{"shop/a", 6}, {"GET", 3}, {"/y", 2}}, 3},
        {{1, 2}, {{"shop/a", 6}, {"GET/", 4}, {"x", 1}}, 3},
        {{1, 2}, {{"shop/a", 6}, {"GET", 3}, {"", 0}}, 3},
        {{1, 2}, {{"shop/a", 6}, {"GET", 3}}, 2},
    };
    struct fold_record *record = record_of("GET /x");

    again_keep(again, &known, record);
    const struct again_place kept = *container_of(record->holder, struct again_place, record);
    for (size_t i = 0; i < AGAIN_MAX; i++) /* whatever the place that is looked at */
        again->at[i] = kept;
    cr_expect_eq(again_find(again, &known), record);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct audit_facts facts = {&rows[i].values, sizeof rows[i].values, rows[i].strings,
                                          rows[i].n_strings};
        cr_expect_null(again_find(again, &facts), "row %zu", i);
    }
}

Test(audit_again, a_record_that_was_told_is_not_found_any_more, .init = setup, .fini = teardown)
{
    const uint64_t connection = 1;
    const struct audit_facts facts = {&connection, sizeof connection, NULL, 0};
    struct fold_record *record = record_of("GET /x");

    cr_expect_null(again_find(again, &facts));
    again_keep(again, &facts, record);
    fold_drop(fold, record);
    cr_expect_null(again_find(again, &facts));
    record = record_of("GET /y");
    again_keep(again, &facts, record);
    cr_expect_eq(again_find(again, &facts), record);
}

Test(audit_again, what_is_too_long_is_not_kept, .init = setup, .fini = teardown)
{
    static char path[AGAIN_BYTES + 1];
    const uint64_t connection = 1;
    struct fold_record *record = record_of("GET /x");
    memset(path, 'x', sizeof path);

    for (size_t over = 0; over < 2; over++) {
        const struct str string = {path, AGAIN_BYTES - sizeof connection + over};
        const struct audit_facts facts = {&connection, sizeof connection, &string, 1};
        again_keep(again, &facts, record);
        cr_expect_eq(again_find(again, &facts), over ? NULL : record);
    }
}
