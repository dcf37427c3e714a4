/* What a batch is on the wire, read by field numbers and not by the generated code. */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/trace/otlp.h"

TestSuite(trace_otlp, .timeout = 20);

static struct text wire;
static struct arena arena;

static void finish(void)
{
    text_fini(&wire);
    arena_fini(&arena);
}

/* ---- protobuf by hand ---- */

struct wire_field {
    unsigned number;
    uint64_t value;   /* varint or fixed */
    struct str bytes; /* of a message, a string, bytes */
};

static uint64_t varint(struct str *from)
{
    uint64_t value = 0;
    for (unsigned shift = 0; from->len > 0; shift += 7) {
        const unsigned char byte = (unsigned char)from->ptr[0];
        *from = str_sub(*from, 1, from->len);
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            break;
    }
    return value;
}

static bool next_field(struct str *from, struct wire_field *out)
{
    if (from->len == 0)
        return false;
    const uint64_t tag = varint(from);
    *out = (struct wire_field){.number = (unsigned)(tag >> 3)};
    const unsigned type = tag & 7;
    if (type == 0) {
        out->value = varint(from);
        return true;
    }
    const size_t len = type == 1 ? 8 : type == 5 ? 4 : (size_t)varint(from);
    cr_assert(type == 1 || type == 2 || type == 5, "wire type %u", type);
    cr_assert_leq(len, from->len);
    if (type == 2)
        out->bytes = str_sub(*from, 0, len);
    else
        memcpy(&out->value, from->ptr, len);
    *from = str_sub(*from, len, from->len);
    return true;
}

/* The n-th field of a number. */
static struct wire_field find(struct str message, unsigned number, unsigned n)
{
    struct wire_field field;
    while (next_field(&message, &field))
        if (field.number == number && n-- == 0)
            return field;
    return (struct wire_field){0};
}

/* The AnyValue of an attribute in the field `of` of a message. */
static struct str attribute(struct str message, unsigned of, const char *key)
{
    for (unsigned i = 0;; i++) {
        const struct wire_field pair = find(message, of, i);
        if (pair.number == 0)
            return (struct str){0};
        if (str_eq(find(pair.bytes, 1, 0).bytes, str_from(key)))
            return find(pair.bytes, 2, 0).bytes;
    }
}

/* ---- records ---- */

static struct trace_context context_of(uint8_t trace, uint8_t parent)
{
    struct trace_context context = {.flags = TRACE_SAMPLED, .state = STR("a=1")};
    memset(context.trace_id, trace, TRACE_ID_LEN);
    memset(context.span_id, trace + 1, TRACE_SPAN_LEN);
    memset(context.parent_id, parent, TRACE_SPAN_LEN);
    return context;
}

static struct str record_of(uint8_t trace, uint8_t parent, const char *service)
{
    static struct span span;
    const struct trace_context context = context_of(trace, parent);
    span_begin(&span, &context, SPAN_CLIENT);
    span_text(&span, SPAN_SERVICE, str_from(service));
    span_text(&span, SPAN_NAME, STR("GET"));
    span_text(&span, SPAN_PATH, STR("/a"));
    span_text(&span, SPAN_ROUTE, STR("bad\xff"));
    span_number(&span, SPAN_STATUS, 503);
    return arena_str(&arena, span_end(&span, 1000, 3000, true));
}

static void encode(const struct str *records, size_t n)
{
    const struct otlp_origin origin = {STR("n1"), STR("west"), STR("1.2")};
    otlp_encode(&origin, records, n, &wire);
}

Test(trace_otlp, a_span_has_the_field_numbers_of_opentelemetry_proto, .fini = finish)
{
    const struct str record = record_of(0x11, 0x33, "cart.shop");
    encode(&record, 1);

    const struct str group = find(text_str(&wire), 1, 0).bytes;
    const struct str resource = find(group, 1, 0).bytes;
    const struct str scoped = find(group, 2, 0).bytes;
    const struct str span = find(scoped, 2, 0).bytes;
    cr_expect(str_eq(find(attribute(resource, 1, "service.name"), 1, 0).bytes, STR("cart.shop")));
    cr_expect(str_eq(find(attribute(resource, 1, "k8s.node.name"), 1, 0).bytes, STR("n1")));
    cr_expect(str_eq(find(find(scoped, 1, 0).bytes, 1, 0).bytes, STR("isthmus")));
    cr_expect(str_eq(find(find(scoped, 1, 0).bytes, 2, 0).bytes, STR("1.2")));
    cr_expect_eq(find(span, 1, 0).bytes.len, 16);
    cr_expect_eq(find(span, 2, 0).bytes.ptr[0], 0x12);
    cr_expect(str_eq(find(span, 3, 0).bytes, STR("a=1")));
    cr_expect_eq(find(span, 4, 0).bytes.ptr[7], 0x33);
    cr_expect(str_eq(find(span, 5, 0).bytes, STR("GET")));
    cr_expect_eq(find(span, 6, 0).value, 3);
    cr_expect_eq(find(span, 7, 0).value, 1000);
    cr_expect_eq(find(span, 8, 0).value, 3000);
    cr_expect(str_eq(find(attribute(span, 9, "url.path"), 1, 0).bytes, STR("/a")));
    cr_expect_eq(find(attribute(span, 9, "http.response.status_code"), 3, 0).value, 503);
    cr_expect(str_eq(find(attribute(span, 9, "isthmus.route"), 1, 0).bytes, STR("bad?")),
              "what is no UTF-8 would cost the whole batch");
    cr_expect_eq(find(find(span, 15, 0).bytes, 3, 0).value, 2);
    cr_expect_eq(find(span, 16, 0).value, 0x301);
}

Test(trace_otlp, a_root_has_no_parent_and_services_have_a_resource_each, .fini = finish)
{
    const struct str records[] = {record_of(1, 0, "a.x"), record_of(3, 0, "b.x"),
                                  record_of(5, 0, "a.x")};
    encode(records, ARRAY_LEN(records));

    const struct str first = find(text_str(&wire), 1, 0).bytes;
    const struct str second = find(text_str(&wire), 1, 1).bytes;
    cr_expect_eq(find(text_str(&wire), 1, 2).number, 0);
    cr_expect_eq(find(find(first, 2, 0).bytes, 2, 1).number, 2, "two spans");
    cr_expect_eq(find(find(second, 2, 0).bytes, 2, 1).number, 0, "one span");
    const struct str span = find(find(first, 2, 0).bytes, 2, 0).bytes;
    cr_expect_eq(find(span, 4, 0).number, 0);
    cr_expect_eq(find(span, 16, 0).value, 0x101);
}

Test(trace_otlp, a_record_holds_no_more_than_its_bound, .fini = finish)
{
    static struct span span;
    char text[2000];
    const struct trace_context context = context_of(1, 0);
    memset(text, 'x', sizeof text);
    span_begin(&span, &context, SPAN_SERVER);
    for (unsigned i = 0; i < SPAN_ATTRIBUTES; i++)
        span_text(&span, i, str_of(text, sizeof text));
    cr_expect_leq(span_end(&span, 0, 1, false).len, SPAN_BYTES_MAX);
    struct span_head head;
    struct span_part part;
    struct str rest;
    span_read(span_end(&span, 0, 1, false), &head, &rest);
    cr_assert(span_next(&rest, &part)); /* the state */
    cr_assert(span_next(&rest, &part));
    cr_expect_eq(part.text.len, SPAN_TEXT_MAX);
}

Test(trace_otlp, a_partial_success_says_how_many_were_rejected, .fini = finish)
{
    static const struct {
        const char *name, *body;
        size_t len, rejected;
    } rows[] = {
        {"empty", "", 0, 0},
        {"no partial success", "\x0a\x00", 2, 0},
        {"three", "\x0a\x07\x08\x03\x12\x03why", 9, 3},
        {"more than there were", "\x0a\x02\x08\x7f", 4, 10},
        {"a negative number", "\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13, 0},
        {"no protobuf", "oh no", 5, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str sentence;
        cr_expect_eq(otlp_rejected(str_of(rows[i].body, rows[i].len), 10, &arena, &sentence),
                     rows[i].rejected, "%s", rows[i].name);
        cr_expect_eq(str_eq(sentence, STR("why")), i == 2, "%s", rows[i].name);
    }
}
