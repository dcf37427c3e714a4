/*
 * What is packed stays in the pen until it is committed: one record at a time. A request's lands in
 * the fold, and comes back into the pen when it is told.
 */
#include "proxy/audit/pen.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/io/record_ring.h"

#define NUMBER_TEXT_MAX 20
_Static_assert(ENTRY_MAX <= FOLD_PACKED_MAX, "what can be said can wait");
_Static_assert(AUDIT_PREFIX_MAX + NUMBER_TEXT_MAX <= AUDIT_NAME_MAX, "a name has room");

/* Without printf, since it is said of each request. */
struct str audit_name(const struct audit_pen *pen, uint64_t connection, char buf[AUDIT_NAME_MAX])
{
    char digits[NUMBER_TEXT_MAX];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + connection % 10);
    while ((connection /= 10) > 0);
    memcpy(buf, pen->prefix, pen->prefix_len);
    memcpy(buf + pen->prefix_len, digits + at, sizeof digits - at);
    return str_of(buf, pen->prefix_len + sizeof digits - at);
}

bool audit_wants(const struct audit_pen *pen, enum audit_event event)
{
    return pen && (event != AUDIT_VERDICT || pen->wants_verdicts) &&
           (event != AUDIT_END || pen->wants_ends);
}

struct audit_entry *audit_begin(struct audit_pen *pen, enum audit_event event)
{
    if (!audit_wants(pen, event))
        return NULL;
    entry_begin(&pen->entry, event, clock_wall_ns());
    return &pen->entry;
}

/* A bucket that leaks one record each AUDIT_STRANGER_NS, kept as the time at which it is empty. */
static bool is_flood(struct audit_pen *pen, uint64_t now_ns)
{
    const uint64_t until_ns =
        (pen->strangers_until_ns > now_ns ? pen->strangers_until_ns : now_ns) + AUDIT_STRANGER_NS;
    if (until_ns - now_ns > AUDIT_STRANGERS_MAX * AUDIT_STRANGER_NS)
        return true;
    pen->strangers_until_ns = until_ns;
    return false;
}

struct audit_entry *audit_begin_stranger(struct audit_pen *pen, enum audit_event event)
{
    struct audit_entry *entry = audit_begin(pen, event);
    if (!entry || !is_flood(pen, clock_mono_ns()))
        return entry;
    record_ring_hold_back(pen->ring);
    return NULL;
}

void audit_commit(struct audit_pen *pen)
{
    (void)record_ring_put(pen->ring, entry_end(&pen->entry)); /* the ring counts what it loses */
}

/* ---- requests ---- */

bool audit_folds(const struct audit_pen *pen)
{
    return pen->fold != NULL;
}

bool audit_wants_request(const struct audit_pen *pen, bool has_verdict)
{
    return pen && (pen->wants_ends || pen->wants_each || (pen->wants_verdicts && has_verdict));
}

struct audit_entry *audit_begin_request(struct audit_pen *pen, bool has_verdict)
{
    if (!audit_wants_request(pen, has_verdict))
        return NULL;
    entry_begin(&pen->entry, AUDIT_REQUESTS, 0); /* the time comes when it is told */
    return &pen->entry;
}

/* False when it must wait. */
static bool tell(struct audit_pen *pen, struct str packed, const struct audit_request *sum)
{
    struct audit_entry *entry = &pen->entry;
    entry_go_on(entry, packed, clock_wall_ns());
    entry_u64(entry, AUDIT_COUNT, sum->n);
    entry_time(entry, AUDIT_FIRST, sum->first_wall_ns);
    entry_time(entry, AUDIT_LAST, sum->last_wall_ns);
    entry_u64(entry, AUDIT_BYTES_SENT, sum->bytes_sent);
    entry_u64(entry, AUDIT_BYTES_RECEIVED, sum->bytes_received);
    entry_u64(entry, AUDIT_DURATION, sum->duration_ns);
    entry_u64(entry, AUDIT_LONGEST, sum->longest_ns);
    entry_u64(entry, AUDIT_ATTEMPTS, sum->attempts);
    return record_ring_try(pen->ring, entry_end(entry), pen->spare_bytes);
}

static bool tell_record(struct audit_pen *pen, struct fold_record *record)
{
    if (!record || !tell(pen, str_of(record->packed, record->len), &record->sum))
        return false;
    fold_drop(pen->fold, record);
    return true;
}

/* What was packed is in the pen's own entry, which telling others needs. */
static struct fold_record *add_to_fold(struct audit_pen *pen, uint64_t connection,
                                       const struct audit_request *request, uint64_t now_ns)
{
    const size_t len = entry_end(&pen->entry).len;
    struct fold_record *record =
        fold_add(pen->fold, entry_end(&pen->entry), connection, request, now_ns);
    if (record)
        return record;
    char *packed = mem_alloc(len);
    memcpy(packed, pen->entry.bytes, len);
    while (!record && tell_record(pen, fold_oldest(pen->fold)))
        record = fold_add(pen->fold, str_of(packed, len), connection, request, now_ns);
    if (!record)
        record_ring_lose(pen->ring, 1);
    mem_free(packed);
    return record;
}

/* One that ends now. */
static struct audit_request single(const struct audit_request *request)
{
    struct audit_request one = *request;
    one.n = 1;
    one.first_wall_ns = one.last_wall_ns = clock_wall_ns();
    one.longest_ns = request->duration_ns;
    return one;
}

void audit_commit_request(struct audit_pen *pen, uint64_t connection,
                          const struct audit_request *request, uint64_t now_ns)
{
    const struct audit_request one = single(request);
    pen->added_to = NULL;
    if (pen->fold)
        pen->added_to = add_to_fold(pen, connection, &one, now_ns);
    else if (!tell(pen, entry_end(&pen->entry), &one))
        record_ring_lose(pen->ring, 1);
}

bool audit_commit_again(struct audit_pen *pen, const struct audit_facts *facts,
                        const struct audit_request *request)
{
    struct fold_record *record = pen->fold ? again_find(&pen->again, facts) : NULL;
    if (!record)
        return false;
    const struct audit_request one = single(request);
    fold_add_to(record, &one);
    return true;
}

void audit_remember(struct audit_pen *pen, const struct audit_facts *facts)
{
    if (pen->added_to)
        again_keep(&pen->again, facts, pen->added_to);
    pen->added_to = NULL;
}

void audit_tell_due(struct audit_pen *pen, uint64_t now_ns)
{
    struct fold_record *record;
    if (!pen)
        return;
    while (pen->fold && (record = fold_oldest(pen->fold)) &&
           now_ns - record->begun_ns >= AUDIT_FOLD_NS && tell_record(pen, record))
        ;
    if (record_ring_rest(pen->ring, now_ns) && pen->fold)
        fold_rest(pen->fold);
}

void audit_tell_connection(struct audit_pen *pen, uint64_t connection)
{
    if (!pen || !pen->fold)
        return;
    struct fold_record *record = fold_of_connection(pen->fold, connection);
    while (record) {
        struct fold_record *next = fold_next(pen->fold, record);
        if (!tell_record(pen, record))
            return;
        record = next;
    }
}

void audit_tell_all(struct audit_pen *pen)
{
    if (!pen || !pen->fold)
        return;
    while (tell_record(pen, fold_oldest(pen->fold)))
        ;
}

/* ---- life ---- */

void audit_pen_init(struct audit_pen *pen, size_t ring_bytes, const char *process, unsigned worker)
{
    ensure(ring_bytes >= AUDIT_RING_MIN);
    pen->ring = record_ring_new(ring_bytes);
    pen->spare_bytes = ring_bytes / 4;
    pen->fold = pen->wants_each ? NULL : fold_new();
    const int len = snprintf(pen->prefix, sizeof pen->prefix, "%s-%u-", process, worker);
    ensure(len > 0 && (size_t)len < sizeof pen->prefix);
    pen->prefix_len = (size_t)len;
}

void audit_pen_fini(struct audit_pen *pen)
{
    record_ring_free(pen->ring);
    fold_free(pen->fold);
}

bool audit_pen_empty(struct audit_pen *pen)
{
    pen->spare_bytes = 0;
    audit_tell_all(pen);
    return !pen->fold || !fold_oldest(pen->fold);
}

void audit_pen_lose(struct audit_pen *pen)
{
    struct fold_record *record;
    while ((record = fold_oldest(pen->fold))) {
        record_ring_lose(pen->ring, record->sum.n);
        fold_drop(pen->fold, record);
    }
}
