#include "proxy/base/text.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/mem.h"

#define TEXT_LIMIT_BYTES ((size_t)64 << 20)
#define TEXT_FIRST_BYTES ((size_t)128)

/* Makes room for len more bytes and the NUL; false when the limit forbids it, and from then on. */
static bool grow(struct text *text, size_t len)
{
    size_t limit = text->limit ? text->limit : TEXT_LIMIT_BYTES;
    size_t cap = text->cap ? text->cap : TEXT_FIRST_BYTES;

    if (text->truncated || len > limit || text->len > limit - len) {
        text->truncated = true;
        return false;
    }
    while (cap < text->len + len + 1)
        cap *= 2;
    if (cap != text->cap) {
        text->ptr = mem_realloc(text->ptr, cap);
        text->cap = cap;
    }
    return true;
}

static inline bool make_room(struct text *text, size_t len)
{
    const bool is_there = len < text->cap - text->len && text->limit == 0 && !text->truncated &&
                          text->cap <= TEXT_LIMIT_BYTES;
    return is_there || grow(text, len);
}

void text_add(struct text *text, struct str part)
{
    if (!make_room(text, part.len))
        return;
    if (part.len)
        memcpy(text->ptr + text->len, part.ptr, part.len);
    text->len += part.len;
    text->ptr[text->len] = '\0';
}

void text_addc(struct text *text, char c)
{
    if (!make_room(text, 1))
        return;
    text->ptr[text->len++] = c;
    text->ptr[text->len] = '\0';
}

void text_add_u64(struct text *text, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    text_add(text, str_of(digits + at, sizeof(digits) - at));
}

void text_addf(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text_addv(text, format, args);
    va_end(args);
}

void text_addv(struct text *text, const char *format, va_list args)
{
    char small[256];
    va_list again;
    int len;

    va_copy(again, args);
    len = vsnprintf(small, sizeof(small), format, args);
    ensure(len >= 0);
    if ((size_t)len < sizeof(small)) {
        text_add(text, (struct str){small, (size_t)len});
    } else if (make_room(text, (size_t)len)) {
        (void)vsnprintf(text->ptr + text->len, (size_t)len + 1, format, again);
        text->len += (size_t)len;
    }
    va_end(again);
}

static void add_escaped(struct text *text, char c)
{
    switch (c) {
    case '"': text_add(text, STR("\\\"")); break;
    case '\\': text_add(text, STR("\\\\")); break;
    case '\n': text_add(text, STR("\\n")); break;
    case '\r': text_add(text, STR("\\r")); break;
    case '\t': text_add(text, STR("\\t")); break;
    default: text_addf(text, "\\u%04x", (unsigned)(unsigned char)c);
    }
}

/* Printable ASCII that stands for itself: nearly every byte of nearly every name. */
static bool is_plain(char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

/* The same of eight bytes: one that is not sets the top bit of a byte of `odd`. Subtracting borrows
 * from the next byte only where one was odd itself. */
static bool are_plain(const char *eight)
{
    uint64_t w;

    memcpy(&w, eight, sizeof(w));
    const uint64_t odd = w | (w + EACH_BYTE(1)) | (w - EACH_BYTE(0x20)) |
                         ((w ^ EACH_BYTE('"')) - EACH_BYTE(1)) |
                         ((w ^ EACH_BYTE('\\')) - EACH_BYTE(1));
    return (odd & EACH_BYTE(0x80)) == 0;
}

static size_t skip_plain(struct str part, size_t at)
{
    while (part.len - at >= sizeof(uint64_t) && are_plain(part.ptr + at))
        at += sizeof(uint64_t);
    if (at < part.len && part.len >= sizeof(uint64_t) && part.len - at < sizeof(uint64_t) &&
        /* the rest, with some before it */
        are_plain(part.ptr + part.len - sizeof(uint64_t)))
        return part.len;
    while (at < part.len && is_plain(part.ptr[at]))
        at++;
    return at;
}

/* Of a sequence of well-formed UTF-8: shown as it is, it would act on who looks at it. */
static bool is_active(const char *at, size_t len, unsigned *out_code)
{
    const unsigned char *p = (const unsigned char *)at;
    unsigned c = 0;

    if (len == 2)
        c = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    else if (len == 3)
        c = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    *out_code = c;
    return (c >= 0x80 && c <= 0x9f) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void text_add_json(struct text *text, struct str part)
{
    size_t plain = 0; /* where the run of bytes that need no care began */
    size_t at = 0;

    while ((at = skip_plain(part, at)) < part.len) {
        size_t len = str_utf8_len(part, at);

        unsigned code = 0;

        if (len > 1 && !is_active(part.ptr + at, len, &code)) {
            at += len;
            continue;
        }
        text_add(text, str_sub(part, plain, at - plain));
        if (len == 0)
            text_add(text, STR("\xef\xbf\xbd"));
        else if (len == 1)
            add_escaped(text, part.ptr[at]);
        else
            text_addf(text, "\\u%04x", code);
        at += len > 1 ? len : 1;
        plain = at;
    }
    text_add(text, str_sub(part, plain, at - plain));
}

void text_add_printable(struct text *text, struct str part)
{
    for (size_t at = 0; at < part.len;) {
        const size_t len = str_utf8_len(part, at);
        const unsigned char c = (unsigned char)part.ptr[at];
        unsigned code = 0;

        if (len == 0 || c < 0x20 || c == 0x7f || (len > 1 && is_active(part.ptr + at, len, &code)))
            text_addc(text, '?');
        else
            text_add(text, str_sub(part, at, len));
        at += len > 1 ? len : 1;
    }
}

void text_add_json_member(struct text *text, struct str before, struct str value)
{
    if (!make_room(text, before.len + value.len + 1) || skip_plain(value, 0) < value.len) {
        text_add(text, before);
        text_add_json(text, value);
        text_addc(text, '"');
        return;
    }
    char *at = text->ptr + text->len;
    if (before.len)
        memcpy(at, before.ptr, before.len);
    if (value.len)
        memcpy(at + before.len, value.ptr, value.len);
    at += before.len + value.len;
    at[0] = '"';
    at[1] = '\0';
    text->len += before.len + value.len + 1;
}

void text_add_json_string(struct text *text, struct str part)
{
    text_addc(text, '"');
    text_add_json(text, part);
    text_addc(text, '"');
}

struct str text_str(const struct text *text)
{
    return (struct str){text->ptr, text->len};
}

void text_clear(struct text *text)
{
    text->len = 0;
    text->truncated = false;
    if (text->ptr)
        text->ptr[0] = '\0';
}

void text_fini(struct text *text)
{
    mem_free(text->ptr);
    *text = (struct text){.limit = text->limit};
}
