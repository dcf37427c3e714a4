#include "proxy/base/percent.h"

int percent_byte(struct str text, size_t at)
{
    if (at + 2 >= text.len || text.ptr[at] != '%')
        return -1;
    const int high = ascii_hex(text.ptr[at + 1]), low = ascii_hex(text.ptr[at + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool percent_normalize(struct str text, char *to, size_t *out_len)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        const int byte = text.ptr[i] == '%' ? percent_byte(text, i) : (unsigned char)text.ptr[i];
        if (byte < 0)
            return false;
        if (text.ptr[i] != '%') {
            to[len++] = (char)byte;
            continue;
        }
        i += 2;
        if (percent_is_unreserved((unsigned char)byte)) {
            to[len++] = (char)byte;
            continue;
        }
        to[len++] = '%';
        to[len++] = digits[byte >> 4];
        to[len++] = digits[byte & 15];
    }
    *out_len = len;
    return true;
}

size_t percent_decode(struct str text, char *to)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        const int byte = percent_byte(text, i);
        to[len++] = byte < 0 ? text.ptr[i] : (char)byte;
        i += byte < 0 ? 0 : 2;
    }
    return len;
}

int percent_next(struct str *rest)
{
    if (rest->len == 0)
        return -1;
    const int escaped = percent_byte(*rest, 0);
    const int byte = escaped < 0 ? (unsigned char)rest->ptr[0] : escaped;
    *rest = str_sub(*rest, escaped < 0 ? 1 : 3, rest->len);
    return byte;
}

bool percent_says(struct str text, struct str plain)
{
    for (size_t i = 0; i < plain.len; i++)
        if (percent_next(&text) != (unsigned char)plain.ptr[i])
            return false;
    return text.len == 0;
}
