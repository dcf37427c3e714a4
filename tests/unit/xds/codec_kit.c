#include "codec_kit.h"

#include <criterion/criterion.h>

#include "proxy/base/err.h"

struct arena arena;
struct text why;

void codec_fini(void)
{
    arena_fini(&arena);
    text_fini(&why);
    why = (struct text){0};
}

struct str encode(const struct model_resource *resource, struct str *out_name)
{
    struct text bytes = {0};
    struct str kept;

    *out_name = xds_encode(resource, &arena, &bytes);
    kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}

struct model_resource round_trip(const struct model_resource *resource)
{
    struct model_resource back;
    struct str name, again_name;
    struct str bytes = encode(resource, &name);
    int err = xds_decode(xds_type_of_kind(resource->kind), name, bytes, &arena, &back, &why);

    cr_assert_eq(err, 0, "%s", why.ptr);
    cr_assert(str_eq(name, resource->name), "named %.*s", STR_ARG(name));
    cr_assert_eq(back.kind, resource->kind);
    cr_assert(str_eq(back.name, resource->name));
    cr_assert(str_eq(encode(&back, &again_name), bytes));
    return back;
}

void assert_refused(enum xds_type type, struct str name, struct str bytes, const char *part)
{
    struct model_resource out = {.kind = MODEL_KINDS};

    text_clear(&why);
    cr_assert_eq(xds_decode(type, name, bytes, &arena, &out, &why), -ERR_INVALID, "%s", part);
    cr_assert(str_contains(text_str(&why), str_from(part)), "\"%s\" does not say \"%s\"", why.ptr,
              part);
    cr_assert_eq(out.kind, MODEL_KINDS, "the out parameter was touched");
}

struct str packed(const ProtobufCMessage *message)
{
    struct text bytes = {0};
    struct str kept;

    wire_pack(message, &bytes);
    kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}
