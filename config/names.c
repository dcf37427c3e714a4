#include "config/names.h"

static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_alnum(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

bool name_is_label(struct str text)
{
    if (text.len == 0 || text.len > NAME_LABEL_MAX)
        return false;
    if (!is_alnum(text.ptr[0]) || !is_alnum(text.ptr[text.len - 1]))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!is_alnum(text.ptr[i]) && text.ptr[i] != '-')
            return false;
    return true;
}

/* Kubernetes bounds a subdomain as a whole, not its labels, at 63; DNS does, and these names go
 * into DNS. */
bool name_is_subdomain(struct str text)
{
    struct str head, tail;
    if (text.len > NAME_SUBDOMAIN_MAX)
        return false;
    while (str_split(text, '.', &head, &tail)) {
        if (!name_is_label(head))
            return false;
        text = tail;
    }
    return name_is_label(text);
}

bool name_is_port(struct str text)
{
    bool has_letter = false;
    if (text.len > 15 || !name_is_label(text) || str_contains(text, STR("--")))
        return false;
    for (size_t i = 0; i < text.len; i++)
        has_letter = has_letter || is_letter(text.ptr[i]);
    return has_letter;
}

bool name_is_uid(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        if (!is_letter(c) && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-' &&
            c != '.' && c != '_')
            return false;
    }
    return text.len > 0 && text.len <= NAME_UID_MAX;
}

bool name_is_cluster(struct str text)
{
    return text.len <= NAME_CLUSTER_MAX && name_is_subdomain(text);
}

/* "10.0.0.300" is a valid subdomain by its letters, but nobody means a name by it. */
static bool looks_like_ipv4(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != '.' && !(text.ptr[i] >= '0' && text.ptr[i] <= '9'))
            return false;
    return true;
}

static bool is_host(struct str text, bool in_brackets)
{
    struct ip ip;
    if (ip_parse(text, &ip) == 0)
        return in_brackets == str_contains(text, STR(":"));
    return !in_brackets && !looks_like_ipv4(text) && name_is_subdomain(text);
}

bool name_split_host_port(struct str text, struct str *out_host, uint16_t *out_port)
{
    struct str host, port_text;
    uint64_t port;
    if (!str_rsplit(text, ':', &host, &port_text) || !str_to_u64(port_text, UINT16_MAX, &port) ||
        port == 0)
        return false;
    bool in_brackets = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (in_brackets)
        host = str_sub(host, 1, host.len - 2);
    if (!is_host(host, in_brackets))
        return false;
    *out_host = host;
    *out_port = (uint16_t)port;
    return true;
}
