#include "proxy/base/base64url.h"

/* The six bits of a character; 64 and more: none. */
static unsigned sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    return c == '-' ? 62 : c == '_' ? 63 : 64;
}

bool base64url_decode(struct str text, unsigned char *out, size_t *out_len)
{
    unsigned bits = 0, n_bits = 0;
    size_t len = 0;

    if (text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        const unsigned six = sextet(text.ptr[i]);

        if (six > 63)
            return false;
        bits = (bits << 6 | six) & 0xffffU;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out[len++] = (unsigned char)(bits >> n_bits & 0xffU);
        }
    }
    *out_len = len;
    return (bits & ((1U << n_bits) - 1)) == 0;
}
