/*
 * One parameter of a query, decoded. Every call reads from the start: an admin page asks for two
 * or three of a line that is short.
 */
#include "proxy/base/arena.h"
#include "proxy/base/percent.h"
#include "proxy/http/h1_server.h"

/* %41 and + as forms encode them; a broken escape stays as it is. */
static struct str decode(struct arena *arena, struct str raw)
{
    char *out = arena_alloc(arena, raw.len + 1);
    size_t len = 0;

    while (raw.len > 0) {
        const bool is_blank = raw.ptr[0] == '+';
        const int byte = percent_next(&raw);

        out[len++] = is_blank ? ' ' : (char)byte;
    }
    return str_of(out, len);
}

struct str h1_query(struct arena *arena, struct str query, const char *name)
{
    struct str wanted = str_from(name);

    while (query.len > 0) {
        struct str pair = query, rest = {0}, key, value = {0};

        (void)str_split(query, '&', &pair, &rest);
        key = pair;
        (void)str_split(pair, '=', &key, &value);
        if (str_eq(key, wanted))
            return decode(arena, value);
        query = rest;
    }
    return (struct str){0};
}
