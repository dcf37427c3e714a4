#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/base/ensure.h"
#include "proxy/flow/overload.h"

TestSuite(overload, .timeout = 20);

static const struct overload_bounds bounds = {.memory_bytes = 1000, .lag_ns = 100 * NS_PER_MS};

#define SAMPLES 14

static const struct row {
    const char *name;
    enum strain strain;
    struct overload_reading samples[SAMPLES];
    const char *is_strained; /* one letter a sample: - or x */
} rows[] = {
    {"memory ends at 90 % of its bound",
     STRAIN_MEMORY,
     {{999, 0, 0}, {1000, 0, 0}, {950, 0, 0}, {900, 0, 0}, {899, 0, 0}, {999, 0, 0}},
     "-xxx--"},
    {"descriptors end at 90 %",
     STRAIN_DESCRIPTORS,
     {{0, 0, 94}, {0, 0, 95}, {0, 0, 90}, {0, 0, 89}, {0, 0, 94}},
     "-xx--"},
    {"one late sample is nothing",
     STRAIN_LAG,
     {{0, 500 * NS_PER_MS, 0}, {0, 0, 0}, {0, 500 * NS_PER_MS, 0}},
     "---"},
    {"two are, until ten in a row are in time",
     STRAIN_LAG,
     {{0, 100 * NS_PER_MS, 0}, {0, 100 * NS_PER_MS, 0}, {0, 60 * NS_PER_MS, 0}},
     "-xxxxxxxxxxx-"},
};

Test(overload, begins_at_its_bound_and_ends_below_it)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct overload overload = {0};
        for (size_t at = 0; rows[i].is_strained[at]; at++) {
            overload_note(&overload, &bounds, &rows[i].samples[at]);
            cr_expect_eq(overload.strain,
                         rows[i].is_strained[at] == 'x' ? rows[i].strain : STRAIN_NONE,
                         "%s: sample %zu", rows[i].name, at + 1);
        }
    }
}

Test(overload, a_bound_of_zero_is_none)
{
    static const struct overload_bounds none = {0};
    const struct overload_reading reading = {UINT64_MAX, UINT64_MAX, 0};
    struct overload overload = {0};
    for (int i = 0; i < 5; i++)
        overload_note(&overload, &none, &reading);
    cr_expect_eq(overload.strain, STRAIN_NONE);
}
