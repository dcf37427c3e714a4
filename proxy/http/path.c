#include "proxy/http/path.h"

#include <string.h>

#include "proxy/base/block.h"
#include "proxy/base/err.h"
#include "proxy/base/percent.h"

/* What does not stand so in a normal form: characters that are escaped or refused, and slashes with
 * a dot or another slash behind them. Looks at seventeen bytes. */
static block find_unplain(const char *at, char behind_slash)
{
    const block bytes = block_at(at), next = block_at(at + 1);
    const block is_odd = ~block_from_to(bytes, 0x21, 0x7e) | (block)(bytes == '%') |
                         (block)(bytes == '\\') | (block)(bytes == '#');

    return is_odd | ((block)(bytes == '/') &
                     ((block)(next == '.') | (block)(next == (uint8_t)behind_slash)));
}

/* What stands in a path as it is in every normal form: then nothing is to be done, which is most of
 * the time. A segment that begins with a dot is looked at closely. */
static bool is_plain(struct str path, enum http_path_rules rules)
{
    const char behind_slash = rules == HTTP_PATH_BASE ? '.' : '/';
    char rest[BLOCK_BYTES + 1];
    size_t at = 0;

    for (; path.len - at > BLOCK_BYTES; at += BLOCK_BYTES)
        if (!block_is_clear(find_unplain(path.ptr + at, behind_slash)))
            return false;
    memset(rest, 'a', sizeof(rest));
    memcpy(rest, path.ptr + at, path.len - at);
    return block_is_clear(find_unplain(rest, behind_slash));
}

static const char *find_fault(struct str path)
{
    if (path.len == 0 || path.ptr[0] != '/')
        return "the path does not begin with /";
    for (size_t i = 0; i < path.len; i++) {
        const unsigned char c = (unsigned char)path.ptr[i];
        if (c <= ' ' || c == 0x7f)
            return "the path has a blank or a control character in it";
        if (c == '#')
            return "the path has a fragment";
        if (c == '%' && percent_byte(path, i) < 0)
            return "the path has a % without two hexadecimal digits behind it";
        if (c == '%' && percent_byte(path, i) == 0)
            return "the path has an escaped NUL in it";
    }
    return NULL;
}

static size_t escape(char *to, size_t len, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    to[len++] = '%';
    to[len++] = digits[c >> 4];
    to[len++] = digits[c & 15];
    return len;
}

/* Escapes in one form, every slash a "/". to has room for three times the path. */
static size_t decode(struct str path, enum http_path_rules rules, char *to)
{
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        const bool is_escaped = c == '%';
        if (is_escaped) {
            c = (unsigned char)percent_byte(path, i);
            i += 2;
        }
        const bool is_slash = c == '/' || c == '\\';
        if (is_slash && (!is_escaped || rules == HTTP_PATH_DECODE_AND_MERGE_SLASHES))
            to[len++] = '/';
        else if (is_escaped ? !percent_is_unreserved(c) : c >= 0x80)
            len = escape(to, len, c);
        else
            to[len++] = (char)c;
    }
    return len;
}

/* Resolves "." and ".." in place; the path begins with "/". A last one leaves its slash. */
static size_t resolve_dots(char *path, size_t len)
{
    size_t out = 0;
    for (size_t at = 0; at < len;) {
        size_t end = at + 1; /* path[at] is the slash before the segment */
        while (end < len && path[end] != '/')
            end++;
        const struct str segment = {path + at + 1, end - at - 1};
        const bool is_up = str_eq(segment, STR("..")), is_here = str_eq(segment, STR("."));
        while (is_up && out > 0 && path[--out] != '/')
            continue;
        if (!is_up && !is_here) {
            memmove(path + out, path + at, end - at);
            out += end - at;
        } else if (end == len) {
            path[out++] = '/';
        }
        at = end;
    }
    return out;
}

static size_t merge_slashes(char *path, size_t len)
{
    size_t out = 0;
    for (size_t i = 0; i < len; i++)
        if (path[i] != '/' || out == 0 || path[out - 1] != '/')
            path[out++] = path[i];
    return out;
}

int http_path_normalize(struct str target, enum http_path_rules rules, struct arena *arena,
                        struct http_path *out_path, const char **why)
{
    struct str path = target, query = {0};
    *out_path = (struct http_path){.target = target, .path = target};
    if (str_eq(target, STR("*")))
        return 0;
    const bool has_query = str_split(target, '?', &path, &query);
    if (path.len > 0 && path.ptr[0] == '/' && is_plain(path, rules)) {
        *out_path = (struct http_path){target, path, query};
        return 0;
    }
    const char *fault = find_fault(path);
    if (fault) {
        *why = fault;
        return -ERR_INVALID;
    }
    char *to = arena_alloc(arena, 3 * path.len + 1 + query.len);
    size_t len = resolve_dots(to, decode(path, rules, to));
    if (rules != HTTP_PATH_BASE)
        len = merge_slashes(to, len);
    out_path->path = str_of(to, len);
    if (has_query) {
        to[len] = '?';
        if (query.len > 0)
            memcpy(to + len + 1, query.ptr, query.len);
        out_path->query = str_of(to + len + 1, query.len);
        len += 1 + query.len;
    }
    out_path->target = str_of(to, len);
    return 0;
}

static bool is_ambiguous(struct str path)
{
    for (size_t i = 0; i < path.len; i++) {
        const int escaped = path.ptr[i] == '%' ? percent_byte(path, i) : -1;
        if (path.ptr[i] == ';' || escaped == '/' || escaped == '\\')
            return true;
    }
    return false;
}

/* In place. */
static size_t drop_parameters(char *path, size_t len)
{
    size_t out = 0;
    bool is_parameter = false;
    for (size_t i = 0; i < len; i++) {
        is_parameter = path[i] == ';' || (is_parameter && path[i] != '/');
        if (!is_parameter)
            path[out++] = path[i];
    }
    return out;
}

struct str http_path_lax(struct str path, struct arena *arena)
{
    if (!is_ambiguous(path))
        return path;
    char *to = arena_alloc(arena, 3 * path.len);
    size_t len = decode(path, HTTP_PATH_DECODE_AND_MERGE_SLASHES, to);
    len = merge_slashes(to, drop_parameters(to, len));
    return str_of(to, resolve_dots(to, len));
}
