/*
 * line.c - sealing and strict reading. The reader is one pass over the bytes: members are skipped
 * as what they are, those of struct audit_line are kept.
 */
#include "proxy/audit/line.h"

#include <string.h>

#include "proxy/base/ascii.h"

void chain_init(struct audit_chain *chain)
{
    chain->seq = 0;
    digest_sha256_hex((struct str){0}, chain->hash);
}

void chain_move(struct audit_chain *chain, uint64_t seq, struct str line)
{
    chain->seq = seq;
    digest_sha256_hex(line, chain->hash);
}

void chain_seal(struct audit_chain *chain, struct str packed, struct str common, struct text *out)
{
    const size_t start = out->len;
    text_add(out, STR("{\"seq\":"));
    text_add_u64(out, chain->seq + 1);
    text_add(out, STR(",\"prev\":\""));
    text_add(out, str_of(chain->hash, DIGEST_HEX_LEN));
    text_add(out, STR("\","));
    entry_render(packed, out);
    text_add(out, common);
    text_addc(out, '}');
    ensure(!out->truncated && out->len - start <= LINE_MAX_BYTES);
    chain_move(chain, chain->seq + 1, str_of(out->ptr + start, out->len - start));
    text_addc(out, '\n');
}

/* ---- reading ---- */

struct cursor {
    struct str text;
    size_t at;
};

static bool take(struct cursor *cursor, struct str word)
{
    if (!str_eq(str_sub(cursor->text, cursor->at, word.len), word))
        return false;
    cursor->at += word.len;
    return true;
}

/* One character of a string, escaped or not; 0 when there is none. */
static size_t char_len(struct str text, size_t at)
{
    static const char simple[] = "\"\\/bfnrt";
    const char c = text.ptr[at];
    if ((unsigned char)c < 0x20)
        return 0;
    if (c != '\\')
        return str_utf8_len(text, at);
    if (at + 1 >= text.len)
        return 0;
    if (text.ptr[at + 1] != 'u')
        return memchr(simple, text.ptr[at + 1], sizeof simple - 1) ? 2 : 0;
    for (size_t i = at + 2; i < at + 6; i++) {
        if (i >= text.len || ascii_hex(text.ptr[i]) < 0)
            return 0;
    }
    return 6;
}

static bool take_string(struct cursor *cursor, struct str *out_value)
{
    const struct str text = cursor->text;
    if (!take(cursor, STR("\"")))
        return false;
    const size_t start = cursor->at;
    while (cursor->at < text.len && text.ptr[cursor->at] != '"') {
        const size_t len = char_len(text, cursor->at);
        if (len == 0)
            return false;
        cursor->at += len;
    }
    *out_value = str_sub(text, start, cursor->at - start);
    return take(cursor, STR("\""));
}

static bool take_number(struct cursor *cursor, struct str *out_value)
{
    const struct str text = cursor->text;
    const size_t start = cursor->at;
    uint64_t value;
    while (cursor->at < text.len && text.ptr[cursor->at] >= '0' && text.ptr[cursor->at] <= '9')
        cursor->at++;
    *out_value = str_sub(text, start, cursor->at - start);
    return str_to_u64(*out_value, UINT64_MAX, &value) &&
           (out_value->len == 1 || out_value->ptr[0] != '0');
}

static bool take_value(struct cursor *cursor, struct str *out_value, bool *out_is_number)
{
    *out_is_number = false;
    *out_value = (struct str){0};
    if (cursor->at < cursor->text.len && cursor->text.ptr[cursor->at] == '"')
        return take_string(cursor, out_value);
    if (take(cursor, STR("true")) || take(cursor, STR("false")))
        return true;
    *out_is_number = true;
    return take_number(cursor, out_value);
}

static void keep(struct audit_line *line, struct str key, struct str value, bool is_number)
{
    const struct {
        const char *name;
        struct str *text;
        uint64_t *number;
    } wanted[] = {
        {"time", &line->time, NULL},
        {"event", &line->event, NULL},
        {"after", &line->after, NULL},
        {"torn.sha256", &line->torn_sha256, NULL},
        {"lost.cause", &line->lost_cause, NULL},
        {"torn.bytes", NULL, &line->torn_bytes},
        {"lost.count", NULL, &line->lost_count},
        {"count", NULL, &line->count},
    };

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (!str_eq(key, str_from(wanted[i].name)))
            continue;
        if (is_number && wanted[i].number)
            (void)str_to_u64(value, UINT64_MAX, wanted[i].number);
        else if (!is_number && wanted[i].text)
            *wanted[i].text = value;
    }
}

static bool is_hash(struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (ascii_hex(value.ptr[i]) < 0)
            return false;
    }
    return value.len == DIGEST_HEX_LEN;
}

bool line_read(struct str text, struct audit_line *out_line)
{
    struct cursor cursor = {text, 0};
    struct audit_line line = {0};
    struct str key, value;
    bool is_number;
    if (!take(&cursor, STR("{\"seq\":")) || !take_number(&cursor, &value) ||
        !str_to_u64(value, UINT64_MAX, &line.seq) || line.seq == 0 ||
        !take(&cursor, STR(",\"prev\":")) || !take_string(&cursor, &line.prev) ||
        !is_hash(line.prev))
        return false;
    while (take(&cursor, STR(","))) {
        if (!take_string(&cursor, &key) || !take(&cursor, STR(":")) ||
            !take_value(&cursor, &value, &is_number))
            return false;
        keep(&line, key, value, is_number);
    }
    if (!take(&cursor, STR("}")) || cursor.at != text.len || str_is_empty(line.event))
        return false;
    *out_line = line;
    return true;
}
