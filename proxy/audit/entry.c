/*
 * entry.c - packing by the worker, rendering by the writer. The two halves share the layout:
 *
 *   event (1 byte), wall clock (8), cut (1), then for each value: field (1), length (2), bytes
 */
#include "proxy/audit/entry.h"

#include <string.h>

#include "proxy/base/clock.h"

enum kind { KIND_STR, KIND_LONG, KIND_U64, KIND_ADDR, KIND_FLAG, KIND_TIME, KINDS };

/* What stands before the value; of what is text, with the quote that opens it. */
#define LITERAL(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
#define BEFORE_STR(name)  LITERAL(",\"" name "\":\"")
#define BEFORE_LONG(name) BEFORE_STR(name)
#define BEFORE_ADDR(name) BEFORE_STR(name)
#define BEFORE_TIME(name) BEFORE_STR(name)
#define BEFORE_U64(name)  LITERAL(",\"" name "\":")
#define BEFORE_FLAG(name) BEFORE_U64(name)

static const struct {
    struct str before;
    enum kind kind;
} fields[AUDIT_FIELDS] = {

#define AUDIT_FIELD(id, kind, name, meaning) [AUDIT_##id] = {BEFORE_##kind(name), KIND_##kind},
#include "proxy/audit/fields.def"
#undef AUDIT_FIELD
};

static const char *const event_names[AUDIT_EVENTS] = {
    [AUDIT_VERDICT] = "verdict",       [AUDIT_END] = "end",       [AUDIT_REQUESTS] = "requests",
    [AUDIT_START] = "start",           [AUDIT_STOP] = "stop",     [AUDIT_LOST] = "lost",
    [AUDIT_CHECKPOINT] = "checkpoint", [AUDIT_ROTATE] = "rotate",
};

#define AT_TIME    1
#define AT_CUT     9
#define HEAD_LEN   10
#define VALUE_HEAD 3

/* A kind's longest value. */
#define MOST_STR  ENTRY_NAME_MAX
#define MOST_LONG ENTRY_VALUE_MAX
#define MOST_U64  sizeof(uint64_t)
#define MOST_ADDR sizeof(struct addr)
#define MOST_FLAG sizeof(char)
#define MOST_TIME sizeof(int64_t)

static const uint16_t most[AUDIT_FIELDS] = {

#define AUDIT_FIELD(id, kind, name, meaning) [AUDIT_##id] = MOST_##kind,
#include "proxy/audit/fields.def"
#undef AUDIT_FIELD
};

#define AUDIT_FIELD(id, kind, name, meaning) +(VALUE_HEAD + MOST_##kind)
_Static_assert(HEAD_LEN
#include "proxy/audit/fields.def"
                   <= ENTRY_MAX,
               "an entry has room for every field once");
#undef AUDIT_FIELD

const char *audit_event_name(enum audit_event event)
{
    return event_names[event];
}

/* ---- packing ---- */

void entry_begin(struct audit_entry *entry, enum audit_event event, int64_t wall_ns)
{
    entry->bytes[0] = (char)event;
    memcpy(entry->bytes + AT_TIME, &wall_ns, sizeof wall_ns);
    entry->len = HEAD_LEN;
    entry->is_cut = false;
}

void entry_go_on(struct audit_entry *entry, struct str packed, int64_t wall_ns)
{
    ensure(packed.len >= HEAD_LEN && packed.len <= ENTRY_MAX);
    if (packed.ptr != entry->bytes)
        memcpy(entry->bytes, packed.ptr, packed.len);
    memcpy(entry->bytes + AT_TIME, &wall_ns, sizeof wall_ns);
    entry->len = packed.len;
    entry->is_cut = packed.ptr[AT_CUT] != 0;
}

/* Where a value of this length goes; NULL when there is no room. */
static inline char *begin_value(struct audit_entry *entry, enum audit_field field, size_t len)
{
    if (VALUE_HEAD + len > ENTRY_MAX - entry->len) {
        entry->is_cut = true;
        return NULL;
    }
    char *at = entry->bytes + entry->len;
    const uint16_t len16 = (uint16_t)len;
    at[0] = (char)field;
    memcpy(at + 1, &len16, sizeof len16);
    entry->len += VALUE_HEAD + len;
    return at + VALUE_HEAD;
}

/* Inlined, so that a value of a known length is a move or two. */
static inline void put(struct audit_entry *entry, enum audit_field field, const void *value,
                       size_t len)
{
    char *at = begin_value(entry, field, len);
    if (at)
        memcpy(at, value, len);
}

void entry_str(struct audit_entry *entry, enum audit_field field, struct str value)
{
    if (value.len > most[field]) {
        value.len = most[field];
        entry->is_cut = true;
    }
    if (!str_is_empty(value))
        put(entry, field, value.ptr, value.len);
}

void entry_cstr(struct audit_entry *entry, enum audit_field field, const char *value)
{
    if (value)
        entry_str(entry, field, str_from(value));
}

void entry_u64(struct audit_entry *entry, enum audit_field field, uint64_t value)
{
    put(entry, field, &value, sizeof value);
}

void entry_flag(struct audit_entry *entry, enum audit_field field, bool value)
{
    const char byte = value ? 1 : 0;
    put(entry, field, &byte, sizeof byte);
}

void entry_time(struct audit_entry *entry, enum audit_field field, int64_t wall_ns)
{
    put(entry, field, &wall_ns, sizeof wall_ns);
}

void entry_addr(struct audit_entry *entry, enum audit_field field, const struct addr *value)
{
    if (!ip_is_none(&value->ip))
        put(entry, field, value, sizeof *value);
}

struct str entry_end(struct audit_entry *entry)
{
    entry->bytes[AT_CUT] = entry->is_cut ? 1 : 0;
    return str_of(entry->bytes, entry->len);
}

/* ---- rendering ---- */

int64_t entry_wall_ns(struct str packed)
{
    int64_t wall_ns;
    memcpy(&wall_ns, packed.ptr + AT_TIME, sizeof wall_ns);
    return wall_ns;
}

/* The value at *at, of which the next one is then behind it. */
static struct str next_value(struct str packed, size_t *at, enum audit_field *out_field)
{
    uint16_t len;
    const unsigned char field = (unsigned char)packed.ptr[*at];
    ensure(field < AUDIT_FIELDS);
    memcpy(&len, packed.ptr + *at + 1, sizeof len);
    ensure(*at + VALUE_HEAD + len <= packed.len);
    const struct str value = str_of(packed.ptr + *at + VALUE_HEAD, len);
    *at += VALUE_HEAD + len;
    *out_field = (enum audit_field)field;
    return value;
}

uint64_t entry_count(struct str packed)
{
    enum audit_field field;
    uint64_t n = 1;
    for (size_t at = HEAD_LEN; at < packed.len;) {
        const struct str value = next_value(packed, &at, &field);
        if (field == AUDIT_COUNT)
            memcpy(&n, value.ptr, sizeof n);
    }
    return n;
}

static void add_member(struct text *out, enum audit_field field, struct str value)
{
    const struct str before = fields[field].before;
    char buf[ADDR_TEXT_MAX > CLOCK_TEXT_MAX ? ADDR_TEXT_MAX : CLOCK_TEXT_MAX];
    struct addr addr;
    uint64_t number;
    int64_t wall_ns;

    switch (fields[field].kind) {
    case KIND_STR:
    case KIND_LONG: text_add_json_member(out, before, value); break;
    case KIND_U64:
        memcpy(&number, value.ptr, sizeof number);
        text_add(out, before);
        text_add_u64(out, number);
        break;
    case KIND_ADDR:
        memcpy(&addr, value.ptr, sizeof addr);
        text_add_json_member(out, before, str_from(addr_text(&addr, buf)));
        break;
    case KIND_FLAG:
        text_add(out, before);
        text_add(out, value.ptr[0] ? STR("true") : STR("false"));
        break;
    case KIND_TIME:
        memcpy(&wall_ns, value.ptr, sizeof wall_ns);
        text_add_json_member(out, before, str_from(clock_text_ns(wall_ns, buf)));
        break;
    case KINDS: ensure(false); break;
    }
}

void entry_render(struct str packed, struct text *out)
{
    char time[CLOCK_TEXT_MAX];
    text_add(out, STR("\"time\":\""));
    text_add(out, str_from(clock_text_ns(entry_wall_ns(packed), time)));
    text_add(out, STR("\",\"event\":\""));
    text_add(out, str_from(audit_event_name((enum audit_event)packed.ptr[0])));
    text_addc(out, '"');
    for (size_t at = HEAD_LEN; at < packed.len;) {
        enum audit_field field;
        const struct str value = next_value(packed, &at, &field);
        add_member(out, field, value);
    }
    if (packed.ptr[AT_CUT])
        text_add(out, STR(",\"cut\":true"));
}
