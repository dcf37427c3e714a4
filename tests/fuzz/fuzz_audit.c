/*
 * The audit log under hostile bytes. An even first byte: the rest is a log, read by the verifier in
 * pieces. An odd one: the rest is names and values, which go through entries into lines; every line
 * is read back, the log is whole, and with any one byte of it changed (but in its last line, which
 * only an anchor vouches for) it is not.
 */
#include <string.h>

#include "proxy/audit/verify.h"
#include "proxy/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 100000
#define LINES_MAX 8

struct source { /* what is left of the input */
    const uint8_t *at;
    size_t len;
};

static uint8_t take_byte(struct source *source)
{
    if (source->len == 0)
        return 0;
    source->len--;
    return *source->at++;
}

/* Up to 4 KiB, more than a value may have. */
static struct str take_str(struct source *source)
{
    size_t len = (size_t)take_byte(source) * 16 + take_byte(source) % 16;
    if (len > source->len)
        len = source->len;
    const struct str text = str_of((const char *)source->at, len);
    source->at += len;
    source->len -= len;
    return text;
}

/* Whether it is whole; what it says in any case is bounded. */
static bool verify_log(struct str log, size_t piece, uint64_t *out_lines)
{
    struct verify *verify = mem_new(struct verify);
    verify_file(verify, STR("audit.log"));
    for (size_t at = 0; at < log.len; at += piece)
        verify_feed(verify, str_sub(log, at, piece));
    const bool is_whole = verify_end(verify) == 0;
    ensure(is_whole == (verify->fault == VERIFY_WHOLE));
    ensure(is_whole == (verify->sentence.len == 0));
    ensure(verify->line.len <= LINE_MAX_BYTES + piece);
    *out_lines = verify->totals.n_lines;
    verify_fini(verify);
    mem_free(verify);
    return is_whole;
}

static struct str pack(struct audit_entry *entry, struct source *source)
{
    entry_begin(entry, take_byte(source) % 2 ? AUDIT_END : AUDIT_VERDICT, 1700000000000000000);
    for (enum audit_field i = 0; i < AUDIT_FIELDS && source->len > 0; i++) {
        if (take_byte(source) % 4 == 0)
            continue;
        switch (i) {
#define STR_VALUE(field)                                                                           \
    case field: entry_str(entry, field, take_str(source)); break
            STR_VALUE(AUDIT_CONNECTION);
            STR_VALUE(AUDIT_SRC_WORKLOAD);
            STR_VALUE(AUDIT_SRC_IDENTITY);
            STR_VALUE(AUDIT_DST_SERVICE);
            STR_VALUE(AUDIT_POLICY);
            STR_VALUE(AUDIT_ERROR);
            STR_VALUE(AUDIT_AFTER);
            STR_VALUE(AUDIT_TORN_SHA256);
#undef STR_VALUE
        case AUDIT_TORN_BYTES:
        case AUDIT_LOST_COUNT: entry_u64(entry, i, (uint64_t)take_byte(source) << 56); break;
        case AUDIT_LATE: entry_flag(entry, i, true); break;
        case AUDIT_PEER_NOT_AFTER: entry_time(entry, i, (int64_t)take_byte(source) << 50); break;
        default: break;
        }
    }
    return entry_end(entry);
}

static void check_names(struct source *source)
{
    static struct audit_entry entry;
    struct audit_chain chain;
    struct audit_line read;
    struct text log = {0};
    size_t last = 0;
    uint64_t n = 0, n_read;
    chain_init(&chain);
    while (source->len > 2 && n < LINES_MAX) {
        last = log.len;
        chain_seal(&chain, pack(&entry, source), STR(",\"node\":\"n\""), &log);
        const struct str line = str_sub(text_str(&log), last, log.len - last - 1);
        ensure(line.len < LINE_MAX_BYTES && log.ptr[log.len - 1] == '\n');
        ensure(!memchr(line.ptr, '\n', line.len));
        ensure(line_read(line, &read) && read.seq == ++n);
    }
    ensure(verify_log(text_str(&log), 4096, &n_read) && n_read == n);
    if (last > 0) {
        const size_t at = ((size_t)take_byte(source) << 8 | take_byte(source)) * 7919 % last;
        log.ptr[at] = (char)(log.ptr[at] ^ (1 + take_byte(source) % 255));
        ensure(!verify_log(text_str(&log), 4096, &n_read));
    }
    text_fini(&log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t n_lines;
    struct source source = {data, size};
    if (size < 2 || size > INPUT_MAX)
        return 0;
    const uint8_t kind = take_byte(&source);
    if (kind % 2)
        check_names(&source);
    else
        (void)verify_log(str_of((const char *)source.at, source.len), 1 + kind * 8, &n_lines);
    return 0;
}
