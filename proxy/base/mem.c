#include "proxy/base/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void out_of_memory(size_t size)
{
    (void)dprintf(STDERR_FILENO, "isthmus: out of memory: %zu bytes were refused\n", size);
    abort();
}

/* malloc(0) may give NULL, which must not look like a refusal. */
static size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

void *mem_alloc(size_t size)
{
    void *ptr = malloc(at_least_one(size));

    if (!ptr)
        out_of_memory(size);
    return ptr;
}

/* What malloc has at hand for a thread (glibc's tcache), which calloc does not look at. */
#define AT_HAND_BYTES 1024

/* The same pointer, of which the compiler does not know that malloc gave it: it makes a calloc of a
 * malloc that is wiped. */
static void *veil(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr));
    return ptr;
}

void *mem_zalloc(size_t size)
{
    if (size <= AT_HAND_BYTES)
        return memset(veil(mem_alloc(size)), 0, size);
    void *ptr = calloc(1, size);

    if (!ptr)
        out_of_memory(size);
    return ptr;
}

void *mem_zalloc_array(size_t count, size_t size)
{
    void *ptr = calloc(at_least_one(count), at_least_one(size));

    if (!ptr)
        out_of_memory(count > SIZE_MAX / at_least_one(size) ? SIZE_MAX : count * size);
    return ptr;
}

void *mem_realloc(void *ptr, size_t size)
{
    void *grown = realloc(ptr, at_least_one(size));

    if (!grown)
        out_of_memory(size);
    return grown;
}

void mem_free(void *ptr)
{
    free(ptr);
}

void mem_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void mem_wipe(void *ptr, size_t size)
{
    if (size)
        explicit_bzero(ptr, size);
}
