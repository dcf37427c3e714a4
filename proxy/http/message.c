#include "proxy/http/message.h"

#include <string.h>

struct str http_find_str(const struct http_fields *fields, struct str name)
{
    for (size_t i = 0; i < fields->len; i++)
        if (str_eq(fields->at[i].name, name))
            return fields->at[i].value;
    return (struct str){0};
}

/* ---- copies: one piece of the arena for all of it ---- */

struct copying {
    char *at;         /* where the next bytes go */
    struct str piece; /* copied as a whole, to there: */
    const char *to;
};

/* Whoever begins in a piece of memory ends in it as well. */
static inline bool is_in(struct str piece, struct str text)
{
    return (uintptr_t)text.ptr - (uintptr_t)piece.ptr < piece.len;
}

static inline struct str moved(const struct copying *copying, struct str text)
{
    return str_of(copying->to + (text.ptr - copying->piece.ptr), text.len);
}

static inline struct str put(struct copying *copying, struct str text)
{
    char *const copy = copying->at;

    if (is_in(copying->piece, text))
        return moved(copying, text);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    copying->at += text.len;
    return str_of(copy, text.len);
}

/* Fields that are lines lie in the piece all of them. */
static inline bool are_in(struct str piece, const struct http_fields *fields)
{
    return fields->len > 0 && fields->are_lines && is_in(piece, fields->at[0].name);
}

/* At most: what lies in the piece is counted with it. */
static size_t size_of_fields(struct str piece, const struct http_fields *fields)
{
    size_t bytes = piece.len + fields->len * sizeof(struct http_field);
    for (size_t i = 0; !are_in(piece, fields) && i < fields->len; i++)
        bytes += fields->at[i].name.len + fields->at[i].value.len;
    return bytes;
}

/* The fields' array, aligned, and the piece behind it. */
static struct copying begin_copy(void *room, struct str piece, size_t n_fields)
{
    char *const at = (char *)room + n_fields * sizeof(struct http_field);

    if (piece.len > 0)
        memcpy(at, piece.ptr, piece.len);
    return (struct copying){at + piece.len, piece, at};
}

static struct http_fields move_fields(const struct copying *copying, struct http_field *copy,
                                      const struct http_fields *fields)
{
    for (size_t i = 0; i < fields->len; i++)
        copy[i] = (struct http_field){moved(copying, fields->at[i].name),
                                      moved(copying, fields->at[i].value)};
    return (struct http_fields){copy, fields->len, true};
}

static struct http_fields put_fields(struct copying *copying, struct http_field *copy,
                                     const struct http_fields *fields)
{
    for (size_t i = 0; i < fields->len; i++) {
        copy[i].name = put(copying, fields->at[i].name);
        copy[i].value = put(copying, fields->at[i].value);
    }
    return (struct http_fields){.at = copy, .len = fields->len};
}

struct http_fields http_fields_copy(const struct http_fields *fields, struct arena *arena)
{
    const struct str piece = {0};
    void *room = arena_alloc(arena, size_of_fields(piece, fields));
    struct copying copying = begin_copy(room, piece, fields->len);

    return put_fields(&copying, room, fields);
}

void http_request_copy(const struct http_request *head, struct arena *arena,
                       struct http_request *out_copy)
{
    const struct str piece = head->piece;
    void *room = arena_alloc(arena, size_of_fields(piece, &head->fields) + head->method.len +
                                        head->scheme.len + head->authority.len + head->path.len +
                                        head->protocol.len);
    struct copying copying = begin_copy(room, piece, head->fields.len);

    *out_copy = *head;
    out_copy->fields = are_in(piece, &head->fields) ? move_fields(&copying, room, &head->fields)
                                                    : put_fields(&copying, room, &head->fields);
    out_copy->method = put(&copying, head->method);
    out_copy->scheme = put(&copying, head->scheme);
    out_copy->authority = put(&copying, head->authority);
    out_copy->path = put(&copying, head->path);
    out_copy->protocol = put(&copying, head->protocol);
    out_copy->piece = str_of(copying.to, piece.len);
}
