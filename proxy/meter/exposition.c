#include "proxy/meter/exposition.h"

void exposition_head(struct text *out, const char *name, const char *kind, const char *help)
{
    text_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static struct str escape_of(char c)
{
    switch (c) {
    case '\\': return STR("\\\\");
    case '"': return STR("\\\"");
    case '\n': return STR("\\n");
    default: return (struct str){0};
    }
}

static void add_value(struct text *out, struct str value)
{
    size_t plain = 0; /* where the run of bytes that need no care began */
    size_t at = 0;

    while (at < value.len) {
        size_t len = str_utf8_len(value, at);
        struct str instead = len ? escape_of(value.ptr[at]) : STR("\xef\xbf\xbd");
        if (str_is_empty(instead)) {
            at += len;
            continue;
        }
        text_add(out, str_sub(value, plain, at - plain));
        text_add(out, instead);
        plain = ++at;
    }
    text_add(out, str_sub(value, plain, at - plain));
}

void exposition_label(struct text *out, const char *name, struct str value)
{
    text_add(out, str_from(name));
    text_add(out, STR("=\""));
    add_value(out, value);
    text_addc(out, '"');
}
