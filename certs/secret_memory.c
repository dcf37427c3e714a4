/* secret_memory.c - the heap's own word for how large a block is, since OpenSSL does not say. */
#include "certs/secret_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <string.h>

#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"

static _Thread_local bool reads_keys;

static void *take(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return size == 0 ? NULL : mem_alloc(size);
}

static void give_back(void *ptr, const char *file, int line)
{
    (void)file, (void)line;
    if (!ptr)
        return;
    if (reads_keys)
        mem_wipe(ptr, malloc_usable_size(ptr));
    mem_free(ptr);
}

static void *take_other(void *ptr, size_t size, const char *file, int line)
{
    void *other = take(size, file, line);

    if (ptr && other) {
        const size_t len = malloc_usable_size(ptr);

        memcpy(other, ptr, len < size ? len : size);
    }
    give_back(ptr, file, line);
    return other;
}

void secret_memory_install(void)
{
    ensure(CRYPTO_set_mem_functions(take, take_other, give_back) == 1);
    reads_keys = true;
}
