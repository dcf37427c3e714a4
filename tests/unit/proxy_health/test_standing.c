#include <criterion/criterion.h>

#include "proxy/base/mem.h"
#include "proxy/health/standing.h"

TestSuite(standing, .timeout = 5);

/* Answers: G good, B bad, N none, U untold. Standings after each: g, b, - unknown. */
static const struct row {
    const char *name, *answers, *standings;
    uint32_t unhealthy, healthy;
} rows[] = {
    {"the first success counts at once", "G", "g", 3, 3},
    {"the first silence counts at once", "N", "b", 3, 3},
    {"silence counts to the threshold", "GNNN", "gggb", 3, 2},
    {"a success in between starts the count anew", "GNNGNNN", "ggggggb", 3, 2},
    {"an answer that says unwell counts at once", "GB", "gb", 3, 2},
    {"successes count to the other threshold", "NGGG", "bbgg", 3, 2},
    {"a failure in between starts that count anew", "NGNGG", "bbbbg", 3, 2},
    {"what could not be asked says nothing", "GUNG", "g-bb", 3, 2},
    {"a threshold of 0 is 1", "GNG", "gbg", 0, 0},
};

static enum answer answer_of(char letter)
{
    switch (letter) {
    case 'G': return ANSWER_GOOD;
    case 'B': return ANSWER_BAD;
    case 'N': return ANSWER_NONE;
    default: return ANSWER_UNTOLD;
    }
}

Test(standing, follows_answers_as_its_thresholds_say)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *row = &rows[i];
        const struct health_check check = {.unhealthy_threshold = row->unhealthy,
                                           .healthy_threshold = row->healthy};
        struct standing standing = {0};
        for (size_t at = 0; row->answers[at]; at++) {
            standing_note(&standing, &check, answer_of(row->answers[at]));
            cr_expect_eq("-gb"[standing.status], row -> standings[at], "%s: after answer %zu",
                         row->name, at + 1);
        }
    }
}
