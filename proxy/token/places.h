/*
 * places.h - where tokens stand in a request, and the request without them.
 *
 * Everything that stands in a place is a token, also what is none: an empty value, a second header
 * of the name, "Bearer" with nothing behind it. Only a header without its prefix says nothing.
 *
 * Owner: found tokens borrow from the head; what is forwarded from the head and the arena.
 * Thread: any.
 */
#ifndef ISTHMUS_TOKEN_PLACES_H
#define ISTHMUS_TOKEN_PLACES_H

#include "config/token_rule.h"
#include "proxy/http/message.h"

struct token_found { /* one text, wherever it stands */
    struct str text;
    const struct token_rule **rules; /* that look where it stands */
    size_t n_rules;
};

struct token_search {
    const struct token_rule *const *rules; /* that hold */
    size_t n_rules;
    const struct http_request *head;
    struct token_found *found; /* of max, beyond which nothing is looked for */
    size_t n_found, max;
    struct arena *arena;
};

void places_search(struct token_search *search);

/* The fields and the path without the token (NULL: with all of them) and without the headers that
 * rules write; then the given ones are added. */
struct http_fields places_fields(const struct token_search *search, const struct str *token,
                                 const struct http_field *added, size_t n_added);
struct str places_path(const struct token_search *search, const struct str *token);

/* Does a rule of the set (NULL: none) read a token from a header of that name, or write one? So
 * does one that some servers take for it. */
bool places_concern(const struct token_set *set, struct str name);

/* The path as a log may have it: the values of the query's parameters that rules of the set (NULL:
 * none) or RFC 6750 name, their names decoded and in any case, and those that are tokens by their
 * looks, are REDACTED. The path itself when there are none. */
struct str places_hidden(struct str path, const struct token_set *set, struct arena *arena);

#endif
