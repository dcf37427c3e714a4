#include "xds/grpc_frame.h"

#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/base/percent.h"
#include "xds/grpc.h"

#define FIRST_CAP ((size_t)16384)
#define KEPT_CAP  ((size_t)65536) /* a larger buffer is not kept between messages */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static struct str take_front(struct str *bytes, size_t len)
{
    struct str front = str_sub(*bytes, 0, len);

    *bytes = str_sub(*bytes, len, bytes->len - len);
    return front;
}

/* Reads the prefix: true when it is whole. */
static bool take_prefix(struct grpc_reader *reader, struct str *bytes)
{
    struct str part = take_front(bytes, min_size(GRPC_PREFIX_BYTES - reader->n_prefix, bytes->len));

    if (part.len)
        memcpy(reader->prefix + reader->n_prefix, part.ptr, part.len);
    reader->n_prefix += part.len;
    if (reader->n_prefix < GRPC_PREFIX_BYTES)
        return false;
    reader->want = (size_t)reader->prefix[1] << 24 | (size_t)reader->prefix[2] << 16 |
                   (size_t)reader->prefix[3] << 8 | reader->prefix[4];
    return true;
}

static void grow(struct grpc_reader *reader, size_t cap)
{
    if (reader->is_secret) {
        char *buffer = mem_alloc(cap);

        if (reader->len)
            memcpy(buffer, reader->buffer, reader->len);
        if (reader->buffer)
            mem_wipe(reader->buffer, reader->cap);
        mem_free(reader->buffer);
        reader->buffer = buffer;
    } else {
        reader->buffer = mem_realloc(reader->buffer, cap);
    }
    reader->cap = cap;
}

static void gather(struct grpc_reader *reader, struct str part)
{
    size_t need = reader->len + part.len;

    if (need > reader->cap) {
        size_t cap = reader->cap ? reader->cap : FIRST_CAP;
        while (cap < need)
            cap *= 2;
        grow(reader, cap);
    }
    if (part.len)
        memcpy(reader->buffer + reader->len, part.ptr, part.len);
    reader->len = need;
}

/* The last message was used: its memory goes if it was large. */
static void drop_large_buffer(struct grpc_reader *reader)
{
    if (reader->n_prefix == 0 && (reader->cap > KEPT_CAP || (reader->is_secret && reader->cap)))
        grpc_reader_fini(reader);
}

enum grpc_read grpc_reader_take(struct grpc_reader *reader, struct str *bytes,
                                struct str *out_message)
{
    drop_large_buffer(reader);
    if (reader->n_prefix < GRPC_PREFIX_BYTES) {
        if (!take_prefix(reader, bytes))
            return GRPC_READ_MORE;
        if (reader->prefix[0] != 0)
            return GRPC_READ_COMPRESSED;
        if (reader->want > reader->max_bytes)
            return GRPC_READ_TOO_LARGE;
    }
    if (reader->len == 0 && bytes->len >= reader->want) {
        *out_message = take_front(bytes, reader->want);
    } else {
        gather(reader, take_front(bytes, min_size(reader->want - reader->len, bytes->len)));
        if (reader->len < reader->want)
            return GRPC_READ_MORE;
        *out_message = str_of(reader->buffer, reader->len);
    }
    reader->n_prefix = reader->len = 0;
    return GRPC_READ_MESSAGE;
}

bool grpc_reader_is_inside(const struct grpc_reader *reader)
{
    return reader->n_prefix > 0;
}

void grpc_reader_fini(struct grpc_reader *reader)
{
    if (reader->is_secret && reader->buffer)
        mem_wipe(reader->buffer, reader->cap);
    mem_free(reader->buffer);
    *reader = (struct grpc_reader){.max_bytes = reader->max_bytes, .is_secret = reader->is_secret};
}

void grpc_prefix(uint8_t *out_prefix, size_t len)
{
    ensure(len <= UINT32_MAX);
    out_prefix[0] = 0;
    for (unsigned i = 0; i < 4; i++)
        out_prefix[1 + i] = (uint8_t)(len >> (24 - 8 * i));
}

int grpc_status_of_http(struct str http_status)
{
    static const struct {
        const char *http;
        int status;
    } rows[] = {
        {"400", GRPC_INTERNAL},      {"401", GRPC_UNAUTHENTICATED}, {"403", GRPC_PERMISSION_DENIED},
        {"404", GRPC_UNIMPLEMENTED}, {"429", GRPC_UNAVAILABLE},     {"502", GRPC_UNAVAILABLE},
        {"503", GRPC_UNAVAILABLE},   {"504", GRPC_UNAVAILABLE},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(http_status, str_from(rows[i].http)))
            return rows[i].status;
    return GRPC_UNKNOWN;
}

int grpc_status_parse(struct str value)
{
    uint64_t status;

    return str_to_u64(value, GRPC_UNAUTHENTICATED, &status) ? (int)status : GRPC_UNKNOWN;
}

void grpc_message_encode(struct str message, struct text *out)
{
    for (size_t i = 0; i < message.len; i++) {
        unsigned char c = (unsigned char)message.ptr[i];
        if (c < 0x20 || c > 0x7e || c == '%')
            text_addf(out, "%%%02X", c);
        else
            text_addc(out, (char)c);
    }
}

void grpc_message_decode(struct str value, struct text *out)
{
    while (value.len > 0)
        text_addc(out, (char)percent_next(&value));
}
