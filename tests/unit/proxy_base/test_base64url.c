#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/base64url.h"

Test(base64url, decodes_what_is_strictly_that)
{
    static const struct {
        const char *text, *bytes; /* NULL: refused */
    } rows[] = {
        {"", ""},        {"Zg", "f"},        {"Zm8", "fo"},
        {"Zm9v", "foo"}, {"Zm9vYg", "foob"}, {"-_-_", "\xfb\xff\xbf"},
        {"Zh", NULL},    {"Zm9", NULL},      {"Z", NULL},
        {"Zm9vY", NULL}, {"Zg==", NULL},     {"Zm9v\n", NULL},
        {"+/+/", NULL},  {"Zm 9v", NULL},    {"Zm9v.", NULL},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned char out[32];
        size_t len = 99;
        const bool is_good = base64url_decode(str_from(rows[i].text), out, &len);

        cr_assert_eq(is_good, rows[i].bytes != NULL, "\"%s\"", rows[i].text);
        if (is_good)
            cr_assert(str_eq(str_of(out, len), str_from(rows[i].bytes)), "\"%s\"", rows[i].text);
    }
}
