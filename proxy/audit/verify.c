/*
 * verify.c - one pass over lines. {0} is the beginning.
 *
 * Happy path: verify_file -> verify_feed ... -> verify_end. A line that is none is held as a
 * suspect until the next line says whether a crash left it. After the first fault the rest is read
 * only for the missing number, which tells a moved line from a removed one.
 */
#include "proxy/audit/verify.h"

#include <string.h>

#include "proxy/base/err.h"

/* ---- faults ---- */

static void find_fault(struct verify *verify, enum verify_fault fault, struct str file,
                       uint64_t line_no)
{
    verify->fault = fault;
    text_clear(&verify->sentence);
    text_addf(&verify->sentence, "%.*s:%llu: ", STR_ARG(file), (unsigned long long)line_no);
}

#define SAY(verify, ...) text_addf(&(verify)->sentence, __VA_ARGS__)

static void fault_not_a_line(struct verify *verify)
{
    find_fault(verify, VERIFY_NOT_A_LINE, text_str(&verify->file), verify->suspect_line_no);
    SAY(verify, "this is no line of an audit log: it was edited, or a crash tore it and no restart "
                "follows that says so");
}

static void fault_link(struct verify *verify, const struct audit_line *line)
{
    find_fault(verify, VERIFY_LINK, text_str(&verify->last_file), verify->last_line_no);
    SAY(verify,
        "record %llu is not the one that record %llu (%.*s:%llu) was written after: its hash is "
        "%s, "
        "expected is %.*s. One of the two was edited, or is of another log",
        (unsigned long long)verify->chain.seq, (unsigned long long)line->seq,
        STR_ARG(text_str(&verify->file)), (unsigned long long)verify->line_no, verify->chain.hash,
        STR_ARG(line->prev));
}

static void fault_gap(struct verify *verify, const struct audit_line *line)
{
    const uint64_t from = verify->chain.seq + 1, to = line->seq - 1;
    find_fault(verify, VERIFY_REMOVED, text_str(&verify->file), verify->line_no);
    verify->awaited_seq = from;
    SAY(verify, "record %llu follows record %llu: %llu were removed (%llu to %llu)",
        (unsigned long long)line->seq, (unsigned long long)verify->chain.seq,
        (unsigned long long)(to - from + 1), (unsigned long long)from, (unsigned long long)to);
}

static void fault_moved(struct verify *verify, const struct audit_line *line)
{
    verify->fault = VERIFY_REORDERED;
    verify->awaited_seq = 0;
    SAY(verify, "; record %llu comes later (%.*s:%llu): the order was changed",
        (unsigned long long)line->seq, STR_ARG(text_str(&verify->file)),
        (unsigned long long)verify->line_no);
}

static void fault_again(struct verify *verify, const struct audit_line *line)
{
    find_fault(verify, VERIFY_DUPLICATED, text_str(&verify->file), verify->line_no);
    SAY(verify, "record %llu comes again, or out of order: the one before is %llu",
        (unsigned long long)line->seq, (unsigned long long)verify->chain.seq);
}

/* ---- anchors ---- */

bool verify_add_anchor(struct verify *verify, struct str text)
{
    struct str number, hash;
    uint64_t seq;
    if (verify->n_anchors == VERIFY_ANCHORS_MAX || !str_split(text, ':', &number, &hash) ||
        !str_to_u64(number, UINT64_MAX, &seq) || hash.len != DIGEST_HEX_LEN)
        return false;
    struct verify_anchor *anchor = &verify->anchors[verify->n_anchors++];
    anchor->seq = seq;
    memcpy(anchor->hash, hash.ptr, hash.len);
    anchor->hash[hash.len] = '\0';
    return true;
}

static void check_anchors(struct verify *verify)
{
    for (size_t i = 0; i < verify->n_anchors; i++) {
        struct verify_anchor *anchor = &verify->anchors[i];
        if (anchor->seq != verify->chain.seq)
            continue;
        anchor->is_met = str_eq_ci(str_from(anchor->hash), str_from(verify->chain.hash));
        if (anchor->is_met)
            continue;
        find_fault(verify, VERIFY_ANCHOR, text_str(&verify->file), verify->line_no);
        SAY(verify,
            "record %llu is not the one that the anchor is of: its hash is %s. The log was "
            "written anew, here or before",
            (unsigned long long)anchor->seq, verify->chain.hash);
    }
}

static void check_anchors_met(struct verify *verify)
{
    for (size_t i = 0; i < verify->n_anchors && verify->fault == VERIFY_WHOLE; i++) {
        const struct verify_anchor *anchor = &verify->anchors[i];
        if (anchor->is_met || anchor->seq < verify->totals.first_seq)
            continue;
        find_fault(verify, VERIFY_ANCHOR_BEHIND, text_str(&verify->file), verify->line_no);
        SAY(verify, "the log ends with record %llu, before the anchor's %llu: the end was cut off",
            (unsigned long long)verify->chain.seq, (unsigned long long)anchor->seq);
    }
}

/* ---- lines ---- */

static void copy_time(char out[40], struct str time)
{
    const struct str part = str_sub(time, 0, 39);
    memcpy(out, part.ptr ? part.ptr : "", part.len);
    out[part.len] = '\0';
}

static void count(struct verify *verify, const struct audit_line *line)
{
    struct verify_totals *totals = &verify->totals;
    enum audit_event event = 0;
    while (event < AUDIT_EVENTS && !str_eq(line->event, str_from(audit_event_name(event))))
        event++;
    if (event < AUDIT_EVENTS)
        totals->by_event[event]++;
    else
        totals->n_other_events++;
    if (totals->n_lines++ == 0) {
        totals->first_seq = line->seq;
        copy_time(totals->first_time, line->time);
    }
    copy_time(totals->last_time, line->time);
    if (event == AUDIT_REQUESTS)
        totals->n_requests += line->count;
    if (event == AUDIT_LOST)
        totals->n_lost += line->lost_count;
    totals->n_crashes += event == AUDIT_START && str_eq(line->after, STR("crash"));
    totals->ends_with_stop = event == AUDIT_STOP;
    totals->ends_with_rotate = event == AUDIT_ROTATE;
}

/* Whether the start says that a crash left exactly what we hold. We may hold a line break more, the
 * one with which the start began. */
static bool explains_suspect(const struct verify *verify, const struct audit_line *line)
{
    char hash[DIGEST_HEX_LEN + 1];
    struct str suspect = text_str(&verify->suspect);
    if (!str_eq(line->event, STR("start")) || suspect.len == 0 ||
        (line->torn_bytes != suspect.len && line->torn_bytes != suspect.len - 1))
        return false;
    digest_sha256_hex(str_sub(suspect, 0, (size_t)line->torn_bytes), hash);
    return str_eq(line->torn_sha256, str_from(hash));
}

static bool settle_suspect(struct verify *verify, const struct audit_line *line)
{
    if (verify->suspect.len == 0)
        return true;
    if (!line || !explains_suspect(verify, line)) {
        fault_not_a_line(verify);
        return false;
    }
    verify->totals.n_torn++;
    text_clear(&verify->suspect);
    return true;
}

static void keep_line(struct verify *verify, const struct audit_line *line, struct str bytes)
{
    chain_move(&verify->chain, line->seq, bytes);
    text_clear(&verify->last_file);
    text_add(&verify->last_file, text_str(&verify->file));
    verify->last_line_no = verify->line_no;
    count(verify, line);
    check_anchors(verify);
}

/* What is before the first line that was given is not ours to judge, except that nothing is before
 * number 1. */
static void begin_chain(struct verify *verify, const struct audit_line *line)
{
    chain_init(&verify->chain);
    if (line->seq == 1)
        return;
    verify->chain.seq = line->seq - 1;
    memcpy(verify->chain.hash, line->prev.ptr, DIGEST_HEX_LEN);
}

static void check_line(struct verify *verify, struct str bytes)
{
    struct audit_line line;
    const bool is_line = !verify->is_too_long && line_read(bytes, &line);
    if (verify->fault != VERIFY_WHOLE) {
        if (is_line && verify->awaited_seq != 0 && line.seq == verify->awaited_seq)
            fault_moved(verify, &line);
        return;
    }
    if (!is_line) {
        if (verify->suspect.len == 0)
            verify->suspect_line_no = verify->line_no;
        text_add(&verify->suspect, bytes);
        text_addc(&verify->suspect, '\n');
        if (verify->is_too_long || verify->suspect.len > JOURNAL_TAIL_MAX)
            fault_not_a_line(verify);
        return;
    }
    if (!settle_suspect(verify, &line))
        return;
    if (verify->totals.n_lines == 0)
        begin_chain(verify, &line);
    if (line.seq == verify->chain.seq + 1) {
        if (str_eq(line.prev, str_from(verify->chain.hash)))
            keep_line(verify, &line, bytes);
        else
            fault_link(verify, &line);
    } else if (line.seq > verify->chain.seq) {
        fault_gap(verify, &line);
    } else {
        fault_again(verify, &line);
    }
}

/* ---- bytes ---- */

void verify_feed(struct verify *verify, struct str bytes)
{
    while (bytes.len > 0) {
        const char *end = memchr(bytes.ptr, '\n', bytes.len);
        const size_t len = end ? (size_t)(end - bytes.ptr) : bytes.len;
        if (verify->line.len + len <= LINE_MAX_BYTES)
            text_add(&verify->line, str_sub(bytes, 0, len));
        else
            verify->is_too_long = true;
        bytes = str_sub(bytes, len + (end ? 1 : 0), bytes.len);
        if (!end)
            return;
        verify->line_no++;
        check_line(verify, text_str(&verify->line));
        text_clear(&verify->line);
        verify->is_too_long = false;
    }
}

static void end_file(struct verify *verify)
{
    if (verify->fault == VERIFY_WHOLE && verify->suspect.len > 0)
        fault_not_a_line(verify);
    if (verify->fault == VERIFY_WHOLE && (verify->line.len > 0 || verify->is_too_long)) {
        find_fault(verify, VERIFY_CUT_OFF, text_str(&verify->file), verify->line_no + 1);
        SAY(verify, "the last line has no end: a crash cut it off, it was cut, or it is just being "
                    "written");
    }
    text_clear(&verify->line);
    verify->is_too_long = false;
}

void verify_file(struct verify *verify, struct str name)
{
    if (verify->totals.n_files++ > 0)
        end_file(verify);
    text_clear(&verify->file);
    text_add(&verify->file, name);
    verify->line_no = 0;
}

int verify_end(struct verify *verify)
{
    end_file(verify);
    check_anchors_met(verify);
    return verify->fault == VERIFY_WHOLE ? 0 : -ERR_INVALID;
}

void verify_fini(struct verify *verify)
{
    text_fini(&verify->file);
    text_fini(&verify->line);
    text_fini(&verify->suspect);
    text_fini(&verify->last_file);
    text_fini(&verify->sentence);
}
