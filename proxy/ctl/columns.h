/*
 * columns.h - how the lists that we know look as tables.
 *
 * A column uses up the members of a row that it shows. Members that no column uses become columns
 * of their own, so a member that a newer process adds is shown without being known. A column
 * without a heading uses members up without showing them, except when asked for everything.
 *
 * Thread: any; constant.
 */
#ifndef ISTHMUS_CTL_COLUMNS_H
#define ISTHMUS_CTL_COLUMNS_H

#include <jansson.h>

#include "proxy/base/text.h"

struct column {
    const char *heading; /* NULL: hidden */
    const char *uses;    /* names of members, separated by blanks */
    /* The cell; NULL shows the value of the first member that it uses. */
    void (*write)(json_t *row, struct text *out);
};

struct columns {
    const char *list; /* the member of the page that holds the rows */
    const struct column *columns;
    size_t len;
};

/* The columns of a list, or NULL when it is not known. */
const struct columns *columns_find(const char *list);
/* True when the column uses the member. */
bool column_uses(const struct column *column, const char *key);
void column_write(const struct column *column, json_t *row, struct text *out);

#endif
