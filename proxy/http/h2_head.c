/*
 * Header fields between nghttp2 and us: those that come are held where nghttp2 has them (counted
 * buffers) until the head is whole; those that go are lent to it for the call.
 */
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/http/h2_internal.h"

#define FIELD_OVERHEAD 32 /* RFC 9113 section 6.5.2 */

struct str h2_find(const struct h2_head *head, const char *name)
{
    struct str wanted = str_from(name);

    for (size_t i = 0; i < head->len; i++) {
        if (str_eq(head->fields[i].name, wanted))
            return head->fields[i].value;
    }
    return (struct str){0};
}

/* ---- scratch ---- */

#define FIELD_ROOM     (sizeof(struct h2_field) + 2 * sizeof(nghttp2_rcbuf *))
#define FIELDS_AT_ONCE (SLAB_SMALL_BYTES / FIELD_ROOM)

static void drop_room(const struct h2_scratch *scratch)
{
    if (scratch->cap == FIELDS_AT_ONCE)
        slab_block_free(scratch->fields);
    else
        mem_free(scratch->fields);
}

void h2_scratch_reset(struct h2_scratch *scratch)
{
    for (size_t i = 0; i < scratch->len * 2; i++)
        nghttp2_rcbuf_decref(scratch->bufs[i]);
    drop_room(scratch);
    *scratch = (struct h2_scratch){.slabs = scratch->slabs};
}

static void scratch_grow(struct h2_scratch *scratch)
{
    const size_t len = scratch->len, cap = scratch->cap ? scratch->cap * 2 : FIELDS_AT_ONCE;
    struct h2_field *fields =
        scratch->cap ? mem_alloc(cap * FIELD_ROOM) : slab_block_new(scratch->slabs);
    nghttp2_rcbuf **bufs = (nghttp2_rcbuf **)(void *)(fields + cap);

    if (len > 0) {
        memcpy(fields, scratch->fields, len * sizeof(*fields));
        memcpy(bufs, scratch->bufs, len * 2 * sizeof(*bufs));
    }
    drop_room(scratch);
    scratch->fields = fields;
    scratch->bufs = bufs;
    scratch->cap = cap;
}

static struct str from_rcbuf(nghttp2_rcbuf *rcbuf)
{
    nghttp2_vec vec = nghttp2_rcbuf_get_buf(rcbuf);

    return str_of(vec.base, vec.len);
}

bool h2_scratch_add(struct h2_scratch *scratch, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                    size_t limit, size_t max_fields)
{
    struct h2_field field = {from_rcbuf(name), from_rcbuf(value)};
    size_t size = field.name.len + field.value.len + FIELD_OVERHEAD;

    if (size > limit || scratch->size > limit - size ||
        (max_fields && scratch->len == max_fields)) {
        scratch->size += size;
        scratch->is_cut = true;
        return false;
    }
    if (scratch->len == scratch->cap)
        scratch_grow(scratch);
    nghttp2_rcbuf_incref(name);
    nghttp2_rcbuf_incref(value);
    scratch->bufs[scratch->len * 2] = name;
    scratch->bufs[scratch->len * 2 + 1] = value;
    scratch->fields[scratch->len++] = field;
    scratch->size += size;
    return true;
}

void h2_saved_put(struct h2_saved *saved, const struct h2_field *fields, size_t n_fields)
{
    saved->fields = arena_new_array(&saved->arena, struct h2_field, n_fields ? n_fields : 1);
    for (size_t i = 0; i < n_fields; i++) {
        saved->fields[i].name = arena_str(&saved->arena, fields[i].name);
        saved->fields[i].value = arena_str(&saved->arena, fields[i].value);
    }
    saved->len = n_fields;
    saved->is_set = true;
}

void h2_saved_fini(struct h2_saved *saved)
{
    arena_fini(&saved->arena);
    *saved = (struct h2_saved){0};
}

/* nghttp2 takes bytes to be changed nowhere through pointers that are not const. */
static uint8_t *unconst(const char *ptr)
{
    union {
        const char *from;
        uint8_t *to;
    } cast = {.from = ptr};

    return cast.to;
}

/* A secret must not be in a table in which others look for what is there already (RFC 7541 section
 * 7.1.3). What is never the same twice would put out of the table what is. */
static bool is_indexed(struct str name)
{
    return !str_eq(name, STR("authorization")) && !str_eq(name, STR("traceparent")) &&
           !str_eq(name, STR("forwarded"));
}

nghttp2_nv *h2_nv_make(const struct h2_field *fields, size_t n_fields, nghttp2_nv *room,
                       size_t n_room)
{
    nghttp2_nv *nv = n_fields <= n_room ? room : mem_new_array(nghttp2_nv, n_fields);

    for (size_t i = 0; i < n_fields; i++) {
        nv[i] = (nghttp2_nv){
            .name = unconst(fields[i].name.ptr ? fields[i].name.ptr : ""),
            .value = unconst(fields[i].value.ptr ? fields[i].value.ptr : ""),
            .namelen = fields[i].name.len,
            .valuelen = fields[i].value.len,
            .flags = is_indexed(fields[i].name) ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX,
        };
    }
    return nv;
}

void h2_nv_free(nghttp2_nv *nv, const nghttp2_nv *room)
{
    if (nv != room)
        mem_free(nv);
}
