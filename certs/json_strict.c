#include "certs/json_strict.h"

size_t json_strict_depth(struct str json)
{
    size_t depth = 0, deepest = 0;
    bool in_string = false;

    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];

        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            deepest = ++depth > deepest ? depth : deepest;
        else if (!in_string && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return deepest;
}

static void tell(struct text *why, const char *sentence)
{
    if (why)
        text_add(why, str_from(sentence));
}

json_t *json_strict_load(struct str json, struct json_bounds bounds, struct text *why)
{
    json_error_t error;

    if (json.len > bounds.bytes) {
        tell(why, "it is too long");
        return NULL;
    }
    if (json_strict_depth(json) > bounds.depth) {
        tell(why, "it is nested too deep");
        return NULL;
    }
    json_t *root = json_loadb(json.ptr ? json.ptr : "", json.len, JSON_REJECT_DUPLICATES, &error);
    if (!root && why)
        text_addf(why, "line %d, column %d: %s", error.line, error.column, error.text);
    return root;
}

struct str json_strict_text(const json_t *value)
{
    return json_is_string(value) ? str_of(json_string_value(value), json_string_length(value))
                                 : (struct str){0};
}
