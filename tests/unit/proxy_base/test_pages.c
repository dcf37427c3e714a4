#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/pages.h"

TestSuite(pages, .timeout = 5);

#define BYTES (10 * PAGE_BYTES)

Test(pages, take_memory_when_they_are_touched_and_none_once_they_are_dropped)
{
    unsigned char *pages = pages_new(BYTES - 1);

    cr_expect_eq((size_t)pages % PAGE_BYTES, 0);
    cr_expect_eq(pages_touched(pages, BYTES), 0);
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < BYTES; i++)
            cr_assert_eq(pages[i], 0, "byte %zu of round %u", i, round);
        memset(pages, 1, 3 * PAGE_BYTES);
        pages[BYTES - 1] = 1;
        cr_expect_geq(pages_touched(pages, BYTES), 4);
        if (!pages_drop(pages, BYTES - 1))
            cr_skip("memory is locked here");
        cr_expect_eq(pages_touched(pages, BYTES), 0);
    }
    pages_free(pages, BYTES - 1);
    pages_free(NULL, BYTES);
}
