/* One pass over the URI: scheme, then what each of the two schemes allows. */
#include "config/endpoint.h"

#include <string.h>

#include "config/names.h"
#include "proxy/base/err.h"

static int refuse(const char *why, const char **out_why)
{
    *out_why = why;
    return -ERR_INVALID;
}

static bool has(struct str text, char c)
{
    return text.len > 0 && memchr(text.ptr, c, text.len) != NULL;
}

/* What neither scheme may hold, wherever it stands; NULL when there is nothing of it. */
static const char *find_fault(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        const unsigned char byte = (unsigned char)text.ptr[i];
        if (byte <= 0x20 || byte == 0x7f)
            return "holds a space or a control character";
    }
    if (has(text, '?'))
        return "must not have a query";
    return has(text, '#') ? "must not have a fragment" : NULL;
}

static int parse_unix(struct str rest, struct spiffe_endpoint *out_endpoint, const char **out_why)
{
    if (!str_starts_with(rest, STR("/")))
        return refuse("must be unix:///absolute/path and not opaque", out_why);
    if (str_starts_with(rest, STR("//"))) {
        rest = str_sub(rest, 2, rest.len);
        if (rest.len > 0 && rest.ptr[0] != '/')
            return refuse(has(rest, '@') ? "must not have user information"
                                         : "must not have an authority: unix:///absolute/path",
                          out_why);
    }
    if (rest.len <= 1)
        return refuse("has no path: unix:///absolute/path", out_why);
    if (rest.len > UNIX_PATH_MAX)
        return refuse("has a path of more than 107 bytes, which no socket can have", out_why);
    if (has(rest, '%'))
        return refuse("must not have percent-encoding in its path", out_why);
    *out_endpoint = (struct spiffe_endpoint){.unix_path = rest};
    return 0;
}

static int parse_tcp(struct str rest, bool names_allowed, struct spiffe_endpoint *out_endpoint,
                     const char **out_why)
{
    struct endpoint_name tcp = {0};
    struct ip ip;
    if (!str_starts_with(rest, STR("//")))
        return refuse("must be tcp://address:port and not opaque", out_why);
    rest = str_sub(rest, 2, rest.len);
    if (has(rest, '@'))
        return refuse("must not have user information", out_why);
    if (has(rest, '/'))
        return refuse("must not have a path", out_why);
    if (!name_split_host_port(rest, &tcp.host, &tcp.port))
        return refuse("must have a host and a port: tcp://address:port", out_why);
    if (!names_allowed && ip_parse(tcp.host, &ip) != 0)
        return refuse("must have an IP address as its host", out_why);
    *out_endpoint = (struct spiffe_endpoint){.tcp = tcp};
    return 0;
}

int spiffe_endpoint_parse(struct str text, bool names_allowed, struct spiffe_endpoint *out_endpoint,
                          const char **out_why)
{
    static const struct str unix_scheme = {"unix:", 5}, tcp_scheme = {"tcp:", 4};
    const char *fault = find_fault(text);
    if (str_is_empty(text))
        return refuse("is empty", out_why);
    if (fault)
        return refuse(fault, out_why);
    if (str_starts_with(text, unix_scheme))
        return parse_unix(str_sub(text, unix_scheme.len, text.len), out_endpoint, out_why);
    if (str_starts_with(text, tcp_scheme))
        return parse_tcp(str_sub(text, tcp_scheme.len, text.len), names_allowed, out_endpoint,
                         out_why);
    return refuse("must begin with unix:// or tcp://", out_why);
}
