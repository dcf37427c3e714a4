#include "proxy/ctl/table.h"

#include "proxy/base/mem.h"

#define CELLS_FIRST ((size_t)64)

/* ---- escaping ---- */

/* The code point of a well-formed UTF-8 sequence. */
static uint32_t code_point(const char *at, size_t len)
{
    static const unsigned char first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = (unsigned char)at[0] & first_bits[len];
    for (size_t i = 1; i < len; i++)
        point = (point << 6) | ((unsigned char)at[i] & 0x3f);
    return point;
}

/* Controls, and characters that show nothing themselves but change how their neighbours are shown.
 */
static bool is_unsafe(uint32_t point)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x0000, 0x001f}, {0x007f, 0x009f}, {0x00ad, 0x00ad},   {0x061c, 0x061c},
        {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
        {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff},
    };

    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        if (point >= ranges[i].first && point <= ranges[i].last)
            return true;
    }
    return false;
}

static void add_escaped(struct text *out, const char *at, size_t len)
{
    const uint32_t point = code_point(at, len);
    if (!is_unsafe(point))
        text_add(out, str_of(at, len));
    else if (point < 0x80)
        text_addf(out, "\\x%02x", (unsigned)point);
    else
        text_addf(out, "\\u{%x}", (unsigned)point);
}

static void add_plain(struct text *out, struct str text, bool keeps_lines)
{
    for (size_t at = 0; at < text.len;) {
        const char c = text.ptr[at];
        const size_t len = str_utf8_len(text, at);
        if (len == 0)
            text_addf(out, "\\x%02x", (unsigned)(unsigned char)c);
        else if (c == '\\')
            text_add(out, STR("\\\\"));
        else if (c == '\n' && keeps_lines)
            text_addc(out, c);
        else
            add_escaped(out, text.ptr + at, len);
        at += len > 0 ? len : 1;
    }
}

void plain_add(struct text *out, struct str text)
{
    add_plain(out, text, false);
}

void plain_add_lines(struct text *out, struct str text)
{
    add_plain(out, text, true);
}

/* ---- columns ---- */

void table_add(struct table *table, struct str cell)
{
    struct text plain = {0};
    if (table->len == table->cap) {
        table->cap = table->cap > 0 ? table->cap * 2 : CELLS_FIRST;
        table->cells = mem_realloc(table->cells, table->cap * sizeof(*table->cells));
    }
    plain_add(&plain, str_is_empty(cell) ? STR("-") : cell);
    table->cells[table->len++] = arena_str(&table->arena, text_str(&plain));
    text_fini(&plain);
}

/* In characters: cells are UTF-8 once they are escaped. */
static size_t width_of(struct str cell)
{
    size_t width = 0;
    for (size_t i = 0; i < cell.len; i++)
        width += ((unsigned char)cell.ptr[i] & 0xc0) != 0x80;
    return width;
}

static size_t column_width(const struct table *table, size_t column)
{
    size_t widest = 0;
    for (size_t i = column; i < table->len; i += table->n_columns) {
        const size_t width = width_of(table->cells[i]);
        widest = width > widest ? width : widest;
    }
    return widest;
}

static void add_blanks(struct text *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        text_addc(out, ' ');
}

void table_print(const struct table *table, size_t indent, struct text *out)
{
    const size_t n = table->n_columns;
    ensure(n > 0 && table->len % n == 0);
    size_t *widths = mem_new_array(size_t, n);
    for (size_t i = 0; i < n; i++)
        widths[i] = column_width(table, i);
    for (size_t i = 0; i < table->len; i++) {
        const struct str cell = table->cells[i];
        const bool is_last = i % n == n - 1;
        if (i % n == 0)
            add_blanks(out, indent);
        text_add(out, cell);
        if (is_last)
            text_addc(out, '\n');
        else
            add_blanks(out, widths[i % n] - width_of(cell) + 2);
    }
    mem_free(widths);
}

void table_fini(struct table *table)
{
    mem_free(table->cells);
    arena_fini(&table->arena);
    *table = (struct table){.n_columns = table->n_columns};
}
