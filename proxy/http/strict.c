#include "proxy/http/strict.h"

#include <string.h>

#include "proxy/base/addr.h"
#include "proxy/base/block.h"

#define AUTHORITY_MAX 512u /* a name of 253 characters and a port, with room to spare */
#define LENGTH_DIGITS 18u  /* less than INT64_MAX whatever they are */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The control characters but a tab. */
static block find_controls(block bytes)
{
    return (block_from_to(bytes, 0, 0x1f) & ~(block)(bytes == '\t')) | (block)(bytes == 0x7f);
}

bool strict_is_value(struct str value)
{
    if (value.len == 0)
        return true;
    if (is_blank(value.ptr[0]) || is_blank(value.ptr[value.len - 1]))
        return false;
    return block_lacks(value, find_controls);
}

size_t strict_value_len(const char *bytes, size_t len)
{
    return block_before(bytes, len, find_controls);
}

/* ---- targets ---- */

/* All but the unreserved characters: letters, digits, - . _ ~ */
static block find_reserved(block bytes)
{
    return ~(block_from_to(bytes | 0x20, 'a', 'z') | block_from_to(bytes, '0', '9') |
             block_from_to(bytes, '-', '.') | (block)(bytes == '_') | (block)(bytes == '~'));
}

static bool is_host_name(struct str host)
{
    return host.len > 0 && block_lacks(host, find_reserved);
}

static bool is_port(struct str port)
{
    uint64_t number;

    return port.len <= 5 && str_to_u64(port, UINT16_MAX, &number);
}

static bool is_bracketed(struct str authority)
{
    const char *close = memchr(authority.ptr, ']', authority.len);
    struct ip ip;

    if (!close)
        return false;
    const size_t len = (size_t)(close - authority.ptr) + 1;
    const struct str rest = str_sub(authority, len, authority.len);
    const struct str address = str_sub(authority, 1, len - 2);
    if (ip_parse(address, &ip) || !str_contains(address, STR(":")))
        return false;
    return rest.len == 0 || (rest.ptr[0] == ':' && is_port(str_sub(rest, 1, rest.len)));
}

bool strict_is_authority(struct str authority)
{
    struct str host = authority, port;

    if (authority.len == 0 || authority.len > AUTHORITY_MAX)
        return false;
    if (is_host_name(authority))
        return true;
    if (authority.ptr[0] == '[')
        return is_bracketed(authority);
    if (str_split(authority, ':', &host, &port) && !is_port(port))
        return false;
    return is_host_name(host);
}

static block find_not_of_path(block bytes)
{
    return ~block_from_to(bytes, 0x21, 0x7e) | (block)(bytes == '#');
}

bool strict_is_path(struct str method, struct str path)
{
    if (str_eq(path, STR("*")))
        return str_eq(method, STR("OPTIONS"));
    if (path.len == 0 || path.ptr[0] != '/')
        return false;
    return block_lacks(path, find_not_of_path);
}

size_t strict_path_len(const char *bytes, size_t len)
{
    return block_before(bytes, len, find_not_of_path);
}

/* ---- values with a form ---- */

bool strict_length(struct str value, int64_t *out_length)
{
    int64_t number = 0; /* which so few digits cannot overflow */

    if (value.len == 0 || value.len > LENGTH_DIGITS)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return false;
        number = number * 10 + (value.ptr[i] - '0');
    }
    *out_length = number;
    return true;
}

bool strict_next_member(struct str *list, struct str *out_member)
{
    struct str member;

    if (!list->ptr)
        return false;
    if (!str_split(*list, ',', &member, list)) {
        member = *list;
        *list = (struct str){0};
    }
    while (member.len > 0 && is_blank(member.ptr[0]))
        member = str_sub(member, 1, member.len);
    while (member.len > 0 && is_blank(member.ptr[member.len - 1]))
        member.len--;
    *out_member = member;
    return true;
}

bool strict_is_hop_field(struct str name)
{
    static const struct str hop_fields[] = {
        {"te", 2},          {"upgrade", 7},           {"connection", 10},
        {"keep-alive", 10}, {"proxy-connection", 16}, {"transfer-encoding", 17}};

    for (size_t i = 0; i < ARRAY_LEN(hop_fields); i++)
        if (str_eq(name, hop_fields[i]))
            return true;
    return false;
}

bool strict_may_trail(struct str name)
{
    static const struct str never[] = {
        {"trailer", 7},        {"content-length", 14},   {"host", 4},
        {"expect", 6},         {"authorization", 13},    {"proxy-authorization", 19},
        {"cookie", 6},         {"set-cookie", 10},       {"content-type", 12},
        {"content-range", 13}, {"content-encoding", 16}, {"max-forwards", 12},
    };

    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (str_eq(name, never[i]))
            return false;
    return !strict_is_hop_field(name);
}

bool strict_is_http_itself(struct str protocol)
{
    static const struct str names[] = {{"http", 4}, {"h2c", 3}, {"h2", 2}, {"h3", 2}, {"tls", 3}};
    struct str name = protocol, version;

    (void)str_split(protocol, '/', &name, &version);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_ci(name, names[i]))
            return true;
    return false;
}
