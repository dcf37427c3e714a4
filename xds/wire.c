#include "xds/wire.h"

#include <string.h>

/* Scanning costs about 40 bytes a field and an empty message up to 280, so a resource of short
 * fields and empty messages needs some 30 times its size; whole responses are mostly payload. */
#define BUDGET_BASE_BYTES  ((size_t)65536)
#define BUDGET_SMALL_BYTES ((size_t)1 << 20)
#define BUDGET_SMALL_TIMES 32
#define BUDGET_TIMES       4

enum wire_kind { WIRE_VARINT, WIRE_64BIT, WIRE_BYTES, WIRE_32BIT = 5 };

static bool read_varint(struct str bytes, size_t *at, uint64_t *out_value)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && *at < bytes.len; shift += 7) {
        uint8_t byte = (uint8_t)bytes.ptr[(*at)++];
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out_value = value;
            return true;
        }
    }
    return false;
}

/* Reads one field: its number, and its bytes when it has a length, or its value when it is a
 * varint. */
static bool read_field(struct str bytes, size_t *at, unsigned *out_number, struct str *out_part,
                       uint64_t *out_value)
{
    uint64_t tag, len;

    if (!read_varint(bytes, at, &tag) || tag >> 3 == 0 || tag >> 32)
        return false;
    *out_number = (unsigned)(tag >> 3);
    *out_part = (struct str){0};
    *out_value = 0;
    switch (tag & 7) {
    case WIRE_VARINT: return read_varint(bytes, at, out_value);
    case WIRE_64BIT: len = 8; break;
    case WIRE_32BIT: len = 4; break;
    case WIRE_BYTES:
        if (!read_varint(bytes, at, &len) || len > bytes.len - *at)
            return false;
        *out_part = str_sub(bytes, *at, (size_t)len);
        if (!out_part->ptr)
            out_part->ptr = "";
        break;
    default: return false;
    }
    if (len > bytes.len - *at)
        return false;
    *at += (size_t)len;
    return true;
}

static bool is_text(struct str text)
{
    for (size_t at = 0; at < text.len;) {
        size_t len = str_utf8_len(text, at);
        if (len == 0 || text.ptr[at] == '\0')
            return false;
        at += len;
    }
    return true;
}

static bool check(const ProtobufCMessageDescriptor *type, struct str bytes, unsigned depth,
                  struct text *why);

static bool check_part(const ProtobufCMessageDescriptor *type,
                       const ProtobufCFieldDescriptor *field, struct str part, unsigned depth,
                       uint64_t *seen, struct text *why)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (is_text(part))
            return true;
        text_addf(why, "%s.%s is not UTF-8 text without NUL", type->name, field->name);
        return false;
    }
    if (field->type != PROTOBUF_C_TYPE_MESSAGE)
        return true;
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        uint64_t bit = UINT64_C(1) << (size_t)(field - type->fields);
        if (*seen & bit) {
            text_addf(why, "%s.%s stands there twice", type->name, field->name);
            return false;
        }
        *seen |= bit;
    }
    return check(field->descriptor, part, depth + 1, why);
}

/* A number that does not fit would be cut to one that does: -1 of a weight would be the largest. */
static bool check_number(const ProtobufCMessageDescriptor *type,
                         const ProtobufCFieldDescriptor *field, uint64_t value, struct text *why)
{
    const bool is_unsigned = field->type == PROTOBUF_C_TYPE_UINT32;
    const bool is_signed =
        field->type == PROTOBUF_C_TYPE_INT32 || field->type == PROTOBUF_C_TYPE_ENUM;
    const int64_t number = (int64_t)value;
    if ((!is_unsigned || value <= UINT32_MAX) &&
        (!is_signed || (number >= INT32_MIN && number <= UINT32_MAX)))
        return true;
    text_addf(why, "%s.%s: %lld does not fit into 32 bits", type->name, field->name,
              (long long)number);
    return false;
}

static bool check(const ProtobufCMessageDescriptor *type, struct str bytes, unsigned depth,
                  struct text *why)
{
    uint64_t seen = 0;

    ensure(type->n_fields <= 64);
    if (depth > WIRE_DEPTH_MAX) {
        text_addf(why, "%s is nested deeper than %d messages", type->name, WIRE_DEPTH_MAX);
        return false;
    }
    for (size_t at = 0; at < bytes.len;) {
        const ProtobufCFieldDescriptor *field;
        unsigned number;
        struct str part;
        uint64_t value;

        if (!read_field(bytes, &at, &number, &part, &value)) {
            text_addf(why, "%s is malformed or cut short at byte %zu", type->name, at);
            return false;
        }
        field = protobuf_c_message_descriptor_get_field(type, number);
        if (field && !part.ptr && !check_number(type, field, value, why))
            return false;
        if (field && part.ptr && !check_part(type, field, part, depth, &seen, why))
            return false;
    }
    return true;
}

struct budget {
    struct arena *arena;
    size_t left_bytes;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *budget = data;

    if (size > budget->left_bytes)
        return NULL;
    budget->left_bytes -= size;
    return arena_alloc(budget->arena, size);
}

static void budget_free(void *data, void *ptr)
{
    (void)data;
    (void)ptr;
}

ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *type, struct str bytes,
                              struct arena *arena, struct text *why)
{
    size_t small = bytes.len < BUDGET_SMALL_BYTES ? bytes.len : BUDGET_SMALL_BYTES;
    struct budget budget = {
        .arena = arena,
        .left_bytes = BUDGET_BASE_BYTES + BUDGET_SMALL_TIMES * small + BUDGET_TIMES * bytes.len,
    };
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    ProtobufCMessage *message;

    if (!check(type, bytes, 0, why))
        return NULL;
    message = protobuf_c_message_unpack(type, &allocator, bytes.len,
                                        (const uint8_t *)(bytes.len ? bytes.ptr : ""));
    if (!message)
        text_addf(why, "%s is malformed or has far too many empty parts", type->name);
    return message;
}

struct text_buffer {
    ProtobufCBuffer base;
    struct text *out;
};

static void append_to_text(ProtobufCBuffer *buffer, size_t len, const uint8_t *data)
{
    struct text_buffer *to = container_of(buffer, struct text_buffer, base);

    text_add(to->out, str_of(data, len));
}

void wire_pack(const ProtobufCMessage *message, struct text *out)
{
    struct text_buffer buffer = {.base = {append_to_text}, .out = out};

    (void)protobuf_c_message_pack_to_buffer(message, &buffer.base);
}

char *wire_text(struct arena *arena, struct str text)
{
    char *copy = arena_alloc(arena, text.len + 1);

    if (text.len)
        memcpy(copy, text.ptr, text.len);
    return copy;
}

struct str wire_bytes(const ProtobufCBinaryData *data)
{
    return str_of(data->data, data->len);
}
