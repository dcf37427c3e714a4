#include "config/hash_key.h"

#include "proxy/base/ascii.h"

struct hash_key *hash_keys_copy(struct arena *arena, const struct hash_key *from, size_t n)
{
    struct hash_key *keys = n > 0 ? arena_new_array(arena, struct hash_key, n) : NULL;
    for (size_t i = 0; i < n; i++) {
        keys[i] = from[i];
        keys[i].name = arena_str(arena, from[i].name);
        keys[i].path = arena_str(arena, from[i].path);
    }
    return keys;
}

static bool has_name(enum hash_key_kind kind)
{
    return kind == HASH_KEY_HEADER || kind == HASH_KEY_COOKIE || kind == HASH_KEY_QUERY;
}

/* A token; of a header field also one of HTTP/2's own (":authority"); of a parameter anything. */
static bool is_name(const struct hash_key *key)
{
    struct str name = key->name;
    if (name.len == 0 || name.len > HASH_KEY_NAME_MAX)
        return false;
    if (key->kind == HASH_KEY_QUERY)
        return true;
    if (key->kind == HASH_KEY_HEADER && name.ptr[0] == ':')
        name = str_sub(name, 1, name.len);
    return ascii_is_token(name);
}

/* What may stand behind "Path=". */
static bool is_cookie_path(struct str path)
{
    for (size_t i = 0; i < path.len; i++)
        if (path.ptr[i] <= ' ' || path.ptr[i] > '~' || path.ptr[i] == ';')
            return false;
    return path.len == 0 || (path.ptr[0] == '/' && path.len <= HASH_KEY_NAME_MAX);
}

bool hash_keys_check(const struct hash_key *keys, size_t n, const char *what, struct text *why)
{
    if (n > HASH_KEYS_MAX) {
        text_addf(why, "%s: has %zu keys, %d at most", what, n, HASH_KEYS_MAX);
        return false;
    }
    bool is_one_given = false;
    for (size_t i = 0; i < n; i++) {
        const struct hash_key *key = &keys[i];
        const char *wrong = NULL;
        if ((unsigned)key->kind >= HASH_KEY_KINDS)
            wrong = "is of no known kind";
        else if (has_name(key->kind) && !is_name(key))
            wrong = str_is_empty(key->name)
                        ? "has no name"
                        : "is not the name of a header field, a cookie or a parameter";
        else if (key->ttl_ns > HASH_KEY_TTL_MAX)
            wrong = "has a cookie of more than 400 days";
        else if (!is_cookie_path(key->path))
            wrong = "has a path that does not begin with / or that no cookie may have";
        else if (key->is_given && is_one_given)
            wrong = "is the second cookie that is given; one is enough";
        is_one_given = is_one_given || key->is_given;
        if (wrong) {
            text_addf(why, "%s[%zu]: ", what, i);
            if (!str_is_empty(key->name))
                text_addf(why, "\"%.*s\" ", STR_ARG(str_sub(key->name, 0, 80)));
            text_add(why, str_from(wrong));
            return false;
        }
    }
    return true;
}
