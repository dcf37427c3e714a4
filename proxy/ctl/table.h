/*
 * table.h - aligned columns for a terminal, out of text that nobody vouches for.
 *
 * Names come from whoever may create a pod or a service. What a terminal would obey or hide
 * (control characters, escape sequences, changes of writing direction, bytes that are not UTF-8) is
 * printed escaped: \x1b, \u{202e}; a backslash is doubled, so that what is printed is unambiguous.
 *
 * Owner: whoever embeds the table. Thread: one at a time.
 */
#ifndef ISTHMUS_CTL_TABLE_H
#define ISTHMUS_CTL_TABLE_H

#include "proxy/base/arena.h"
#include "proxy/base/text.h"

struct table { /* {.n_columns = 3} is an empty one */
    size_t n_columns;
    struct arena arena;
    struct str *cells; /* row by row, escaped */
    size_t len, cap;
};

/* The next cell of the table, row by row; the text is copied. An empty one is printed as "-". */
void table_add(struct table *table, struct str cell);
/* Every row on its line, indented; two blanks between columns, none behind the last. */
void table_print(const struct table *table, size_t indent, struct text *out);
void table_fini(struct table *table);

/* Text with what a terminal would obey escaped. */
void plain_add(struct text *out, struct str text);
/* The same for several lines: newlines stay. */
void plain_add_lines(struct text *out, struct str text);

#endif
