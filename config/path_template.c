#include "config/path_template.h"

#include <string.h>

#include "proxy/base/ascii.h"

#define ONE  STR("{*}")
#define MANY STR("{**}")

bool path_is_template(struct str text)
{
    return str_contains(text, STR("{")) || str_contains(text, STR("}"));
}

static bool is_literal(struct str segment)
{
    for (size_t i = 0; i < segment.len; i++) {
        const char c = segment.ptr[i];
        if (!ascii_is_alnum(c) && (c == '\0' || !strchr("-._~%!$&'()+,;:@=", c)))
            return false;
    }
    return segment.len > 0;
}

static const char *segment_fault(struct str segment, bool *has_many)
{
    if (str_eq(segment, ONE) || str_eq(segment, MANY)) {
        if (*has_many)
            return "{**} is not the last operator";
        *has_many = str_eq(segment, MANY);
        return NULL;
    }
    if (path_is_template(segment))
        return "a segment is {*}, {**} or letters, not both";
    return is_literal(segment) ? NULL : "a segment is empty or has a letter that no path has";
}

const char *path_template_fault(struct str text)
{
    struct str rest = str_sub(text, 1, text.len), segment, tail;
    bool has_many = false;
    if (!str_starts_with(text, STR("/")))
        return "it does not begin with a slash";
    while (str_split(rest, '/', &segment, &tail)) {
        const char *fault = segment_fault(segment, &has_many);
        if (fault)
            return fault;
        rest = tail;
    }
    return str_is_empty(rest) ? NULL : segment_fault(rest, &has_many);
}

/* The length of the segment at the beginning of text. */
static size_t segment_len(struct str text)
{
    const char *slash = text.len > 0 ? memchr(text.ptr, '/', text.len) : NULL;
    return slash ? (size_t)(slash - text.ptr) : text.len;
}

/* Left to right without going back: an operator is all of its segment, and behind "{**}" there are
 * only letters, with which the path must end. */
bool path_template_matches(struct str template_, struct str path)
{
    size_t t = 0, p = 0;
    while (t < template_.len) {
        const struct str ahead = str_sub(template_, t, template_.len);
        const struct str rest = str_sub(path, p, path.len);
        if (str_starts_with(ahead, MANY))
            return str_ends_with(rest, str_sub(ahead, sizeof("{**}") - 1, ahead.len));
        if (str_starts_with(ahead, ONE)) {
            const size_t len = segment_len(rest);
            if (len == 0)
                return false;
            t += sizeof("{*}") - 1;
            p += len;
        } else if (str_is_empty(rest) || rest.ptr[0] != ahead.ptr[0]) {
            return false;
        } else {
            t++;
            p++;
        }
    }
    return p == path.len;
}
