#include "config/bootstrap_fields.h"

#include <stdio.h>

#include "certs/spiffe.h"
#include "config/files.h"
#include "config/names.h"

#define WHAT_MAX 128

static const char *what(const struct fields *fields, const char *key, char *buf)
{
    (void)snprintf(buf, WHAT_MAX, "%s%s", fields->prefix, key);
    return buf;
}

struct fields fields_below(const struct fields *fields, const char *key, const char *prefix)
{
    char buf[WHAT_MAX];
    const struct yaml *node = yaml_get(fields->node, key);
    if (!yaml_is_mapping(node, what(fields, key, buf), fields->diag))
        node = NULL;
    return (struct fields){fields->arena, fields->diag, node, prefix};
}

const struct yaml *field(const struct fields *fields, const char *key, enum field_need need)
{
    const struct yaml *node = yaml_get(fields->node, key);
    if (!node && need == FIELD_REQUIRED && fields->node)
        diag_error(fields->diag, fields->node->place, "%s%s: is required", fields->prefix, key);
    return node;
}

void field_version(const struct fields *top)
{
    const struct yaml *node = field(top, "apiVersion", FIELD_REQUIRED);
    if (node && !str_eq(node->text, STR(ISTHMUS_API_VERSION)))
        diag_error(top->diag, node->place, "apiVersion: \"%.*s\" is not " ISTHMUS_API_VERSION,
                   STR_ARG(node->text));
}

struct str field_text(const struct fields *fields, const char *key, enum field_need need,
                      const char *fallback)
{
    char buf[WHAT_MAX];
    return arena_str(fields->arena, yaml_text(field(fields, key, need), what(fields, key, buf),
                                              str_from(fallback), fields->diag));
}

struct str field_path(const struct fields *fields, const char *key, enum field_need need)
{
    char buf[WHAT_MAX];
    const struct yaml *node = field(fields, key, need);
    struct str text = yaml_text(node, what(fields, key, buf), (struct str){0}, fields->diag);
    if (!node)
        return (struct str){0};
    if (node->kind == YAML_TEXT && str_is_empty(text))
        diag_error(fields->diag, node->place, "%s: is empty, expected a path", buf);
    return file_beside(fields->arena, node->place.file, text);
}

struct str field_name(const struct fields *fields, const char *key, enum field_need need,
                      const char *fallback, bool (*is_valid)(struct str), const char *expected)
{
    char buf[WHAT_MAX];
    const struct yaml *node = field(fields, key, need);
    struct str text = yaml_text(node, what(fields, key, buf), str_from(fallback), fields->diag);
    if (node && node->kind == YAML_TEXT && !is_valid(text))
        diag_error(fields->diag, node->place, "%s: \"%.*s\" is not %s", buf, STR_ARG(text),
                   expected);
    return arena_str(fields->arena, text);
}

bool field_is_trust_domain(struct str text)
{
    return spiffe_check_trust_domain(text) == 0;
}

struct str field_trust_domain(const struct fields *fields, const char *key)
{
    return field_name(fields, key, FIELD_REQUIRED, "", field_is_trust_domain,
                      "a trust domain (lower-case letters, digits, dots, dashes)");
}

struct endpoint_name field_endpoint(const struct fields *fields, const char *key)
{
    char buf[WHAT_MAX];
    struct endpoint_name endpoint = {0};
    const struct yaml *node = field(fields, key, FIELD_REQUIRED);
    struct str text = yaml_text(node, what(fields, key, buf), (struct str){0}, fields->diag);
    if (!node || node->kind != YAML_TEXT)
        return endpoint;
    if (!name_split_host_port(text, &endpoint.host, &endpoint.port))
        diag_error(fields->diag, node->place,
                   "%s: \"%.*s\" is not host:port (such as 10.1.0.10:15012, [fd00::1]:15012 or "
                   "control.example:15012)",
                   buf, STR_ARG(text));
    endpoint.host = arena_str(fields->arena, endpoint.host);
    return endpoint;
}

uint64_t field_u64(const struct fields *fields, const char *key, uint64_t min, uint64_t max,
                   uint64_t fallback)
{
    char buf[WHAT_MAX];
    return yaml_u64(yaml_get(fields->node, key), what(fields, key, buf), min, max, fallback,
                    fields->diag);
}

uint64_t field_duration(const struct fields *fields, const char *key, uint64_t min_ns,
                        uint64_t max_ns, uint64_t fallback_ns)
{
    char buf[WHAT_MAX];
    return yaml_duration_ns(yaml_get(fields->node, key), what(fields, key, buf), min_ns, max_ns,
                            fallback_ns, fields->diag);
}

bool field_bool(const struct fields *fields, const char *key, bool fallback)
{
    char buf[WHAT_MAX];
    return yaml_bool(yaml_get(fields->node, key), what(fields, key, buf), fallback, fields->diag);
}

enum log_level field_log_level(const struct fields *fields, const char *key)
{
    char buf[WHAT_MAX];
    enum log_level level = LOG_INFO;
    const struct yaml *node = yaml_get(fields->node, key);
    struct str text = yaml_text(node, what(fields, key, buf), STR("info"), fields->diag);
    if (!log_level_parse(text, &level))
        diag_error(fields->diag, node->place, "%s: \"%.*s\" is not one of error, warn, info, debug",
                   buf, STR_ARG(text));
    return level;
}

static void add_words(const char *const *words, char *buf, size_t size)
{
    size_t len = 0;
    buf[0] = '\0';
    for (size_t i = 0; words[i] && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", i ? ", " : "", words[i]);
}

unsigned field_word(const struct fields *fields, const char *key, const char *const *words,
                    unsigned fallback)
{
    char buf[WHAT_MAX], expected[WHAT_MAX];
    const struct yaml *node = yaml_get(fields->node, key);
    struct str text =
        yaml_text(node, what(fields, key, buf), str_from(words[fallback]), fields->diag);
    for (unsigned i = 0; words[i]; i++)
        if (str_eq(text, str_from(words[i])))
            return i;
    add_words(words, expected, sizeof(expected));
    diag_error(fields->diag, node->place, "%s: \"%.*s\" is not one of %s", buf, STR_ARG(text),
               expected);
    return fallback;
}

static struct place port_place(const struct fields *fields, const char *key)
{
    const struct yaml *node = yaml_get(fields->node, key);
    if (node)
        return node->place;
    return fields->node ? fields->node->place : (struct place){0};
}

void field_ports(const struct fields *fields, const struct port_field *ports, size_t n_ports,
                 uint16_t taken, const char *taken_by)
{
    for (size_t i = 0; i < n_ports; i++) {
        const struct port_field *port = &ports[i];
        uint16_t value = (uint16_t)field_u64(fields, port->key, 1, UINT16_MAX, port->fallback);
        *port->out_port = value;
        if (taken != 0 && value == taken)
            diag_error(fields->diag, port_place(fields, port->key),
                       "%s%s: port %u is the port of %s already", fields->prefix, port->key, value,
                       taken_by);
        for (size_t j = 0; j < i; j++)
            if (*ports[j].out_port == value)
                diag_error(fields->diag, port_place(fields, port->key),
                           "%s%s: port %u is the port of %s%s already", fields->prefix, port->key,
                           value, fields->prefix, ports[j].key);
    }
}
