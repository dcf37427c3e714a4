/*
 * A record is found by a hash of its bytes, seeded by chance, since whoever is recorded chooses
 * some of them; equal hashes are no proof, equal bytes are.
 */
#include "proxy/audit/fold.h"

#include <stdalign.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/base/pages.h"
#include "proxy/base/rng.h"

#define BUCKETS ((size_t)1024) /* a power of two */

struct fold_chunk {
    size_t used, n_records;
    max_align_t bytes[];
};

#define CHUNK_ROOM (FOLD_CHUNK_BYTES - offsetof(struct fold_chunk, bytes))
_Static_assert(FOLD_PACKED_MAX + sizeof(struct fold_record) + alignof(max_align_t) <= CHUNK_ROOM,
               "a record fits into a chunk");

struct fold {
    struct fold_chunk *filling, *spare; /* NULL: there is none */
    size_t n_chunks;
    struct list by_age;
    struct list by_key[BUCKETS], by_connection[BUCKETS];
    size_t n_records, bytes;
    uint64_t seed;
};

static void init_buckets(struct list *buckets)
{
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&buckets[i]);
}

struct fold *fold_new(void)
{
    struct fold *fold = mem_new(struct fold);
    list_init(&fold->by_age);
    init_buckets(fold->by_key);
    init_buckets(fold->by_connection);
    rng_secret(&fold->seed, sizeof fold->seed);
    return fold;
}

void fold_free(struct fold *fold)
{
    if (!fold)
        return;
    while (!list_is_empty(&fold->by_age))
        fold_drop(fold, fold_oldest(fold));
    fold_rest(fold);
    ensure(fold->n_chunks == 0);
    mem_free(fold);
}

/* ---- chunks ---- */

static void free_chunk(struct fold *fold, struct fold_chunk *chunk)
{
    if (!chunk)
        return;
    pages_free(chunk, FOLD_CHUNK_BYTES);
    fold->n_chunks--;
}

static struct fold_chunk *another_chunk(struct fold *fold)
{
    struct fold_chunk *chunk = fold->spare;
    fold->spare = NULL;
    if (chunk || fold->n_chunks == FOLD_CHUNKS_MAX)
        return chunk;
    fold->n_chunks++;
    return pages_new(FOLD_CHUNK_BYTES);
}

/* NULL: no chunk has room, and none may be added. */
static struct fold_record *take_room(struct fold *fold, size_t size)
{
    struct fold_chunk *chunk = fold->filling;
    size = (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    if (!chunk || size > CHUNK_ROOM - chunk->used)
        chunk = another_chunk(fold);
    if (!chunk)
        return NULL;
    struct fold_record *record = (void *)((char *)chunk->bytes + chunk->used);
    chunk->used += size;
    chunk->n_records++;
    fold->filling = chunk;
    record->chunk = chunk;
    return record;
}

/* One that is empty is kept, so that they are not asked of the kernel in turns. */
static void give_back_room(struct fold *fold, struct fold_chunk *chunk)
{
    if (--chunk->n_records > 0)
        return;
    chunk->used = 0;
    if (chunk == fold->filling)
        return;
    free_chunk(fold, fold->spare);
    fold->spare = chunk;
}

void fold_rest(struct fold *fold)
{
    free_chunk(fold, fold->spare);
    fold->spare = NULL;
    if (fold->filling && fold->filling->n_records == 0) {
        free_chunk(fold, fold->filling);
        fold->filling = NULL;
    }
}

size_t fold_chunks(const struct fold *fold)
{
    return fold->n_chunks;
}

/* ---- records ---- */

/* The numbers of connections follow each other. */
static struct list *bucket_of(struct fold *fold, uint64_t connection)
{
    return &fold->by_connection[connection & (BUCKETS - 1)];
}

static void add_up(struct audit_request *sum, const struct audit_request *request)
{
    sum->n += request->n;
    if (request->last_wall_ns > sum->last_wall_ns)
        sum->last_wall_ns = request->last_wall_ns;
    sum->bytes_sent += request->bytes_sent;
    sum->bytes_received += request->bytes_received;
    sum->duration_ns += request->duration_ns;
    if (request->longest_ns > sum->longest_ns)
        sum->longest_ns = request->longest_ns;
    sum->attempts += request->attempts;
}

static struct fold_record *find(struct list *bucket, struct str packed, uint64_t hash)
{
    list_foreach(it, bucket)
    {
        struct fold_record *record = list_entry(it, struct fold_record, by_key);
        if (record->hash == hash && str_eq(str_of(record->packed, record->len), packed))
            return record;
    }
    return NULL;
}

static struct fold_record *begin(struct fold *fold, const struct fold_record *head,
                                 struct str packed)
{
    struct fold_record *record = take_room(fold, sizeof *record + packed.len);
    if (!record)
        return NULL;
    struct fold_chunk *chunk = record->chunk;
    *record = *head;
    record->chunk = chunk;
    memcpy(record->packed, packed.ptr, packed.len);
    list_push_back(&fold->by_age, &record->by_age);
    list_push_front(&fold->by_key[record->hash & (BUCKETS - 1)], &record->by_key);
    list_push_back(bucket_of(fold, record->connection), &record->by_connection);
    fold->n_records++;
    fold->bytes += packed.len;
    return record;
}

void fold_add_to(struct fold_record *record, const struct audit_request *request)
{
    add_up(&record->sum, request);
}

struct fold_record *fold_add(struct fold *fold, struct str packed, uint64_t connection,
                             const struct audit_request *request, uint64_t now_ns)
{
    const uint64_t hash = str_hash(packed, fold->seed);
    struct fold_record *known = find(&fold->by_key[hash & (BUCKETS - 1)], packed, hash);
    if (known) {
        add_up(&known->sum, request);
        return known;
    }
    if (fold->n_records == FOLD_RECORDS_MAX || packed.len > FOLD_BYTES_MAX - fold->bytes ||
        packed.len > FOLD_PACKED_MAX)
        return NULL;
    const struct fold_record head = {
        .connection = connection,
        .hash = hash,
        .begun_ns = now_ns,
        .sum = *request,
        .len = packed.len,
    };
    return begin(fold, &head, packed);
}

void fold_hold(struct fold_record *record, struct fold_record **holder)
{
    if (*holder)
        (*holder)->holder = NULL;
    if (record->holder)
        *record->holder = NULL;
    record->holder = holder;
    *holder = record;
}

struct fold_record *fold_oldest(struct fold *fold)
{
    return list_is_empty(&fold->by_age) ? NULL
                                        : list_entry(fold->by_age.next, struct fold_record, by_age);
}

/* The first of a connection from here on; other connections share the bucket. */
static struct fold_record *seek(const struct list *bucket, struct list *from, uint64_t connection)
{
    for (struct list *it = from; it != bucket; it = it->next) {
        struct fold_record *record = list_entry(it, struct fold_record, by_connection);
        if (record->connection == connection)
            return record;
    }
    return NULL;
}

struct fold_record *fold_of_connection(struct fold *fold, uint64_t connection)
{
    const struct list *bucket = bucket_of(fold, connection);
    return seek(bucket, bucket->next, connection);
}

struct fold_record *fold_next(struct fold *fold, const struct fold_record *record)
{
    return seek(bucket_of(fold, record->connection), record->by_connection.next,
                record->connection);
}

void fold_drop(struct fold *fold, struct fold_record *record)
{
    if (record->holder)
        *record->holder = NULL;
    list_remove(&record->by_age);
    list_remove(&record->by_key);
    list_remove(&record->by_connection);
    fold->n_records--;
    fold->bytes -= record->len;
    give_back_room(fold, record->chunk);
}
