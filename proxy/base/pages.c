#include "proxy/base/pages.h"

#include <sys/mman.h>

#include "proxy/base/ensure.h"

static size_t whole(size_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

void *pages_new(size_t bytes)
{
    const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *pages = mmap(NULL, whole(bytes), protection, flags | MAP_NORESERVE, -1, 0);

    ensure(pages != MAP_FAILED);                         /* out of memory */
    (void)madvise(pages, whole(bytes), MADV_NOHUGEPAGE); /* else a page would be 2 MiB */
    return pages;
}

void pages_free(void *pages, size_t bytes)
{
    if (pages)
        ensure(munmap(pages, whole(bytes)) == 0);
}

bool pages_drop(void *pages, size_t bytes)
{
    return madvise(pages, whole(bytes), MADV_DONTNEED) == 0;
}

size_t pages_touched(void *pages, size_t bytes)
{
    unsigned char is_there[1];
    size_t n = 0;

    for (size_t at = 0; at < bytes; at += PAGE_BYTES) {
        ensure(mincore((char *)pages + at, PAGE_BYTES, is_there) == 0);
        n += is_there[0] & 1;
    }
    return n;
}
