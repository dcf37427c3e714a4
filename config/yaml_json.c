/* A tree as JSON. */
#include "config/yaml.h"

static size_t n_digits(struct str text, size_t at)
{
    size_t n = 0;
    while (at + n < text.len && text.ptr[at + n] >= '0' && text.ptr[at + n] <= '9')
        n++;
    return n;
}

static bool is_at(struct str text, size_t at, const char *any)
{
    return str_sub(text, at, 1).len == 1 && str_contains(str_from(any), str_sub(text, at, 1));
}

/* RFC 8259 section 6 */
static bool is_number(struct str text)
{
    size_t at = is_at(text, 0, "-") ? 1 : 0, n = n_digits(text, at);
    if (n == 0 || (n > 1 && text.ptr[at] == '0'))
        return false;
    at += n;
    if (is_at(text, at, ".")) {
        n = n_digits(text, ++at);
        at += n;
    }
    if (n > 0 && is_at(text, at, "eE")) {
        at += is_at(text, at + 1, "+-") ? 2 : 1;
        n = n_digits(text, at);
        at += n;
    }
    return n > 0 && at == text.len;
}

/* What JSON has without quotes. Other plain scalars are texts to every reader of ours. */
static bool is_bare(const struct yaml *node)
{
    return !node->quoted && (str_eq(node->text, STR("true")) || str_eq(node->text, STR("false")) ||
                             is_number(node->text));
}

static void add_sequence(const struct yaml *node, struct text *out)
{
    text_addc(out, '[');
    for (size_t i = 0; i < node->len; i++) {
        if (i > 0)
            text_addc(out, ',');
        yaml_json(node->items[i], out);
    }
    text_addc(out, ']');
}

static void add_mapping(const struct yaml *node, struct text *out)
{
    text_addc(out, '{');
    for (size_t i = 0; i < node->len; i++) {
        if (i > 0)
            text_addc(out, ',');
        text_add_json_string(out, node->keys[i]->text);
        text_addc(out, ':');
        yaml_json(node->items[i], out);
    }
    text_addc(out, '}');
}

void yaml_json(const struct yaml *node, struct text *out)
{
    switch (node->kind) {
    case YAML_NULL: text_add(out, STR("null")); break;
    case YAML_SEQUENCE: add_sequence(node, out); break;
    case YAML_MAPPING: add_mapping(node, out); break;
    case YAML_TEXT:
        if (is_bare(node))
            text_add(out, node->text);
        else
            text_add_json_string(out, node->text);
        break;
    }
}
