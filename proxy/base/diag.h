/*
 * diag.h - what is wrong with a file, a field or a resource: all of it, each with its place.
 *
 * Readers of configuration never return an int: they add sentences to a diag and the caller asks
 * diag_is_clean(). A sentence says what was found and what was expected: `spec.ports[0].port: 70000
 * is not a port (1 to 65535)`. At most DIAG_MAX are kept; the rest are counted.
 *
 * Owner: whoever embeds it; diag_fini() frees. {0} is clean. Thread: one at a time.
 */
#ifndef ISTHMUS_BASE_DIAG_H
#define ISTHMUS_BASE_DIAG_H

#include <stddef.h>

#include "proxy/base/arena.h"
#include "proxy/base/text.h"

#define DIAG_MAX 100

enum diag_severity { DIAG_ERROR, DIAG_WARNING };

struct place { /* line and column count from 1; 0 is unknown */
    struct str file;
    unsigned line, column;
};

struct diag_entry {
    enum diag_severity severity;
    struct place place;
    struct str sentence;
};

struct diag {
    struct arena arena;
    struct diag_entry *entries;
    size_t len;
    size_t dropped;
    size_t n_errors;
};

void diag_error(struct diag *diag, struct place place, const char *format, ...) PRINTF_LIKE(3, 4);
void diag_warn(struct diag *diag, struct place place, const char *format, ...) PRINTF_LIKE(3, 4);

static inline bool diag_is_clean(const struct diag *diag) /* no errors; warnings are allowed */
{
    return diag->n_errors == 0;
}

/* One line an entry: "file:line:column: error: sentence". */
void diag_print(const struct diag *diag, struct text *out);
void diag_fini(struct diag *diag);

#endif
