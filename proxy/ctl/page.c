#include "proxy/ctl/page.h"

#include <string.h>

#include "proxy/ctl/columns.h"
#include "proxy/ctl/table.h"
#include "proxy/ctl/values.h"

#define DEPTH_MAX 4 /* of sections in sections; deeper ones are written in one line */
#define MORE_COLUMNS_MAX                                                                           \
    32 /* beyond those that are known: rows that have ever new members do not make a page of them  \
        */
#define INDENT_PER_DEPTH 2

/* ---- tables ---- */

#define COLUMNS_MAX 16 /* of those that are known */

struct layout { /* the columns of one table */
    const struct column *columns;
    size_t len;
    bool is_used[COLUMNS_MAX];          /* some row has a member of it */
    const char *more[MORE_COLUMNS_MAX]; /* members that no column uses, in the order in which they
                                           turn up */
    size_t n_more;
    bool is_wide;
};

/* True when a column shows the member, or hides it by intention. */
static bool is_placed(struct layout *layout, const char *key)
{
    for (size_t i = 0; i < layout->len; i++) {
        const bool is_hidden = !layout->columns[i].heading && layout->is_wide;
        if (!column_uses(&layout->columns[i], key) || is_hidden)
            continue;
        layout->is_used[i] = true;
        return true;
    }
    for (size_t i = 0; i < layout->n_more; i++) {
        if (str_eq(str_from(layout->more[i]), str_from(key)))
            return true;
    }
    return false;
}

static void lay_out(struct layout *layout, json_t *rows)
{
    const char *key;
    json_t *value;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_object_foreach(json_array_get(rows, i), key, value)
        {
            if (!is_placed(layout, key) && layout->n_more < MORE_COLUMNS_MAX)
                layout->more[layout->n_more++] = key;
        }
    }
}

static bool is_shown(const struct layout *layout, size_t column)
{
    return layout->columns[column].heading && layout->is_used[column];
}

static size_t add_headings(const struct layout *layout, struct table *table)
{
    size_t n = 0;
    struct text heading = {0};
    for (size_t i = 0; i < layout->len; i++) {
        if (!is_shown(layout, i))
            continue;
        table_add(table, str_from(layout->columns[i].heading));
        n++;
    }
    for (size_t i = 0; i < layout->n_more; i++, n++) {
        text_clear(&heading);
        value_add_heading(&heading, layout->more[i]);
        for (size_t j = 0; j < heading.len; j++)
            if (heading.ptr[j] >= 'a' && heading.ptr[j] <= 'z')
                heading.ptr[j] = (char)(heading.ptr[j] - 'a' + 'A');
        table_add(table, text_str(&heading));
    }
    text_fini(&heading);
    return n;
}

static void add_row(const struct layout *layout, json_t *row, struct table *table)
{
    struct text cell = {0};
    for (size_t i = 0; i < layout->len; i++) {
        if (!is_shown(layout, i))
            continue;
        text_clear(&cell);
        column_write(&layout->columns[i], row, &cell);
        table_add(table, text_str(&cell));
    }
    for (size_t i = 0; i < layout->n_more; i++) {
        text_clear(&cell);
        value_add(&cell, layout->more[i], json_object_get(row, layout->more[i]));
        table_add(table, text_str(&cell));
    }
    text_fini(&cell);
}

static void print_nothing(const char *name, const struct page_options *options, size_t indent,
                          struct text *out)
{
    text_addf(out, "%*sno ", (int)indent, "");
    plain_add(out, strcmp(name, "health") == 0 ? STR("active checks") : str_from(name));
    if (!str_is_empty(options->filter)) {
        text_add(out, STR(" match \""));
        plain_add(out, options->filter);
        text_addc(out, '"');
    }
    text_addc(out, '\n');
}

static void print_table(const char *name, json_t *rows, const struct page_options *options,
                        size_t indent, struct text *out)
{
    const struct columns *columns = columns_find(name);
    struct layout layout = {.is_wide = options->is_wide};
    struct table table = {0};
    size_t n_rows = 0;
    if (columns) {
        ensure(columns->len <= COLUMNS_MAX);
        layout.columns = columns->columns;
        layout.len = columns->len;
    }
    lay_out(&layout, rows);
    table.n_columns = add_headings(&layout, &table);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        if (!str_is_empty(options->filter) && !value_contains(row, options->filter))
            continue;
        add_row(&layout, row, &table);
        n_rows++;
    }
    if (n_rows > 0 && table.n_columns > 0)
        table_print(&table, indent, out);
    else
        print_nothing(name, options, indent, out);
    table_fini(&table);
}

/* ---- sections ---- */

static bool is_table(const char *name, json_t *value)
{
    if (!json_is_array(value))
        return false;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!json_is_object(json_array_get(value, i)))
            return false;
    }
    return json_array_size(value) > 0 || columns_find(name);
}

static bool is_section(const char *name, json_t *value, unsigned depth)
{
    if (depth >= DEPTH_MAX)
        return false;
    return is_table(name, value) || (json_is_object(value) && json_object_size(value) > 0);
}

static void print_values(json_t *object, size_t indent, unsigned depth, struct text *out)
{
    const char *key;
    json_t *value;
    struct table table = {.n_columns = 2};
    struct text cell = {0};
    json_object_foreach(object, key, value)
    {
        if (is_section(key, value, depth))
            continue;
        text_clear(&cell);
        value_add_heading(&cell, key);
        text_addc(&cell, ':');
        table_add(&table, text_str(&cell));
        text_clear(&cell);
        value_add(&cell, key, value);
        table_add(&table, text_str(&cell));
    }
    if (table.len > 0)
        table_print(&table, indent, out);
    table_fini(&table);
    text_fini(&cell);
}

/* Recursion is bounded by DEPTH_MAX. */
static void print_object(json_t *object, const struct page_options *options, unsigned depth,
                         struct text *out)
{
    const char *key;
    json_t *value;
    const size_t indent = (size_t)depth * INDENT_PER_DEPTH;
    print_values(object, indent, depth, out);
    json_object_foreach(object, key, value)
    {
        if (!is_section(key, value, depth))
            continue;
        if (depth == 0 && out->len > 0)
            text_addc(out, '\n');
        text_addf(out, "%*s", (int)indent, "");
        plain_add(out, str_from(key));
        text_add(out, STR(":\n"));
        if (json_is_object(value))
            print_object(value, options, depth + 1, out);
        else
            print_table(key, value, options, indent + INDENT_PER_DEPTH, out);
    }
}

/* Where in a longer list this page is. */
static bool is_place(const char *key)
{
    return str_eq(str_from(key), STR("total")) || str_eq(str_from(key), STR("offset"));
}

/* The one list that a page consists of, which then needs no heading. */
static json_t *only_list(json_t *page, const char **out_name)
{
    const char *key;
    json_t *value, *list = NULL;
    json_object_foreach(page, key, value)
    {
        if (is_place(key))
            continue;
        if (list || !is_table(key, value))
            return NULL;
        *out_name = key;
        list = value;
    }
    return list;
}

/* Says so when the page is not all there is. */
static void print_place(json_t *page, const char *name, size_t n, struct text *out)
{
    const long long total = (long long)json_integer_value(json_object_get(page, "total"));
    const long long offset = (long long)json_integer_value(json_object_get(page, "offset"));
    const long long end = offset + (long long)n;
    if (n == 0 && offset > 0)
        text_addf(out, "there are only %lld\n", total);
    if (n == 0 || (long long)n >= total)
        return;
    text_addf(out, "\n%s %lld to %lld of %lld", name, offset + 1, end, total);
    if (end < total)
        text_addf(out, "; --offset %lld shows the next", end);
    text_addc(out, '\n');
}

void page_print(json_t *page, const struct page_options *options, struct text *out)
{
    const char *name;
    json_t *rows = only_list(page, &name);
    struct text body = {.limit = out->limit};
    if (rows) {
        print_table(name, rows, options, 0, &body);
        print_place(page, name, json_array_size(rows), &body);
    } else {
        print_object(page, options, 0, &body);
    }
    text_add(out, text_str(&body));
    text_fini(&body);
}
