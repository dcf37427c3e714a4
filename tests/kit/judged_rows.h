/*
 * judged_rows.h - texts that a predicate takes or does not, as rows.
 */
#ifndef TESTS_KIT_JUDGED_ROWS_H
#define TESTS_KIT_JUDGED_ROWS_H

#include <criterion/criterion.h>

#include "proxy/base/str.h"

struct judged_row {
    struct str text;
    bool is_good;
};

#define GOOD(text)                                                                                 \
    {                                                                                              \
        STR(text), true                                                                            \
    }
#define BAD(text)                                                                                  \
    {                                                                                              \
        STR(text), false                                                                           \
    }

static inline void check_rows(bool (*is)(struct str), const struct judged_row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++)
        cr_expect_eq(is(rows[i].text), rows[i].is_good, "row %zu: \"%.*s\"", i,
                     STR_ARG(rows[i].text));
}

#endif
