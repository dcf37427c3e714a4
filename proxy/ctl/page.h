/*
 * page.h - the JSON answer of an admin port as text for people.
 *
 * Single values stand first, one a line; objects follow as sections, lists of objects as tables
 * (columns.h says how those that we know look). Nothing is left out because it is not known.
 */
#ifndef ISTHMUS_CTL_PAGE_H
#define ISTHMUS_CTL_PAGE_H

#include <jansson.h>

#include "proxy/base/text.h"

struct page_options {
    struct str filter; /* only rows with this text somewhere; "" shows all */
    bool is_wide;      /* every member of every row */
};

void page_print(json_t *page, const struct page_options *options, struct text *out);

#endif
