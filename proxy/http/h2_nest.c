/*
 * h2_nest.c - how a nest is folded, and where nests come from.
 *
 * An image is a row of steps: how many words of zero to pass over, which of the words that were
 * written lately the next one is like, in which of its eight bytes it differs, and those bytes. A
 * session is pointers to a few places and small numbers, so that most words take two to four bytes.
 *
 * Nests come from the kernel in chunks, whose first page describes them. A few that are free keep
 * their pages, so that short connections one after the other do not ask the kernel for each; a
 * chunk that is free as a whole goes back, but the thread's last one.
 */
#include "proxy/http/h2_nest.h"

#include <string.h>
#include <sys/mman.h>

#include "proxy/base/ensure.h"
#include "proxy/base/list.h"
#include "proxy/base/mem.h"
#include "proxy/base/pages.h"

#define CHUNK_NESTS   64
#define CHUNK_BYTES   (PAGE_BYTES + CHUNK_NESTS * H2_NEST_BYTES)
#define WARM_MAX      16u /* free nests of a thread that keep their pages */
#define WORD_BYTES    sizeof(uint64_t)
#define NEST_WORDS    (H2_NEST_BYTES / WORD_BYTES)
#define WORTH_FOLDING 2 /* an image is at most such a part */
#define UNIT_BYTES                                                                                 \
    ((size_t)16) /* as malloc aligns; a block's size stands in the word before it                  \
                  */
#define SHELVES ((H2_NEST_SMALL + WORD_BYTES) / UNIT_BYTES)

/* A step: like << 5 | skip, mask, skip again in two bytes if it is SKIP_MORE, bytes. */
#define SKIP_MORE 31u
#define LIKES     8u /* words to be like; the first is zero */
#define STEP_MAX  (4 + WORD_BYTES)

struct likes {
    uint64_t words[LIKES];
    unsigned next;
};

/* At the start of a nest, so that it is folded too: small blocks that were given back, by size;
 * each holds the next. */
struct shelves {
    uint8_t *free[SHELVES];
    uint64_t size_of_first[2]; /* of the block behind it, aligned */
};

struct h2_nest_chunk {
    struct list link; /* of the thread's chunks that have a free nest, or of itself */
    struct h2_nest *free;
    unsigned n_used;
    struct h2_nest nests[CHUNK_NESTS];
};

_Static_assert(sizeof(struct h2_nest_chunk) <= PAGE_BYTES,
               "a chunk is described by its first page");

static _Thread_local struct {
    struct list chunks; /* that have a free nest */
    unsigned n_warm;    /* nests that are free and have their pages */
} own;

/* ------------------------------------------------------------------ images */

/* How many bytes are not zero: the high bit of each says so, and they are summed in the highest. */
static unsigned n_bytes_set(uint64_t word)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f), ones = UINT64_C(0x0101010101010101);
    const uint64_t is_set = (((word & low) + low) | word) & ~low;

    return (unsigned)((is_set >> 7) * ones >> 56);
}

static unsigned find_like(const struct likes *likes, uint64_t word)
{
    unsigned best = 0, least = n_bytes_set(word);

    for (unsigned i = 1; i < LIKES && least > 0; i++) {
        const unsigned n = n_bytes_set(word ^ likes->words[i]);
        if (n < least) {
            best = i;
            least = n;
        }
    }
    return best;
}

static void note_word(struct likes *likes, uint64_t word, unsigned like)
{
    if (likes->words[like] == word)
        return;
    likes->next = likes->next % (LIKES - 1) + 1;
    likes->words[likes->next] = word;
}

static size_t put_bytes(uint64_t word, uint8_t *mask, uint8_t *out)
{
    size_t len = 0;

    *mask = 0;
    for (unsigned i = 0; i < WORD_BYTES; i++) {
        out[len] = (uint8_t)(word >> (8 * i));
        *mask |= (uint8_t)((out[len] > 0) << i);
        len += out[len] > 0;
    }
    return len;
}

static size_t put_step(struct likes *likes, uint64_t word, size_t skip, uint8_t *out)
{
    const unsigned like = find_like(likes, word);
    size_t len = 2;

    out[0] = (uint8_t)(like << 5 | (skip < SKIP_MORE ? skip : SKIP_MORE));
    if (skip >= SKIP_MORE) {
        out[len++] = (uint8_t)skip;
        out[len++] = (uint8_t)(skip >> 8);
    }
    len += put_bytes(word ^ likes->words[like], &out[1], out + len);
    note_word(likes, word, like);
    return len;
}

static size_t pack(const uint64_t *words, size_t n_words, uint8_t *out)
{
    struct likes likes = {0};
    size_t len = 0, skip = 0;

    for (size_t i = 0; i < n_words; i++) {
        if (words[i] == 0) {
            skip++;
            continue;
        }
        len += put_step(&likes, words[i], skip, out + len);
        skip = 0;
    }
    return len;
}

/* words are zero. */
static void unpack(const uint8_t *image, size_t len, uint64_t *words)
{
    struct likes likes = {0};

    for (size_t at = 0; at < len; words++) {
        const unsigned like = image[at] >> 5;
        const uint8_t mask = image[at + 1];
        size_t skip = image[at] & SKIP_MORE;
        uint64_t word = likes.words[like];
        at += 2;
        if (skip == SKIP_MORE) {
            skip = image[at] | (size_t)image[at + 1] << 8;
            at += 2;
        }
        for (unsigned i = 0; i < WORD_BYTES; i++) {
            if (mask & 1u << i)
                word ^= (uint64_t)image[at++] << (8 * i);
        }
        words += skip;
        *words = word;
        note_word(&likes, word, like);
    }
}

/* ------------------------------------------------------------------ pages */

static bool drop_pages(const struct h2_nest *nest)
{
    return pages_drop(nest->bytes, H2_NEST_BYTES);
}

static void close_pages(const struct h2_nest *nest)
{
    assume(mprotect(nest->bytes, H2_NEST_BYTES, PROT_NONE) == 0);
    (void)nest;
}

static void open_pages(const struct h2_nest *nest)
{
    assume(mprotect(nest->bytes, H2_NEST_BYTES, PROT_READ | PROT_WRITE) == 0);
    (void)nest;
}

void h2_nest_fold(struct h2_nest *nest)
{
    static _Thread_local uint8_t room[NEST_WORDS * STEP_MAX];
    size_t len;

    ensure(!h2_nest_is_folded(nest));
    len = pack((const uint64_t *)(const void *)nest->bytes, nest->used / WORD_BYTES, room);
    if (len == 0 || len > nest->used / WORTH_FOLDING || !drop_pages(nest))
        return;
    nest->image = memcpy(mem_alloc(len), room, len);
    nest->image_len = len;
    close_pages(nest);
}

void h2_nest_unfold(struct h2_nest *nest)
{
    open_pages(nest);
    unpack(nest->image, nest->image_len, (uint64_t *)(void *)nest->bytes);
    mem_free(nest->image);
    nest->image = NULL;
}

/* ------------------------------------------------------------------ blocks */

static size_t whole_of(size_t size)
{
    return (size + WORD_BYTES + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES;
}

/* Where blocks of its size are that were given back; NULL: those of its size are not kept. */
static uint8_t **shelf_of(const struct h2_nest *nest, size_t size)
{
    struct shelves *shelves = (struct shelves *)(void *)nest->bytes;

    return size <= H2_NEST_SMALL ? &shelves->free[whole_of(size) / UNIT_BYTES - 1] : NULL;
}

static uint8_t *take_again(uint8_t **shelf)
{
    uint8_t *block = *shelf;

    memcpy(shelf, block, WORD_BYTES);
    return memset(block, 0, WORD_BYTES);
}

static uint8_t *take_new(struct h2_nest *nest, size_t size)
{
    uint8_t *block = nest->bytes + nest->used;

    if (size > H2_NEST_BYTES || whole_of(size) > H2_NEST_BYTES - nest->used)
        return NULL;
    nest->used += whole_of(size);
    return block;
}

void *h2_nest_take(struct h2_nest *nest, size_t size)
{
    uint8_t **shelf = shelf_of(nest, size);
    uint8_t *block = shelf && *shelf ? take_again(shelf) : take_new(nest, size);

    if (block)
        memcpy(block - WORD_BYTES, &size, sizeof(size));
    return block;
}

bool h2_nest_has(const struct h2_nest *nest, const void *ptr)
{
    const uintptr_t at = (uintptr_t)ptr, first = (uintptr_t)nest->bytes;

    return at >= first && at < first + H2_NEST_BYTES;
}

size_t h2_nest_size(const void *ptr)
{
    size_t size;

    memcpy(&size, (const uint8_t *)ptr - WORD_BYTES, sizeof(size));
    return size;
}

void h2_nest_give_back(struct h2_nest *nest, void *ptr)
{
    const size_t size = h2_nest_size(ptr);
    uint8_t **shelf = shelf_of(nest, size);

    memset(ptr, 0, size); /* so that it needs nothing while it is folded */
    if (!shelf)
        return;
    memcpy(ptr, shelf, WORD_BYTES);
    *shelf = ptr;
}

/* ------------------------------------------------------------------ where they come from */

static struct h2_nest_chunk *chunk_new(void)
{
    uint8_t *bytes = pages_new(CHUNK_BYTES);
    struct h2_nest_chunk *chunk = (struct h2_nest_chunk *)(void *)bytes;

    list_init(&chunk->link);
    for (size_t i = CHUNK_NESTS; i-- > 0;) {
        chunk->nests[i] = (struct h2_nest){
            .bytes = bytes + PAGE_BYTES + i * H2_NEST_BYTES, .chunk = chunk, .next = chunk->free};
        chunk->free = &chunk->nests[i];
    }
    return chunk;
}

static struct h2_nest_chunk *some_chunk(void)
{
    if (!own.chunks.next)
        list_init(&own.chunks);
    if (list_is_empty(&own.chunks))
        list_push_back(&own.chunks, &chunk_new()->link);
    return list_entry(own.chunks.next, struct h2_nest_chunk, link);
}

struct h2_nest *h2_nest_new(void)
{
    struct h2_nest_chunk *chunk = some_chunk();
    struct h2_nest *nest = chunk->free;

    chunk->free = nest->next;
    chunk->n_used++;
    if (!chunk->free)
        list_remove(&chunk->link);
    if (nest->used > 0) { /* the pages are as they were left */
        memset(nest->bytes, 0, nest->used);
        own.n_warm--;
    }
    nest->used = sizeof(struct shelves);
    return nest;
}

static void cool(struct h2_nest *nest)
{
    if (own.n_warm < WARM_MAX || !drop_pages(nest))
        own.n_warm++;
    else
        nest->used = 0;
}

static void chunk_free(struct h2_nest_chunk *chunk)
{
    for (size_t i = 0; i < CHUNK_NESTS; i++)
        own.n_warm -= chunk->nests[i].used > 0;
    list_remove(&chunk->link);
    pages_free(chunk, CHUNK_BYTES);
}

void h2_nest_free(struct h2_nest *nest)
{
    struct h2_nest_chunk *chunk = nest->chunk;

    if (h2_nest_is_folded(nest))
        h2_nest_unfold(nest);
    cool(nest);
    if (!chunk->free)
        list_push_back(&own.chunks, &chunk->link);
    nest->next = chunk->free;
    chunk->free = nest;
    if (--chunk->n_used == 0 && own.chunks.next->next != &own.chunks)
        chunk_free(chunk);
}
