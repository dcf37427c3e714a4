/*
 * path.h - the path of a request in the one form in which it is matched, judged and forwarded.
 *
 * Two proxies that read one path differently let somebody through, so it is normalised once, where
 * the request came in, and everything after that (routes, policies, the backend) sees the result:
 * percent escapes of unreserved characters decoded once, the others in upper case, bytes over 0x7f
 * escaped, "\" as "/", "." and ".." segments resolved (never above the root), "//" merged unless
 * the policy keeps it. The query is left as it is.
 *
 * A path is refused (400) when it does not begin with "/", holds a control character, a blank, "#",
 * a "%" without two hexadecimal digits behind it, or "%00". "*" is the path of OPTIONS * and stays.
 *
 * Thread: any. Source: RFC 3986 section 6.2.2; Envoy's normalize_path, merge_slashes and
 * path_with_escaped_slashes_action under the names that Istio's pathNormalization gives them.
 */
#ifndef ISTHMUS_HTTP_PATH_H
#define ISTHMUS_HTTP_PATH_H

#include "proxy/base/arena.h"
#include "proxy/base/err.h"

enum http_path_rules {
    HTTP_PATH_MERGE_SLASHES,            /* the default; %2F and %5C stay escaped */
    HTTP_PATH_BASE,                     /* "//" stays */
    HTTP_PATH_DECODE_AND_MERGE_SLASHES, /* %2F and %5C are slashes */
};

struct http_path {
    struct str target; /* path and query, as it is forwarded */
    struct str path;   /* without the query */
    struct str query;  /* behind the "?", "" without one */
};

/* 0, or -ERR_INVALID with a sentence in *why (static). Borrows from target when it is in normal
 * form already, else the arena has the copy. */
MUST_USE int http_path_normalize(struct str target, enum http_path_rules rules, struct arena *arena,
                                 struct http_path *out_path, const char **why);

/* How a liberal server may read a path in normal form: %2F and %5C are slashes, a segment ends at
 * ";", and what then are "." and ".." count. The path itself where that makes no difference. */
struct str http_path_lax(struct str path, struct arena *arena);

#endif
