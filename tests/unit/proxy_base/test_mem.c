#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "proxy/base/mem.h"

TestSuite(mem, .timeout = 5);

Test(mem, memory_comes_zeroed)
{
    unsigned char *bytes;

    /* A dirty block goes back first, so that the heap has one to hand out again. */
    void *dirty = mem_alloc(64);
    memset(dirty, 0xff, 64);
    mem_free(dirty);
    bytes = mem_new_array(unsigned char, 64);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(bytes[i], 0);
    mem_free(bytes);
}

Test(mem, no_bytes_are_still_a_block)
{
    void *a = mem_zalloc(0), *b = mem_alloc(0), *c = mem_zalloc_array(0, 8);

    cr_assert(a && b && c);
    a = mem_realloc(a, 0);
    cr_assert_not_null(a);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(NULL);
}

Test(mem, growing_keeps_the_bytes)
{
    char *bytes = mem_alloc(4);

    memcpy(bytes, "abc", 4);
    bytes = mem_realloc(bytes, 4000);
    cr_assert_str_eq(bytes, "abc");
    mem_free(bytes);
}

Test(mem, wiping_leaves_zeroes)
{
    char secret[] = "secret";

    mem_wipe(secret, sizeof(secret));
    cr_assert_eq(memcmp(secret, "\0\0\0\0\0\0\0", 7), 0);
    mem_wipe(NULL, 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
Test(mem, an_array_whose_size_overflows_ends_the_process, .signal = SIGABRT)
{
    volatile size_t count = SIZE_MAX / 4;

    mem_free(mem_zalloc_array(count, 16));
}
#endif
