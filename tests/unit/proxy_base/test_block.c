#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/block.h"

TestSuite(block, .timeout = 10);

#define LONGEST 50

static block find_x(block bytes)
{
    return (block)(bytes == 'x');
}

/* Each length in memory of its own, so that a sanitizer sees a look beyond. */
static char *room_of(size_t len, char fill)
{
    char *room = malloc(len + 1);
    memset(room, fill, len + 1);
    room[len] = 'x'; /* which is not the text's */
    return room;
}

Test(block, the_first_is_found_wherever_it_stands_and_nothing_behind_the_end)
{
    for (size_t len = 0; len < LONGEST; len++) {
        char *text = room_of(len, '.');
        cr_assert_eq(block_before(text, len, find_x), len);
        cr_assert(block_lacks(str_of(text, len), find_x), "%zu", len);
        for (size_t at = len; at-- > 0;) { /* and later ones do not matter */
            text[at] = 'x';
            cr_assert_eq(block_before(text, len, find_x), at, "%zu of %zu", at, len);
            cr_assert(!block_lacks(str_of(text, len), find_x), "%zu of %zu", at, len);
        }
        free(text);
    }
}

Test(block, one_alone_is_found_wherever_it_stands)
{
    for (size_t len = 1; len < LONGEST; len++) {
        char *text = room_of(len, '.');
        for (size_t at = 0; at < len; at++) {
            text[at] = 'x';
            cr_assert(!block_lacks(str_of(text, len), find_x), "%zu of %zu", at, len);
            text[at] = '.';
        }
        free(text);
    }
}

Test(block, a_range_has_both_its_ends)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[BLOCK_BYTES];
        memset(text, byte, sizeof(text));
        const size_t first = block_first(block_from_to(block_at(text), 'a', 'z'));
        cr_assert_eq(first, byte >= 'a' && byte <= 'z' ? 0 : BLOCK_BYTES, "%d", byte);
    }
}
