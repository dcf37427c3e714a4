/*
 * log.h - what operators read: one JSON object a line on a file descriptor (standard error for
 * events, standard output for the access log).
 *
 * Levels error, warn, info, debug. A message is a constant sentence; what varies goes into fields
 * (see log_warn()).
 *
 * Lines never block the caller: each thread writes into its own ring (single producer, single
 * consumer) and the log thread's owner drains them to the descriptor; when a ring is full the line
 * is dropped and counted, and the count is logged. Before log_start() and in tools, lines are
 * written directly. Each call site is limited to LOG_SITE_PER_SEC lines a second; what was held
 * back is told in the next line of that site ("suppressed").
 *
 * Thread: any thread that called log_attach(), and any thread before log_start().
 */
#ifndef ISTHMUS_BASE_LOG_H
#define ISTHMUS_BASE_LOG_H

#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/text.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVELS };

enum log_kind { LOG_FIELD_END, LOG_FIELD_STR, LOG_FIELD_U64, LOG_FIELD_ADDR, LOG_FIELD_ERR };

struct log_field {
    const char *key;
    enum log_kind kind;

    union {
        struct str str;
        uint64_t u64;
        const struct addr *addr;
        int err;
    } value;
};

struct log_field log_str(const char *key, struct str value);
struct log_field log_cstr(const char *key, const char *value);
struct log_field log_u64(const char *key, uint64_t value);
struct log_field log_addr(const char *key, const struct addr *value);
/* Two JSON members: "<key>" with the label and "<key>_text" with the sentence. */
struct log_field log_err(const char *key, int err);

struct log_site { /* one static per call site: its rate limit */
    uint64_t window_start_ns;
    uint32_t in_window;
    uint32_t suppressed;
};

#define LOG_SITE_PER_SEC 20

/* Writes one event line. The arguments after message are struct log_field, the last of kind
 * LOG_FIELD_END; use the macros below, which add it. */
void log_write(struct log_site *site, enum log_level level, const char *message, ...);

#define LOG_LINE(level, ...)                                                                       \
    do {                                                                                           \
        static _Thread_local struct log_site log_site_;                                            \
        if (log_enabled(level))                                                                    \
            log_write(&log_site_, level, __VA_ARGS__, (struct log_field){0});                      \
    } while (0)

/* log_warn("a manifest was refused", log_str("file", path), log_u64("line", line)); */
#define log_error(...) LOG_LINE(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  LOG_LINE(LOG_WARN, __VA_ARGS__)
#define log_info(...)  LOG_LINE(LOG_INFO, __VA_ARGS__)
#define log_debug(...) LOG_LINE(LOG_DEBUG, __VA_ARGS__)

bool log_enabled(enum log_level level);
void log_set_level(enum log_level level);
/* "error", "warn", "info", "debug": true and the level, or false. */
bool log_level_parse(struct str text, enum log_level *out_level);

/* A finished line for the access log (no newline at its end); dropped and counted when the ring is
 * full. */
void log_access(struct str line);

/* Switches from direct writing to rings: access lines go to access_fd (-1 discards them), events to
 * event_fd. */
void log_start(int event_fd, int access_fd);
/* Gives the calling thread its ring; every worker calls it first. name is a constant. */
void log_attach(const char *name);
/* Writes out what the rings hold; called by the control thread on a timer and at the end. Returns
 * lines written. Never blocks on a slow reader: descriptors that are not ready keep their lines
 * until the rings overflow. */
size_t log_drain(void);
/* Lines dropped so far because a ring was full. Thread: any. */
uint64_t log_dropped(void);
/* Drains what is left (for half a second at most) and goes back to direct writing. The caller is
 * the only thread left that logs. */
void log_stop(void);

#endif
