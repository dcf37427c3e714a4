/*
 * Header fields edited as Gateway API says: of one filter remove, then set, then add; filters in
 * their order. All of it happens in one array that has room for the most it can become.
 */
#include "proxy/route/route.h"

static bool is_removed(const struct route_edits *edits, struct str name)
{
    for (size_t i = 0; i < edits->n_remove; i++)
        if (str_eq(edits->remove[i], name))
            return true;
    for (size_t i = 0; i < edits->n_set; i++)
        if (str_eq(edits->set[i].name, name))
            return true;
    return false;
}

/* In place: what is set stands at the end, where its name had perhaps several places. */
static size_t apply(const struct route_edits *edits, struct http_field *fields, size_t len)
{
    size_t kept = 0;
    for (size_t i = 0; i < len; i++)
        if (!is_removed(edits, fields[i].name))
            fields[kept++] = fields[i];
    for (size_t i = 0; i < edits->n_set; i++)
        fields[kept++] = (struct http_field){edits->set[i].name, edits->set[i].value};
    for (size_t i = 0; i < edits->n_add; i++)
        fields[kept++] = (struct http_field){edits->add[i].name, edits->add[i].value};
    return kept;
}

struct http_fields route_edit(const struct http_fields *fields, const struct route_edit_list *edits,
                              struct arena *arena)
{
    size_t room = fields->len, len = fields->len;
    if (edits->len == 0)
        return *fields;
    for (unsigned i = 0; i < edits->len; i++)
        room += edits->at[i].n_set + edits->at[i].n_add;
    struct http_field *edited = arena_new_array(arena, struct http_field, room);
    for (size_t i = 0; i < len; i++)
        edited[i] = fields->at[i];
    for (unsigned i = 0; i < edits->len; i++)
        len = apply(&edits->at[i], edited, len);
    return (struct http_fields){.at = edited, .len = len};
}
