#include "config/url.h"

#include <string.h>

#include "config/names.h"
#include "proxy/base/text.h"

#define HTTPS STR("https://")
#define HTTP  STR("http://")

static const char *split_server(struct str host, struct arena *arena, struct url *url)
{
    struct text authority = {0};
    const bool needs_port = str_ends_with(host, STR("]")) ||
                            !name_split_host_port(host, &url->server.host, &url->server.port);

    text_add(&authority, host);
    if (needs_port)
        text_add(&authority, url->is_plain ? STR(":80") : STR(":443"));
    struct str kept = arena_str(arena, text_str(&authority));
    text_fini(&authority);
    if (host.len == 0)
        return "has no host";
    return name_split_host_port(kept, &url->server.host, &url->server.port)
               ? NULL
               : "has a host or a port that is none (ports are 1 to 65535)";
}

const char *url_parse(struct str text, bool takes_plain, struct arena *arena, struct url *out_url)
{
    struct url url = {.is_plain = takes_plain && str_starts_with(text, HTTP)};
    const struct str scheme = url.is_plain ? HTTP : HTTPS;
    struct str rest = str_sub(text, scheme.len, text.len), host = rest;

    if (!str_starts_with(text, scheme))
        return takes_plain ? "must begin with https:// or http://" : "must begin with https://";
    for (size_t i = 0; i < rest.len; i++) {
        const unsigned char byte = (unsigned char)rest.ptr[i];
        if (byte <= 0x20 || byte >= 0x7f)
            return "holds a space, a control character or a byte that is not ASCII";
    }
    host.len = rest.len == 0 ? 0 : strcspn(arena_str(arena, rest).ptr, "/?#");
    if (host.len > 0 && memchr(host.ptr, '@', host.len))
        return "must not have user information";
    rest = str_sub(rest, host.len, rest.len);
    if (rest.len > 0 && memchr(rest.ptr, '#', rest.len))
        return "must not have a fragment";
    const char *why = split_server(host, arena, &url);
    if (why)
        return why;
    url.path = str_starts_with(rest, STR("/")) ? arena_str(arena, rest)
                                               : arena_printf(arena, "/%.*s", STR_ARG(rest));
    *out_url = url;
    return NULL;
}
