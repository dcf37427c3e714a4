#include "proxy/base/arena.h"
#include "proxy/http/h1_server.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %41 and + as forms encode them; a broken escape stays as it is. */
static struct str decode(struct arena *arena, struct str raw)
{
    char *out = arena_alloc(arena, raw.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < raw.len; i++) {
        int high = raw.ptr[i] == '%' && i + 2 < raw.len ? hex_value(raw.ptr[i + 1]) : -1;
        int low = high >= 0 ? hex_value(raw.ptr[i + 2]) : -1;

        if (low >= 0) {
            out[len++] = (char)(high * 16 + low);
            i += 2;
        } else {
            out[len++] = raw.ptr[i] == '+' ? ' ' : raw.ptr[i];
        }
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
