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

static size_t fields_bytes(const struct http_fields *fields)
{
    size_t bytes = fields->len * sizeof(struct http_field);
    for (size_t i = 0; i < fields->len; i++)
        bytes += fields->at[i].name.len + fields->at[i].value.len;
    return bytes;
}

static struct str put(char **at, struct str text)
{
    char *copy = *at;
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    *at += text.len;
    return str_of(copy, text.len);
}

static struct http_fields put_fields(char **at, const struct http_fields *fields)
{
    struct http_field *copy = (void *)*at;
    *at += fields->len * sizeof(*copy);
    for (size_t i = 0; i < fields->len; i++) {
        copy[i].name = put(at, fields->at[i].name);
        copy[i].value = put(at, fields->at[i].value);
    }
    return (struct http_fields){copy, fields->len};
}

struct http_fields http_fields_copy(const struct http_fields *fields, struct arena *arena)
{
    char *at = arena_alloc(arena, fields_bytes(fields));
    return put_fields(&at, fields);
}

struct http_request http_request_copy(const struct http_request *head, struct arena *arena)
{
    struct http_request copy = *head;
    struct str *const strings[] = {&copy.method, &copy.scheme, &copy.authority, &copy.path,
                                   &copy.protocol};
    size_t bytes = fields_bytes(&head->fields);
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        bytes += strings[i]->len;
    char *at = arena_alloc(arena, bytes);
    copy.fields = put_fields(&at, &head->fields);
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        *strings[i] = put(&at, *strings[i]);
    return copy;
}
