/*
 * spiffe.c - one pass over the bytes with two tables of allowed characters; nothing is decoded,
 * folded or normalised, so there is exactly one spelling of every ID and comparing bytes is
 * comparing identities.
 */
#include "certs/spiffe.h"

#include "proxy/base/err.h"

#define TRUST_DOMAIN_MAX 255 /* SPIFFE-ID section 2.1 */

static const struct str scheme = {"spiffe://", 9};

static bool is_trust_domain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

static bool is_path_char(char c)
{
    return is_trust_domain_char(c) || (c >= 'A' && c <= 'Z');
}

static const char *trust_domain_fault(struct str name)
{
    if (name.len == 0)
        return "the trust domain is empty";
    if (name.len > TRUST_DOMAIN_MAX)
        return "the trust domain is longer than 255 bytes";
    for (size_t i = 0; i < name.len; i++)
        if (!is_trust_domain_char(name.ptr[i]))
            return "the trust domain has a character other than a-z, 0-9, '.', '-' and '_'";
    return NULL;
}

static const char *segment_fault(struct str segment)
{
    if (segment.len == 0)
        return "the path has an empty segment or ends with '/'";
    if (str_eq(segment, STR(".")) || str_eq(segment, STR("..")))
        return "the path has a '.' or '..' segment";
    for (size_t i = 0; i < segment.len; i++)
        if (!is_path_char(segment.ptr[i]))
            return "the path has a character other than a-z, A-Z, 0-9, '.', '-' and '_'";
    return NULL;
}

/* path is empty or starts with '/'. */
static const char *path_fault(struct str path)
{
    size_t start = 1;

    for (size_t i = 1; i <= path.len; i++) {
        if (i < path.len && path.ptr[i] != '/')
            continue;
        const char *fault = segment_fault(str_sub(path, start, i - start));
        if (fault)
            return fault;
        start = i + 1;
    }
    return NULL;
}

static size_t find_slash(struct str text)
{
    size_t i = 0;

    while (i < text.len && text.ptr[i] != '/')
        i++;
    return i;
}

static const char *parse(struct str text, struct spiffe_id *id)
{
    if (text.len == 0)
        return "the SPIFFE ID is empty";
    if (text.len > SPIFFE_ID_MAX)
        return "the SPIFFE ID is longer than 2048 bytes";
    if (!str_starts_with(text, scheme))
        return "the SPIFFE ID does not start with spiffe://";
    struct str rest = str_sub(text, scheme.len, text.len);
    size_t slash = find_slash(rest);

    id->text = text;
    id->trust_domain = str_sub(rest, 0, slash);
    id->path = str_sub(rest, slash, rest.len);
    const char *fault = trust_domain_fault(id->trust_domain);
    return fault ? fault : path_fault(id->path);
}

int spiffe_parse(struct str text, struct spiffe_id *out_id, const char **out_why)
{
    struct spiffe_id id = {0};
    const char *fault = parse(text, &id);

    if (fault) {
        if (out_why)
            *out_why = fault;
        return -ERR_INVALID;
    }
    *out_id = id;
    return 0;
}

int spiffe_check_trust_domain(struct str name)
{
    return trust_domain_fault(name) ? -ERR_INVALID : 0;
}

struct str spiffe_for_workload(struct arena *arena, struct str trust_domain, struct str namespace_,
                               struct str service_account)
{
    return arena_printf(arena, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_ARG(trust_domain),
                        STR_ARG(namespace_), STR_ARG(service_account));
}

/* Takes prefix and then one whole segment off the front of *path. */
static bool take_segment(struct str *path, struct str prefix, struct str *out_segment)
{
    if (!str_starts_with(*path, prefix))
        return false;
    struct str rest = str_sub(*path, prefix.len, path->len);
    size_t slash = find_slash(rest);

    *out_segment = str_sub(rest, 0, slash);
    *path = str_sub(rest, slash, rest.len);
    return out_segment->len > 0;
}

bool spiffe_workload_parts(const struct spiffe_id *id, struct str *out_namespace,
                           struct str *out_service_account)
{
    struct str path = id->path, namespace_, service_account;

    if (!take_segment(&path, STR("/ns/"), &namespace_) ||
        !take_segment(&path, STR("/sa/"), &service_account) || path.len > 0)
        return false;
    *out_namespace = namespace_;
    *out_service_account = service_account;
    return true;
}

struct str spiffe_for_node(struct arena *arena, struct str trust_domain, struct str node)
{
    return arena_printf(arena, "spiffe://%.*s/isthmus/node/%.*s", STR_ARG(trust_domain),
                        STR_ARG(node));
}

struct str spiffe_for_control(struct arena *arena, struct str trust_domain)
{
    return arena_printf(arena, "spiffe://%.*s/isthmus/control", STR_ARG(trust_domain));
}

bool spiffe_node_name(const struct spiffe_id *id, struct str *out_node)
{
    struct str path = id->path, node;

    if (!take_segment(&path, STR("/isthmus/node/"), &node) || path.len > 0)
        return false;
    *out_node = node;
    return true;
}

struct str spiffe_principal(const struct spiffe_id *id)
{
    return str_sub(id->text, scheme.len, id->text.len);
}
