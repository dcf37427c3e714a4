/*
 * entry.h - one record of the audit log before it is a line: packed by a worker, rendered by the
 * writer.
 *
 * A worker only copies bytes: each value behind its field and length, in the order of fields.def.
 * Turning them into JSON, numbering, hashing and writing are the writer thread's. A value is cut to
 * what its kind takes, and a record has room for every field once at its longest, so that nobody
 * pushes a record out of the log, or its decision out of the record, by long names. A last member
 * "cut" says when one was cut.
 *
 * Owner: whoever embeds the entry. Thread: one at a time.
 */
#ifndef ISTHMUS_AUDIT_ENTRY_H
#define ISTHMUS_AUDIT_ENTRY_H

#include "proxy/base/addr.h"
#include "proxy/base/text.h"

enum audit_event {
    AUDIT_VERDICT,    /* a policy decision */
    AUDIT_END,        /* a connection's end */
    AUDIT_REQUESTS,   /* requests that ended, alike in all that is told */
    AUDIT_START,      /* a process opened the log */
    AUDIT_STOP,       /* and closed it in order */
    AUDIT_LOST,       /* records are missing here */
    AUDIT_CHECKPOINT, /* the log is alive and counts so much */
    AUDIT_ROTATE,     /* the last line of a file: the next file goes on */
    AUDIT_EVENTS
};

const char *audit_event_name(enum audit_event event);

enum audit_field {

#define AUDIT_FIELD(id, kind, name, meaning) AUDIT_##id,
#include "proxy/audit/fields.def"
#undef AUDIT_FIELD
    AUDIT_FIELDS
};

#define ENTRY_MAX ((size_t)32768)
#define ENTRY_NAME_MAX                                                                             \
    ((size_t)512) /* of Kubernetes 253 at most, a policy's with its namespace 317 */
#define ENTRY_VALUE_MAX ((size_t)2048) /* a SPIFFE ID */
/* What a rendered entry can be at most: six bytes of JSON for one of a name, or a key around a
 * value of one byte. */
#define ENTRY_LINE_MAX (8 * ENTRY_MAX)

struct audit_entry {
    size_t len;
    bool is_cut;
    char bytes[ENTRY_MAX];
};

void entry_begin(struct audit_entry *entry, enum audit_event event, int64_t wall_ns);
/* Goes on with a record that entry_end() gave, this entry's or another's, which happens now. */
void entry_go_on(struct audit_entry *entry, struct str packed, int64_t wall_ns);
/* Nothing for an empty text. */
void entry_str(struct audit_entry *entry, enum audit_field field, struct str value);
void entry_cstr(struct audit_entry *entry, enum audit_field field, const char *value);
void entry_u64(struct audit_entry *entry, enum audit_field field, uint64_t value);
void entry_flag(struct audit_entry *entry, enum audit_field field, bool value);
void entry_time(struct audit_entry *entry, enum audit_field field, int64_t wall_ns);
/* Nothing for an address that is none. */
void entry_addr(struct audit_entry *entry, enum audit_field field, const struct addr *value);
/* The finished bytes, for a ring. */
struct str entry_end(struct audit_entry *entry);

/* When it happened; of the bytes that entry_end() gave. */
int64_t entry_wall_ns(struct str packed);
/* How many things it tells of: so many requests, or one. */
uint64_t entry_count(struct str packed);
/* The members of the line, without braces: "time":...,"event":... and the fields. */
void entry_render(struct str packed, struct text *out);

#endif
