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
static bool is_in(struct str piece, struct str text)
{
    return (uintptr_t)text.ptr - (uintptr_t)piece.ptr < piece.len;
}

static struct str moved(const struct copying *copying, struct str text)
{
    return str_of(copying->to + (text.ptr - copying->piece.ptr), text.len);
}

static struct str put(struct copying *copying, struct str text)
{
    char *const copy = copying->at;

    if (is_in(copying->piece, text))
        return moved(copying, text);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    copying->at += text.len;
    return str_of(copy, text.len);
}

static size_t size_of(struct str piece, struct str text)
{
    return is_in(piece, text) ? 0 : text.len;
}

/* Fields that are lines lie in the piece all of them. */
static bool are_in(struct str piece, const struct http_fields *fields)
{
    return fields->len > 0 && fields->are_lines && is_in(piece, fields->at[0].name);
}

static size_t size_of_fields(struct str piece, const struct http_fields *fields)
{
    size_t bytes = piece.len + fields->len * sizeof(struct http_field);
    for (size_t i = 0; !are_in(piece, fields) && i < fields->len; i++)
        bytes += size_of(piece, fields->at[i].name) + size_of(piece, fields->at[i].value);
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

static struct http_fields put_fields(struct copying *copying, struct http_field *copy,
                                     const struct http_fields *fields)
{
    const bool are_lines = are_in(copying->piece, fields);

    for (size_t i = 0; i < fields->len; i++) {
        const struct http_field *field = &fields->at[i];
        copy[i].name = are_lines ? moved(copying, field->name) : put(copying, field->name);
        copy[i].value = are_lines ? moved(copying, field->value) : put(copying, field->value);
    }
    return (struct http_fields){copy, fields->len, are_lines};
}

struct http_fields http_fields_copy(const struct http_fields *fields, struct arena *arena)
{
    const struct str piece = {0};
    void *room = arena_alloc(arena, size_of_fields(piece, fields));
    struct copying copying = begin_copy(room, piece, fields->len);

    return put_fields(&copying, room, fields);
}

struct http_request http_request_copy(const struct http_request *head, struct arena *arena)
{
    const struct str piece = head->piece;
    struct http_request copy = *head;
    void *room =
        arena_alloc(arena, size_of_fields(piece, &head->fields) + size_of(piece, head->method) +
                               size_of(piece, head->scheme) + size_of(piece, head->authority) +
                               size_of(piece, head->path) + size_of(piece, head->protocol));
    struct copying copying = begin_copy(room, piece, head->fields.len);

    copy.fields = put_fields(&copying, room, &head->fields);
    copy.method = put(&copying, head->method);
    copy.scheme = put(&copying, head->scheme);
    copy.authority = put(&copying, head->authority);
    copy.path = put(&copying, head->path);
    copy.protocol = put(&copying, head->protocol);
    copy.piece = str_of(copying.to, piece.len);
    return copy;
}
