#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "xds/grpc.h"
#include "xds/grpc_frame.h"

TestSuite(grpc_frame, .timeout = 20);

/* Three messages: "hello", "", and 200 bytes. */
static void write_three(struct text *out)
{
    uint8_t prefix[GRPC_PREFIX_BYTES];

    text_add(out, (struct str){"\0\0\0\0\5hello\0\0\0\0\0", 15});
    grpc_prefix(prefix, 200);
    text_add(out, str_of(prefix, sizeof(prefix)));
    for (unsigned i = 0; i < 200; i++)
        text_addc(out, (char)i);
}

/* Feeds pieces of that length; the messages in order, each with its length in front. */
static void read_all(struct str bytes, size_t piece, struct text *out)
{
    struct grpc_reader reader = {.max_bytes = 200};

    for (size_t at = 0; at < bytes.len; at += piece) {
        struct str part = str_sub(bytes, at, piece), message;
        char *copy = mem_alloc(part.len ? part.len : 1);

        memcpy(copy, part.ptr, part.len);
        part.ptr = copy;
        while (grpc_reader_take(&reader, &part, &message) == GRPC_READ_MESSAGE) {
            text_addf(out, "[%zu]", message.len);
            text_add(out, message);
        }
        cr_assert_eq(part.len, 0);
        mem_free(copy);
    }
    cr_assert(!grpc_reader_is_inside(&reader));
    grpc_reader_fini(&reader);
}

Test(grpc_frame, messages_may_be_split_at_every_byte)
{
    struct text bytes = {0}, whole = {0};

    write_three(&bytes);
    read_all(text_str(&bytes), bytes.len, &whole);
    cr_assert(str_starts_with(text_str(&whole), STR("[5]hello[0][200]")));
    for (size_t piece = 1; piece < bytes.len; piece++) {
        struct text split = {0};
        read_all(text_str(&bytes), piece, &split);
        cr_assert(str_eq(text_str(&split), text_str(&whole)), "pieces of %zu", piece);
        text_fini(&split);
    }
    text_fini(&bytes);
    text_fini(&whole);
}

Test(grpc_frame, an_oversized_length_is_refused_before_anything_is_kept)
{
    struct grpc_reader reader = {.max_bytes = GRPC_MESSAGE_MAX};
    struct str bytes = {"\0\xff\xff\xff\xff", 5}, message;

    cr_assert_eq(grpc_reader_take(&reader, &bytes, &message), GRPC_READ_TOO_LARGE);
    cr_assert_eq(reader.cap, 0);

    /* A length that is allowed is not allocated before the bytes come. */
    reader = (struct grpc_reader){.max_bytes = GRPC_MESSAGE_MAX};
    bytes = (struct str){"\0\x03\0\0\0abc", 8};
    cr_assert_eq(grpc_reader_take(&reader, &bytes, &message), GRPC_READ_MORE);
    cr_assert(grpc_reader_is_inside(&reader));
    cr_assert_lt(reader.cap, 65536);
    grpc_reader_fini(&reader);
}

Test(grpc_frame, a_compressed_message_is_refused)
{
    struct grpc_reader reader = {.max_bytes = 100};
    struct str bytes = {"\1\0\0\0\1x", 6}, message;

    cr_assert_eq(grpc_reader_take(&reader, &bytes, &message), GRPC_READ_COMPRESSED);
}

Test(grpc_frame, sentences_are_percent_encoded_and_come_back)
{
    struct text encoded = {0}, decoded = {0};
    struct str sentence = STR("100% caf\xc3\xa9\n~ ok");

    grpc_message_encode(sentence, &encoded);
    cr_assert_str_eq(encoded.ptr, "100%25 caf%C3%A9%0A~ ok");
    grpc_message_decode(text_str(&encoded), &decoded);
    cr_assert(str_eq(text_str(&decoded), sentence));

    text_clear(&decoded);
    grpc_message_decode(STR("50% %zz %4 %41%"), &decoded);
    cr_assert_str_eq(decoded.ptr, "50% %zz %4 A%");
    text_fini(&encoded);
    text_fini(&decoded);
}

Test(grpc_frame, http_statuses_have_their_grpc_status)
{
    static const struct {
        const char *http;
        int status;
    } rows[] = {{"400", 13}, {"401", 16}, {"403", 7}, {"404", 12}, {"429", 14}, {"502", 14},
                {"503", 14}, {"504", 14}, {"500", 2}, {"301", 2},  {"", 2}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert_eq(grpc_status_of_http(str_from(rows[i].http)), rows[i].status, "%s",
                     rows[i].http);
    cr_assert_eq(grpc_status_parse(STR("0")), 0);
    cr_assert_eq(grpc_status_parse(STR("16")), 16);
    cr_assert_eq(grpc_status_parse(STR("17")), GRPC_UNKNOWN);
    cr_assert_eq(grpc_status_parse(STR("-1")), GRPC_UNKNOWN);
}
