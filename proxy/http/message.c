#include "proxy/http/message.h"

struct str http_find(const struct http_fields *fields, const char *name)
{
    const struct str wanted = str_from(name);
    for (size_t i = 0; i < fields->len; i++)
        if (str_eq(fields->at[i].name, wanted))
            return fields->at[i].value;
    return (struct str){0};
}
