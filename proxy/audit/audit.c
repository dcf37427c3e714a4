/*
 * audit.c - the thread that writes.
 *
 * A turn of the writer: look whether the file was moved (once a second) -> gather -> tell losses ->
 * checkpoint when it is time -> flush -> rotate -> sync. Whatever of it fails leaves its part
 * undone for the next turn; nothing is forgotten but what overflows the rings.
 */
#include "proxy/audit/audit.h"

#include <errno.h>
#include <stdio.h>

#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"
#include "proxy/io/record_ring.h"
#include "proxy/io/scheduling.h"
#include "proxy/io/thread.h"
#include "proxy/meter/meter.h"

#define PROCESS_TEXT_MAX 17
/* Workers may be as fast as we are. */
#define PIECES_PER_TURN 64
/* For a moved file, and for memory to give back; also before a failed rotation is tried again. */
#define LOOK_NS NS_PER_SEC

struct slot { /* the oldest record of a ring, out of it; the writer's */
    size_t len;
    uint64_t lost_told, lost_counted;           /* losses that are in the log; in the metrics */
    uint64_t held_back_told, held_back_counted; /* in the log; in the metric */
    uint64_t flood_ns;                          /* when the next may be told */
    char bytes[ENTRY_MAX];
};

struct audit {
    /* constant */
    struct audit_options options;
    char process[PROCESS_TEXT_MAX];
    struct text common;
    struct audit_pen *pens;
    struct thread *thread;
    /* the writer's */
    struct journal journal;
    struct journal_found found;
    struct slot *slots;
    struct audit_entry own;
    struct loop *loop;
    struct timer turn;
    struct meter *meter;
    uint64_t n_lost, n_lines, n_lines_looked;
    uint64_t looked_ns, synced_ns, checkpoint_ns, retry_ns;
    int64_t bytes_shown;
    bool is_blocked, was_blocked; /* now; at some time since losses were told */
    bool is_ending;               /* no record comes any more */
};

struct audit_pen *audit_pen(struct audit *audit, unsigned worker)
{
    ensure(worker < audit->options.n_workers);
    return &audit->pens[worker];
}

/* ---- lines ---- */

static void append(struct audit *audit, struct str packed)
{
    journal_append(&audit->journal, packed);
    audit->n_lines++;
    meter_add(audit->meter, METRIC_AUDIT_RECORDS, 1);
}

static struct audit_entry *begin_own(struct audit *audit, enum audit_event event)
{
    entry_begin(&audit->own, event, clock_wall_ns());
    return &audit->own;
}

static void append_own(struct audit *audit)
{
    append(audit, entry_end(&audit->own));
}

static void append_start(struct audit *audit)
{
    struct audit_entry *entry = begin_own(audit, AUDIT_START);
    entry_cstr(entry, AUDIT_CONNECTION, audit->process);
    entry_cstr(entry, AUDIT_AFTER, audit->found.after);
    if (audit->found.torn_bytes > 0) {
        entry_u64(entry, AUDIT_TORN_BYTES, audit->found.torn_bytes);
        entry_cstr(entry, AUDIT_TORN_SHA256, audit->found.torn_sha256);
    }
    append_own(audit);
}

static struct str counts(struct audit *audit, enum audit_event event)
{
    struct audit_entry *entry = begin_own(audit, event);
    entry_u64(entry, AUDIT_LOST_TOTAL, audit->n_lost);
    entry_u64(entry, AUDIT_RECORDS, audit->n_lines);
    return entry_end(entry);
}

/* The number and hash of the last line go out by the event log, which leaves the node by another
 * way than the file: whoever keeps them can prove later that the file was not written anew. */
static void announce(const struct audit *audit, const char *message)
{
    log_info(message, log_str("file", audit->options.path),
             log_u64("audit.seq", audit->journal.chain.seq),
             log_cstr("audit.hash", audit->journal.chain.hash));
}

/* ---- the file ---- */

static void set_blocked(struct audit *audit, int err)
{
    const bool is_blocked = err < 0;
    if (is_blocked && !audit->is_blocked)
        log_error("the audit log cannot be written; records wait, then are lost and counted",
                  log_str("file", audit->options.path), log_cstr("error", file_why(err)));
    if (!is_blocked && audit->is_blocked)
        log_info("the audit log is written again", log_str("file", audit->options.path));
    if (is_blocked != audit->is_blocked)
        meter_add(audit->meter, METRIC_AUDIT_BLOCKED, is_blocked ? 1 : -1);
    audit->is_blocked = is_blocked;
    audit->was_blocked |= is_blocked;
}

/* Rotating and reopening; one that failed is not tried at every turn. */
static void next_file(struct audit *audit, uint64_t now_ns, bool is_moved)
{
    const struct str last = counts(audit, AUDIT_ROTATE);
    const int err =
        is_moved ? journal_reopen(&audit->journal, last) : journal_rotate(&audit->journal, last);
    if (err < 0) {
        log_error("the audit log cannot begin its next file; the present one goes on",
                  log_str("file", audit->options.path), log_cstr("error", file_why(err)));
        audit->retry_ns = now_ns + LOOK_NS;
        return;
    }
    announce(audit, "the audit log began its next file");
}

static void flush(struct audit *audit, uint64_t now_ns)
{
    int err = journal_flush(&audit->journal);
    if (err == 0 && audit->options.sync == AUDIT_SYNC_ALWAYS)
        err = journal_sync(&audit->journal);
    set_blocked(audit, err);
    if (err == 0 && now_ns >= audit->retry_ns && journal_wants_rotation(&audit->journal))
        next_file(audit, now_ns, false);
}

/* ---- gathering ---- */

/* The oldest record of a worker; NULL when there is none. */
static struct slot *look_into(struct audit *audit, unsigned worker)
{
    struct slot *slot = &audit->slots[worker];
    if (slot->len == 0)
        slot->len = record_ring_take(audit->pens[worker].ring, slot->bytes, sizeof slot->bytes);
    return slot->len == 0 ? NULL : slot;
}

static struct slot *oldest(struct audit *audit)
{
    struct slot *found = NULL;
    int64_t found_ns = 0;
    for (unsigned i = 0; i < audit->options.n_workers; i++) {
        struct slot *slot = look_into(audit, i);
        if (!slot)
            continue;
        const int64_t wall_ns = entry_wall_ns(str_of(slot->bytes, slot->len));
        if (!found || wall_ns < found_ns) {
            found = slot;
            found_ns = wall_ns;
        }
    }
    return found;
}

/* A piece at most; what waits for a disk that takes nothing is not written in pieces. False when
 * nothing is left, or there is no room. */
static bool gather(struct audit *audit)
{
    const size_t end =
        audit->is_blocked ? JOURNAL_PENDING_MAX : audit->journal.pending.len + AUDIT_PIECE_BYTES;
    while (journal_has_room(&audit->journal) && audit->journal.pending.len < end) {
        struct slot *slot = oldest(audit);
        if (!slot)
            return false;
        append(audit, str_of(slot->bytes, slot->len));
        slot->len = 0;
    }
    return !audit->is_blocked;
}

/* For what was lost; at the end a few lines more than else are kept waiting. */
static bool has_room(const struct audit *audit)
{
    return audit->is_ending || journal_has_room(&audit->journal);
}

static void append_lost(struct audit *audit, unsigned worker, uint64_t n, const char *cause)
{
    audit->n_lost += n;
    struct audit_entry *entry = begin_own(audit, AUDIT_LOST);
    entry_u64(entry, AUDIT_LOST_COUNT, n);
    entry_cstr(entry, AUDIT_LOST_CAUSE, cause);
    entry_u64(entry, AUDIT_LOST_TOTAL, audit->n_lost);
    entry_u64(entry, AUDIT_WORKER, worker);
    append_own(audit);
}

/* What strangers caused beyond what is written of it. */
static void tell_flood(struct audit *audit, unsigned worker, uint64_t now_ns)
{
    struct slot *slot = &audit->slots[worker];
    const uint64_t held_back = record_ring_held_back(audit->pens[worker].ring);
    meter_add(audit->meter, METRIC_AUDIT_LOST_FLOOD,
              (int64_t)(held_back - slot->held_back_counted));
    slot->held_back_counted = held_back;
    if (held_back == slot->held_back_told || now_ns < slot->flood_ns || !has_room(audit))
        return;
    append_lost(audit, worker, held_back - slot->held_back_told, "flood");
    slot->held_back_told = held_back;
    slot->flood_ns = now_ns + AUDIT_FLOOD_TOLD_NS;
}

static void tell_floods(struct audit *audit, uint64_t now_ns)
{
    for (unsigned i = 0; i < audit->options.n_workers; i++)
        tell_flood(audit, i, now_ns);
}

/* The metric at once, the line when there is room for it: false when there is none yet. */
static bool tell_lost(struct audit *audit, unsigned worker)
{
    struct slot *slot = &audit->slots[worker];
    const uint64_t lost = record_ring_lost(audit->pens[worker].ring);
    meter_add(audit->meter, audit->was_blocked ? METRIC_AUDIT_LOST_DISK : METRIC_AUDIT_LOST_OVERRUN,
              (int64_t)(lost - slot->lost_counted));
    slot->lost_counted = lost;
    if (lost == slot->lost_told)
        return true;
    if (!has_room(audit))
        return false;
    append_lost(audit, worker, lost - slot->lost_told, audit->was_blocked ? "disk" : "overrun");
    slot->lost_told = lost;
    return true;
}

static void tell_losses(struct audit *audit)
{
    bool are_told = true;
    for (unsigned i = 0; i < audit->options.n_workers; i++)
        are_told &= tell_lost(audit, i);
    if (are_told)
        audit->was_blocked = audit->is_blocked;
}

static void checkpoint(struct audit *audit, uint64_t now_ns)
{
    if (now_ns < audit->checkpoint_ns || audit->is_blocked)
        return;
    audit->checkpoint_ns = now_ns + audit->options.checkpoint_ns;
    append(audit, counts(audit, AUDIT_CHECKPOINT));
    flush(audit, now_ns);
    if (!audit->is_blocked)
        announce(audit, "audit checkpoint");
}

static void sync_file(struct audit *audit, uint64_t now_ns)
{
    if (audit->options.sync != AUDIT_SYNC_SECOND || now_ns - audit->synced_ns < NS_PER_SEC)
        return;
    audit->synced_ns = now_ns;
    if (journal_sync(&audit->journal) < 0)
        log_error("the audit log cannot be brought to the disk",
                  log_str("file", audit->options.path), log_cstr("error", file_why(-ERR_SYSTEM)));
}

static void look(struct audit *audit, uint64_t now_ns)
{
    if (now_ns - audit->looked_ns < LOOK_NS)
        return;
    audit->looked_ns = now_ns;
    if (audit->n_lines == audit->n_lines_looked)
        journal_rest(&audit->journal);
    audit->n_lines_looked = audit->n_lines;
    if (journal_was_moved(&audit->journal))
        next_file(audit, now_ns, true);
}

static void show_bytes(struct audit *audit)
{
    const int64_t bytes = (int64_t)audit->journal.bytes;
    meter_add(audit->meter, METRIC_AUDIT_FILE_BYTES, bytes - audit->bytes_shown);
    audit->bytes_shown = bytes;
}

static void write_out(struct audit *audit)
{
    const uint64_t now_ns = clock_mono_ns();
    look(audit, now_ns);
    tell_floods(audit, now_ns);
    bool has_more = true;
    for (int i = 0; has_more && i < PIECES_PER_TURN; i++) {
        has_more = gather(audit);
        tell_losses(audit);
        flush(audit, now_ns);
        if (has_more)
            (void)pace();
    }
    checkpoint(audit, now_ns);
    sync_file(audit, now_ns);
    show_bytes(audit);
}

static void on_turn(struct timer *timer)
{
    struct audit *audit = container_of(timer, struct audit, turn);
    write_out(audit);
    timer_start(audit->loop, timer, AUDIT_TURN_NS, on_turn);
}

/* ---- life ---- */

static void setup(void *receiver, struct loop *loop, struct mailbox *mailbox)
{
    struct audit *audit = receiver;
    (void)mailbox;
    scheduling_stand_back();
    pace_keep(AUDIT_PIECE_NS);
    audit->loop = loop;
    audit->meter = meter_new();
    append_start(audit);
    audit->checkpoint_ns = clock_mono_ns(); /* the first at once: the start is announced by it */
    on_turn(&audit->turn);
}

/* What a disk that takes nothing leaves in the rings. */
static void lose_rest(struct audit *audit)
{
    struct slot *slot;
    audit->is_ending = true;
    for (unsigned i = 0; i < audit->options.n_workers; i++)
        while ((slot = look_into(audit, i))) {
            record_ring_lose(audit->pens[i].ring, entry_count(str_of(slot->bytes, slot->len)));
            slot->len = 0;
        }
    tell_losses(audit);
}

/* The workers are gone. What waited in their pens and rings is told in as many turns as it takes; a
 * disk that takes nothing now is not waited for. */
static void tell_rest(struct audit *audit)
{
    for (unsigned i = 0; i < audit->options.n_workers; i++) {
        while (!audit_pen_empty(&audit->pens[i])) {
            write_out(audit);
            if (audit->is_blocked)
                audit_pen_lose(&audit->pens[i]);
        }
    }
    do
        write_out(audit);
    while (!audit->is_blocked && oldest(audit));
    lose_rest(audit);
}

static void teardown(void *receiver)
{
    struct audit *audit = receiver;
    timer_stop(&audit->turn);
    tell_rest(audit);
    tell_floods(audit, UINT64_MAX - AUDIT_FLOOD_TOLD_NS); /* whatever was told just now */
    append(audit, counts(audit, AUDIT_STOP));
    flush(audit, clock_mono_ns());
    if (!audit->is_blocked && journal_sync(&audit->journal) == 0)
        announce(audit, "the audit log ends");
    meter_add(audit->meter, METRIC_AUDIT_FILE_BYTES, -audit->bytes_shown);
    const size_t n_unwritten = journal_close(&audit->journal);
    if (n_unwritten > 0)
        log_error("lines of the audit log could not be written before the end",
                  log_str("file", audit->options.path), log_u64("lines", n_unwritten),
                  log_u64("lost.total", audit->n_lost));
    meter_free(audit->meter);
}

static void on_reopen(struct letter *letter, void *receiver)
{
    struct audit *audit = receiver;
    mem_free(letter);
    if (journal_was_moved(&audit->journal))
        next_file(audit, clock_mono_ns(), true);
}

void audit_reopen(struct audit *audit)
{
    struct letter *letter = mem_new(struct letter);
    letter->deliver = on_reopen;
    mailbox_post(thread_mailbox(audit->thread), letter);
}

static void name_process(struct audit *audit)
{
    uint64_t random;
    rng_secret(&random, sizeof random);
    (void)snprintf(audit->process, sizeof audit->process, "%016llx", (unsigned long long)random);
}

static void make_pen(struct audit *audit, unsigned worker)
{
    const struct audit_options *options = &audit->options;
    struct audit_pen *pen = &audit->pens[worker];
    pen->wants_verdicts = options->wants_verdicts;
    pen->wants_ends = options->wants_ends;
    pen->wants_each = options->wants_each;
    audit_pen_init(pen, options->ring_bytes ? options->ring_bytes : AUDIT_RING_BYTES,
                   audit->process, worker);
}

static void make_pens(struct audit *audit)
{
    const struct audit_options *options = &audit->options;
    audit->pens = mem_new_array(struct audit_pen, options->n_workers);
    audit->slots = mem_new_array(struct slot, options->n_workers);
    for (unsigned i = 0; i < options->n_workers; i++)
        make_pen(audit, i);
}

static void free_audit(struct audit *audit)
{
    for (unsigned i = 0; audit->pens && i < audit->options.n_workers; i++)
        audit_pen_fini(&audit->pens[i]);
    mem_free(audit->pens);
    mem_free(audit->slots);
    text_fini(&audit->common);
    mem_free(audit);
}

int audit_open(const struct audit_options *options, struct audit **out_audit, struct text *why)
{
    struct audit *audit = mem_new(struct audit);
    audit->options = *options;
    if (audit->options.checkpoint_ns == 0)
        audit->options.checkpoint_ns = AUDIT_CHECKPOINT_NS;
    name_process(audit);
    text_addf(&audit->common, ",\"node\":");
    text_add_json_string(&audit->common, str_sub(options->node, 0, 256));
    text_addf(&audit->common, ",\"version\":");
    text_add_json_string(&audit->common, str_sub(options->version, 0, 64));
    const struct journal_options journal = {
        .path = options->path,
        .common = text_str(&audit->common),
        .max_bytes = options->max_bytes,
        .keep = options->keep,
        .write = options->write,
    };
    const int err = journal_open(&journal, &audit->journal, &audit->found, why);
    if (err < 0) {
        free_audit(audit);
        return err;
    }
    make_pens(audit);
    const struct thread_job job = {
        .name = "audit", .setup = setup, .teardown = teardown, .receiver = audit};
    audit->thread = thread_start(&job);
    *out_audit = audit;
    return 0;
}

void audit_close(struct audit *audit)
{
    thread_stop(audit->thread);
    free_audit(audit);
}
