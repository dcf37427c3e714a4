/*
 * again.h - records of requests, found again by what they were made of.
 *
 * To pack a record and to look for its bytes costs more than everything else that a request's end
 * does. Most requests of a connection are made of what the one before was made of. So who packs
 * says it in short: plain values, and the strings that are not values by themselves. Both are
 * compared whole; a hash only says where to look. Equal facts must make equal records: that is the
 * duty of who gathers them.
 *
 * A record that is told is forgotten here at once (fold.h), so none is added to behind its line.
 * Bound: AGAIN_MAX of them, of AGAIN_BYTES; whoever comes to a place takes it.
 * Owner: the pen. Thread: its worker's.
 */
#ifndef ISTHMUS_AUDIT_AGAIN_H
#define ISTHMUS_AUDIT_AGAIN_H

#include "proxy/audit/fold.h"

#define AGAIN_MAX     64u
#define AGAIN_BYTES   1000u
#define AGAIN_STRINGS 8u

struct audit_facts {    /* borrowed */
    const void *values; /* without pointers to what may change, and without holes */
    size_t values_len;
    const struct str *strings;
    size_t n_strings; /* AGAIN_STRINGS at most */
};

struct again_place {
    struct fold_record *record; /* NULL: none, or it has been told */
    size_t values_len, n_strings;
    size_t len[AGAIN_STRINGS];
    char bytes[AGAIN_BYTES]; /* values, then the strings */
};

struct again {
    struct again_place at[AGAIN_MAX];
};

/* The record that was made of these facts; NULL: it is not known. */
struct fold_record *again_find(struct again *again, const struct audit_facts *facts);
/* It was made of these. */
void again_keep(struct again *again, const struct audit_facts *facts, struct fold_record *record);

#endif
