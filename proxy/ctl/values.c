#include "proxy/ctl/values.h"

#define DEPTH_MAX 6 /* of objects in objects in one cell; what lies deeper is shown as "..." */

#define S_PER_MIN  60
#define S_PER_HOUR 3600
#define S_PER_DAY  86400

struct str value_str(json_t *value)
{
    if (!json_is_string(value))
        return (struct str){0};
    return str_of(json_string_value(value), json_string_length(value));
}

/* ---- numbers with units ---- */

static void add_seconds(struct text *out, long long s)
{
    if (s < S_PER_MIN)
        text_addf(out, "%llds", s);
    else if (s < S_PER_HOUR)
        text_addf(out, "%lldm%02llds", s / S_PER_MIN, s % S_PER_MIN);
    else if (s < S_PER_DAY)
        text_addf(out, "%lldh%02lldm", s / S_PER_HOUR, s % S_PER_HOUR / S_PER_MIN);
    else
        text_addf(out, "%lldd%02lldh", s / S_PER_DAY, s % S_PER_DAY / S_PER_HOUR);
}

static void add_milliseconds(struct text *out, long long ms)
{
    if (ms < 1000)
        text_addf(out, "%lldms", ms);
    else
        add_seconds(out, ms / 1000);
}

static void add_bytes(struct text *out, long long bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double scaled = (double)bytes / 1024;
    if (bytes < 1024) {
        text_addf(out, "%lldB", bytes);
        return;
    }
    for (; scaled >= 1023.95 && unit + 1 < ARRAY_LEN(units); unit++)
        scaled /= 1024;
    text_addf(out, "%.1f%s", scaled, units[unit]);
}

static void add_integer(struct text *out, struct str key, long long value)
{
    if (value >= 0 && str_ends_with(key, STR("_ms")))
        add_milliseconds(out, value);
    else if (value >= 0 && str_ends_with(key, STR("_s")))
        add_seconds(out, value);
    else if (value >= 0 && str_contains(key, STR("bytes")))
        add_bytes(out, value);
    else
        text_addf(out, "%lld", value);
}

void value_add_heading(struct text *out, const char *key)
{
    struct str name = str_from(key);
    if (str_ends_with(name, STR("_ms")))
        name.len -= 3;
    else if (str_ends_with(name, STR("_s")))
        name.len -= 2;
    for (size_t i = 0; i < name.len; i++)
        text_add(out, name.ptr[i] == '_' ? STR(" ") : str_sub(name, i, 1));
}

/* ---- values in values ---- */

/* Recursion is bounded by DEPTH_MAX: the depth is the server's choice. */
static void add_value(struct text *out, const char *key, json_t *value, unsigned depth);

static void add_list(struct text *out, const char *key, json_t *list, unsigned depth)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0)
            text_add(out, STR(", "));
        add_value(out, key, json_array_get(list, i), depth);
    }
}

/* A condition as Kubernetes writes them: "Valid=True", "Conflict=True (PortConflict): the ports
 * differ". */
static bool add_condition(struct text *out, json_t *object)
{
    const struct str type = value_str(json_object_get(object, "type"));
    const struct str status = value_str(json_object_get(object, "status"));
    const struct str reason = value_str(json_object_get(object, "reason"));
    const struct str message = value_str(json_object_get(object, "message"));
    if (str_is_empty(type) || str_is_empty(status))
        return false;
    text_addf(out, "%.*s=%.*s", STR_ARG(type), STR_ARG(status));
    if (!str_is_empty(reason) && !str_eq(reason, type))
        text_addf(out, " (%.*s)", STR_ARG(reason));
    if (!str_is_empty(message))
        text_addf(out, ": %.*s", STR_ARG(message));
    return true;
}

static void add_object(struct text *out, json_t *object, unsigned depth)
{
    const char *key;
    json_t *value;
    bool is_first = true;
    if (add_condition(out, object))
        return;
    json_object_foreach(object, key, value)
    {
        text_addf(out, "%s%s=", is_first ? "" : " ", key);
        add_value(out, key, value, depth);
        is_first = false;
    }
}

static void add_value(struct text *out, const char *key, json_t *value, unsigned depth)
{
    switch (json_typeof(value)) {
    case JSON_NULL: break;
    case JSON_TRUE: text_add(out, STR("yes")); break;
    case JSON_FALSE: text_add(out, STR("no")); break;
    case JSON_STRING: text_add(out, value_str(value)); break;
    case JSON_INTEGER: add_integer(out, str_from(key), json_integer_value(value)); break;
    case JSON_REAL: text_addf(out, "%g", json_real_value(value)); break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (depth >= DEPTH_MAX)
            text_add(out, STR("..."));
        else if (json_is_array(value))
            add_list(out, key, value, depth + 1);
        else
            add_object(out, value, depth + 1);
        break;
    }
}

void value_add(struct text *out, const char *key, json_t *value)
{
    if (value)
        add_value(out, key, value, 0);
}

static bool contains(json_t *value, struct str part, unsigned depth)
{
    const char *key;
    json_t *member;
    if (json_is_string(value))
        return str_contains(value_str(value), part);
    if (depth >= DEPTH_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (contains(json_array_get(value, i), part, depth + 1))
            return true;
    }
    json_object_foreach(value, key, member)
    {
        if (contains(member, part, depth + 1))
            return true;
    }
    return false;
}

bool value_contains(json_t *value, struct str part)
{
    return contains(value, part, 0);
}
