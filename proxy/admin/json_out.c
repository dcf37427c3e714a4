#include "proxy/admin/json_out.h"

#include "proxy/base/clock.h"

void json_out_comma(struct text *out)
{
    if (out->len > 0 && out->ptr[out->len - 1] != '{' && out->ptr[out->len - 1] != '[')
        text_addc(out, ',');
}

void json_out_key(struct text *out, const char *key)
{
    json_out_comma(out);
    text_addf(out, "\"%s\":", key);
}

void json_out_str(struct text *out, const char *key, struct str value)
{
    json_out_key(out, key);
    text_add_json_string(out, value);
}

void json_out_size(struct text *out, const char *key, size_t value)
{
    json_out_key(out, key);
    text_addf(out, "%zu", value);
}

void json_out_bool(struct text *out, const char *key, bool value)
{
    json_out_key(out, key);
    text_add(out, value ? STR("true") : STR("false"));
}

void json_out_known(struct text *out, const char *key, double value)
{
    json_out_key(out, key);
    if (value < 0)
        text_add(out, STR("null"));
    else
        text_addf(out, "%.2f", value);
}

void json_out_time(struct text *out, const char *key, int64_t wall_ns)
{
    char buf[CLOCK_TEXT_MAX];
    json_out_key(out, key);
    if (wall_ns == 0)
        text_add(out, STR("null"));
    else
        text_addf(out, "\"%s\"", clock_text(wall_ns, buf));
}
