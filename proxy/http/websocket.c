#include "proxy/http/websocket.h"

#include <string.h>

#include "proxy/base/rng.h"

#define SHA1_BYTES  20u
#define BLOCK_BYTES 64u
#define INPUT_MAX   119u /* what two blocks hold, with the length behind it */

bool websocket_is(struct str protocol)
{
    return str_eq_ci(protocol, STR("websocket"));
}

static void to_base64(const uint8_t *bytes, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        const uint32_t second = i + 1 < len ? bytes[i + 1] : 0;
        const uint32_t third = i + 2 < len ? bytes[i + 2] : 0;
        const uint32_t group = (uint32_t)bytes[i] << 16 | second << 8 | third;
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = i + 1 < len ? digits[group >> 6 & 63] : '=';
        *out++ = i + 2 < len ? digits[group & 63] : '=';
    }
}

void websocket_make_key(char *out_key)
{
    uint8_t nonce[16];

    rng_secret(nonce, sizeof(nonce));
    to_base64(nonce, sizeof(nonce), out_key);
}

/* ------------------------------------------------------------------ SHA-1, RFC 3174 */

static uint32_t rotated(uint32_t word, unsigned bits)
{
    return word << bits | word >> (32 - bits);
}

static void expand(const uint8_t *block, uint32_t *words)
{
    for (size_t t = 0; t < 16; t++)
        words[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
                   (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (unsigned t = 16; t < 80; t++)
        words[t] = rotated(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1);
}

static uint32_t mixed(unsigned t, uint32_t b, uint32_t c, uint32_t d)
{
    if (t < 20)
        return ((b & c) | (~b & d)) + 0x5a827999;
    if (t < 40)
        return (b ^ c ^ d) + 0x6ed9eba1;
    if (t < 60)
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void add_block(uint32_t h[5], const uint8_t *block)
{
    uint32_t words[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

    expand(block, words);
    for (unsigned t = 0; t < 80; t++) {
        const uint32_t next = rotated(a, 5) + mixed(t, b, c, d) + e + words[t];
        e = d;
        d = c;
        c = rotated(b, 30);
        b = a;
        a = next;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

static void sha1(const uint8_t *bytes, size_t len, uint8_t out[SHA1_BYTES])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t padded[2 * BLOCK_BYTES] = {0};
    const size_t n_bytes = len + 9 <= BLOCK_BYTES ? BLOCK_BYTES : 2 * BLOCK_BYTES;

    ensure(len <= INPUT_MAX);
    memcpy(padded, bytes, len);
    padded[len] = 0x80;
    padded[n_bytes - 2] = (uint8_t)(len * 8 >> 8);
    padded[n_bytes - 1] = (uint8_t)(len * 8);
    for (size_t at = 0; at < n_bytes; at += BLOCK_BYTES)
        add_block(h, padded + at);
    for (unsigned i = 0; i < SHA1_BYTES; i++)
        out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

void websocket_accept(struct str key, char *out_accept)
{
    static const struct str guid = {"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36};
    uint8_t text[INPUT_MAX], sum[SHA1_BYTES];

    ensure(key.len == WEBSOCKET_KEY_LEN);
    memcpy(text, key.ptr, key.len);
    memcpy(text + key.len, guid.ptr, guid.len);
    sha1(text, key.len + guid.len, sum);
    to_base64(sum, sizeof(sum), out_accept);
}
