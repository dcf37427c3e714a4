/*
 * text.h - a growing string: what log lines, metrics pages, JSON answers and error sentences are
 * written into.
 *
 * {0} is empty. Always NUL-terminated once something was appended. Grows by doubling up to a limit
 * (default 64 MiB); beyond it appends are dropped, whole, and text.truncated is set, so a page
 * never grows without bound; once it is set, everything that follows is dropped too, so that what
 * is kept is a beginning without holes.
 *
 * Owner: whoever embeds it; text_fini() frees. Thread: one at a time. Not for the path of a byte.
 */
#ifndef ISTHMUS_BASE_TEXT_H
#define ISTHMUS_BASE_TEXT_H

#include <stdarg.h>

#include "proxy/base/str.h"

struct text {
    char *ptr;
    size_t len;
    size_t cap;
    size_t limit; /* 0 is the default of 64 MiB */
    bool truncated;
};

void text_add(struct text *text, struct str part);
void text_addf(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);
void text_addv(struct text *text, const char *format, va_list args) PRINTF_LIKE(2, 0);
void text_addc(struct text *text, char c);
void text_add_u64(struct text *text, uint64_t value); /* decimal digits, without printf's cost */

/* The bytes as the inside of a JSON string (RFC 8259 section 7): control characters, quotes and
 * backslashes escaped, bytes that are not valid UTF-8 replaced by U+FFFD, so that a hostile name
 * cannot break a log line. What terminals and viewers act on beyond ASCII is escaped as well: C1
 * controls, line separators, what turns the direction of writing. */
void text_add_json(struct text *text, struct str part);

/* For one line on a terminal: what the JSON form escapes is a question mark, quotes and backslashes
 * apart. */
void text_add_printable(struct text *text, struct str part);

/* before, then text_add_json() of the value, then a quote: most members of a line in one go, where
 * nothing of the value needs care. */
void text_add_json_member(struct text *text, struct str before, struct str value);

/* text_add_json() with the quotes around it. */
void text_add_json_string(struct text *text, struct str part);

struct str text_str(const struct text *text); /* borrowed until the next append */
void text_clear(struct text *text);           /* keeps the memory */
void text_fini(struct text *text);

#endif
