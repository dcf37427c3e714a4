#include "config/manifests_kept.h"

#include "proxy/base/mem.h"

/* ---- what is kept ---- */

struct str kept_uid(const struct yaml *doc)
{
    const struct yaml *uid = yaml_path(doc, "metadata.uid");
    return uid && uid->kind == YAML_TEXT ? uid->text : (struct str){0};
}

bool kept_is_kind(struct str path)
{
    static const char *const kinds[] = {
        "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "HTTPRoute",
        "GRPCRoute",           "TrafficPolicy",      "ServiceExport",         "ServiceImport"};
    struct str kind, rest;
    if (!str_split(path, ' ', &kind, &rest))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(kind, str_from(kinds[i])))
            return true;
    return false;
}

void kept_add_line(struct str path, struct str json, struct text *out)
{
    text_add(out, STR("{\"path\":"));
    text_add_json_string(out, path);
    text_add(out, STR(",\"object\":"));
    text_add(out, json);
    text_add(out, STR("}\n"));
}

/* ---- those of before ---- */

void kept_one_free(struct kept_one *one)
{
    if (one->part)
        manifests_part_unref(one->part);
    text_fini(&one->json);
    text_fini(&one->uid);
    mem_free(one);
}

bool kept_put(struct kept *kept, struct str path, const struct yaml *doc)
{
    struct manifests_part *part = manifests_part_of(path, doc);
    if (!part->set || !kept_is_kind(path)) {
        manifests_part_unref(part);
        return false;
    }
    struct kept_one *one = mem_new(struct kept_one);
    (void)kept_drop(kept, path);
    one->part = part;
    one->path = part->path;
    yaml_json(doc, &one->json);
    text_add(&one->uid, kept_uid(doc));
    (void)map_put(&kept->all, one->path, one);
    return true;
}

bool kept_take(struct kept *kept, struct str path, struct str uid, struct manifests_part **out_part,
               struct text *out_json)
{
    struct kept_one *one = map_remove(&kept->all, path);
    const bool is_it = one && str_eq(text_str(&one->uid), uid);
    if (is_it) {
        *out_part = one->part;
        *out_json = one->json;
        one->part = NULL;
        one->json = (struct text){0};
    }
    if (one)
        kept_one_free(one);
    return is_it;
}

bool kept_drop(struct kept *kept, struct str path)
{
    struct kept_one *one = map_remove(&kept->all, path);
    if (one)
        kept_one_free(one);
    return one != NULL;
}

void kept_fini(struct kept *kept)
{
    struct str path;
    void *one;
    for (size_t idx = 0; map_next(&kept->all, &idx, &path, &one);)
        kept_one_free(one);
    map_fini(&kept->all);
}
