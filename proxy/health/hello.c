/*
 * The ClientHello is one that every server of TLS 1.2 or 1.3 with an ordinary set of suites can
 * answer: random bytes stand where a real client has its secrets, since nothing follows.
 */
#include "proxy/health/hello.h"

#include "proxy/base/mem.h"
#include "proxy/base/text.h"

#define RECORD_ALERT     21
#define RECORD_HANDSHAKE 22
#define HELLO_SERVER     2
#define RANDOM_BYTES     32
#define NAME_MAX_BYTES   255

struct hello {
    struct loop *loop;
    struct stream *stream;
    uint8_t head[7]; /* of the first record: its header, and the first bytes of what it holds */
    size_t len;
    void (*on_done)(void *owner, enum answer answer, struct str why);
    void *owner;
};

/* ---- the message ---- */

static void add_u8(struct text *out, unsigned value)
{
    text_addc(out, (char)(uint8_t)value);
}

static void add_u16(struct text *out, size_t value)
{
    add_u8(out, (unsigned)(value >> 8) & 0xff);
    add_u8(out, (unsigned)value & 0xff);
}

static void add_random(struct text *out)
{
    char bytes[RANDOM_BYTES];
    rng_secret(bytes, sizeof bytes);
    text_add(out, str_of(bytes, sizeof bytes));
}

static void add_extension(struct text *out, unsigned type, struct str body)
{
    add_u16(out, type);
    add_u16(out, body.len);
    text_add(out, body);
}

#define BYTES(literal) str_of(literal, sizeof(literal) - 1)

static void add_server_name(struct text *out, struct str host)
{
    struct text body = {0};
    add_u16(&body, host.len + 3);
    add_u8(&body, 0); /* host_name */
    add_u16(&body, host.len);
    text_add(&body, host);
    add_extension(out, 0, text_str(&body));
    text_fini(&body);
}

static void add_key_share(struct text *out)
{
    struct text body = {0};
    add_u16(&body, 4 + RANDOM_BYTES);
    add_u16(&body, 0x001d); /* X25519: any 32 bytes are a public key */
    add_u16(&body, RANDOM_BYTES);
    add_random(&body);
    add_extension(out, 51, text_str(&body));
    text_fini(&body);
}

static void add_extensions(struct text *out, struct str host)
{
    if (!str_is_empty(host) && host.len <= NAME_MAX_BYTES)
        add_server_name(out, host);
    add_extension(out, 10, BYTES("\x00\x06\x00\x1d\x00\x17\x00\x18")); /* X25519, P-256, P-384 */
    add_extension(out, 11, BYTES("\x01\x00"));                         /* uncompressed points */
    add_extension(out, 13, /* ECDSA, RSA-PSS, RSA PKCS #1, Ed25519 */
                  BYTES("\x00\x12\x04\x03\x05\x03\x08\x04\x08\x05\x08\x06\x04\x01\x05\x01\x06\x01"
                        "\x08\x07"));
    add_extension(out, 43, BYTES("\x04\x03\x04\x03\x03")); /* TLS 1.3, 1.2 */
    add_key_share(out);
}

static void add_body(struct text *out, struct str host)
{
    struct text extensions = {0};
    add_u16(out, 0x0303);
    add_random(out);
    add_u8(out, RANDOM_BYTES); /* a session's name, as middleboxes expect one */
    add_random(out);
    const struct str suites = BYTES("\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30"
                                    "\xcc\xa9\xcc\xa8\x00\x9c\x00\x9d\x00\x2f");
    add_u16(out, suites.len);
    text_add(out, suites);
    text_add(out, BYTES("\x01\x00")); /* no compression */
    add_extensions(&extensions, host);
    add_u16(out, extensions.len);
    text_add(out, text_str(&extensions));
    text_fini(&extensions);
}

static void write_hello(struct stream *stream, struct str host)
{
    struct text body = {0}, record = {0};
    add_body(&body, host);
    add_u8(&record, RECORD_HANDSHAKE);
    add_u16(&record, 0x0301);
    add_u16(&record, body.len + 4);
    add_u8(&record, 1); /* ClientHello */
    add_u8(&record, 0);
    add_u16(&record, body.len);
    text_add(&record, text_str(&body));
    (void)stream_write_copy(stream, record.ptr, record.len);
    text_fini(&record);
    text_fini(&body);
}

/* ---- the answer ---- */

static void free_hello(void *ptr)
{
    mem_free(ptr);
}

void hello_cancel(struct hello *hello)
{
    stream_close(hello->stream, -ERR_SHUTDOWN);
    loop_bury(hello->loop, hello, free_hello);
}

static void finish(struct hello *hello, enum answer answer, const char *why)
{
    hello_cancel(hello);
    hello->on_done(hello->owner, answer, str_from(why));
}

static void on_data(void *owner, struct slice bytes)
{
    struct hello *hello = owner;
    for (size_t i = 0; i < bytes.len && hello->len < sizeof hello->head; i++)
        hello->head[hello->len++] = bytes.ptr[i];
    const uint8_t type = hello->head[0];
    if (type != RECORD_HANDSHAKE && type != RECORD_ALERT)
        finish(hello, ANSWER_NONE, "it does not speak TLS");
    else if (hello->len < sizeof hello->head)
        return;
    else if (type == RECORD_ALERT)
        finish(hello, ANSWER_BAD, "it answered a ClientHello with an alert");
    else if (hello->head[5] == HELLO_SERVER)
        finish(hello, ANSWER_GOOD, "it answered a ClientHello");
    else
        finish(hello, ANSWER_NONE, "it did not answer a ClientHello with its own");
}

static void on_end(void *owner)
{
    finish(owner, ANSWER_NONE, "it ended the connection before it answered a ClientHello");
}

static void on_drain(void *owner)
{
    (void)owner; /* one small message was written */
}

static void on_fail(void *owner, int err)
{
    finish(owner, ANSWER_NONE, err_text(err));
}

static const struct stream_events hello_events = {on_data, on_end, on_drain, on_fail};

struct hello *hello_start(struct loop *loop, struct stream *stream, struct str host,
                          void (*on_done)(void *owner, enum answer answer, struct str why),
                          void *owner)
{
    struct hello *hello = mem_new(struct hello);
    hello->loop = loop;
    hello->stream = stream;
    hello->on_done = on_done;
    hello->owner = owner;
    stream_set_owner(stream, &hello_events, hello);
    write_hello(stream, host);
    stream_resume(stream);
    return hello;
}
