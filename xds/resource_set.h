/*
 * resource_set.h - the inside of a resource_set, for the streams that read it.
 *
 * Each type has its entries by name, and a log of them ordered by when they last changed: an entry
 * that changes leaves a hole and goes to the end under a new, higher sequence number. A stream
 * remembers up to which number it has read, so what is new to it is the end of the log. Removed
 * entries stay as tombstones until every reader has passed them, or until there are too many: a
 * reader that has not passed lost_seq then has missed a removal.
 *
 * Owner: delta.h's. Thread: one.
 */
#ifndef ISTHMUS_XDS_RESOURCE_SET_H
#define ISTHMUS_XDS_RESOURCE_SET_H

#include "proxy/base/list.h"
#include "xds/delta.h"

/* 128 bits: whoever writes resources finds no two with one version. */
#define SET_VERSION_CHARS 32

struct set_entry {
    uint64_t seq;
    uint64_t generation; /* of the last replace that had it */
    uint64_t response;   /* the last response it was put into, so that none has it twice */
    size_t slot;         /* in the log */
    bool is_removed;     /* a tombstone: no bytes */
    char version[SET_VERSION_CHARS + 1];
    struct str name; /* NUL-terminated, as bytes are; both behind the struct */
    struct str bytes;
};

struct set_slot {
    uint64_t seq;
    struct set_entry *entry; /* NULL: a hole */
};

struct set_log {
    struct map by_name;
    struct set_slot *slots;
    size_t len, cap, n_holes;
    size_t n_removed;
    uint64_t oldest_removed_seq; /* no tombstone is older */
    uint64_t lost_seq;
};

struct set_reader {
    struct list link;
    bool reads[XDS_TYPES];
    uint64_t passed_seq[XDS_TYPES]; /* removals up to here are of no more interest */
};

struct resource_set {
    struct set_log logs[XDS_TYPES];
    uint64_t seq, generation, response;
    struct list readers;
};

/* The index of the first slot that changed after seq; log->len when there is none. */
size_t set_log_after(const struct set_log *log, uint64_t seq);

#endif
