#include "xds/control/vips_file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define FILE_VERSION 1

struct vip *vip_new(size_t range_idx, struct str name, struct ip ip)
{
    struct vip *vip = mem_zalloc(sizeof(*vip) + 1 + name.len + 1);
    char *behind = (char *)(vip + 1);
    behind[0] = (char)('0' + range_idx);
    memcpy(behind + 1, name.ptr, name.len);
    vip->range_idx = range_idx;
    vip->ip = ip;
    vip->key = str_of(behind, 1 + name.len);
    vip->name = str_of(behind + 1, name.len);
    return vip;
}

static int compare_vips(const void *a, const void *b)
{
    const struct vip *x = *(struct vip *const *)a, *y = *(struct vip *const *)b;
    const int order = str_cmp(x->name, y->name);
    return order ? order : str_cmp(x->key, y->key);
}

void vips_file_write(const struct map *by_name, struct text *out)
{
    struct vip **sorted = mem_new_array(struct vip *, by_name->len + 1);
    size_t idx = 0, n = 0;
    struct str key;
    void *value;
    char buf[IP_TEXT_MAX];
    while (map_next(by_name, &idx, &key, &value))
        sorted[n++] = value;
    if (n > 1)
        qsort(sorted, n, sizeof(struct vip *), compare_vips);
    out->limit = VIPS_FILE_MAX_BYTES;
    text_addf(out, "{\"version\": %d, \"addresses\": [", FILE_VERSION);
    for (size_t i = 0; i < n; i++) {
        text_add(out, i ? STR(",\n  {\"service\": ") : STR("\n  {\"service\": "));
        text_add_json_string(out, sorted[i]->name);
        text_addf(out, ", \"address\": \"%s\", \"goneSince\": %" PRId64 "}",
                  ip_text(&sorted[i]->ip, buf), sorted[i]->gone_since_ns);
    }
    text_add(out, STR("\n]}\n"));
    mem_free(sorted);
}

static struct str json_text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value ? str_of(json_string_value(value), json_string_length(value)) : (struct str){0};
}

static int read_entry(const json_t *entry, size_t idx,
                      bool (*each)(void *owner, struct str name, const struct ip *ip,
                                   int64_t gone_since_ns),
                      void *owner, struct text *why)
{
    struct ip ip;
    struct str name = json_text(entry, "service");
    if (str_is_empty(name) || ip_parse(json_text(entry, "address"), &ip) < 0) {
        text_addf(why, "addresses[%zu]: needs a service and an address", idx);
        return -ERR_INVALID;
    }
    if (!each(owner, name, &ip, json_integer_value(json_object_get(entry, "goneSince")))) {
        text_addf(why, "addresses[%zu]: the address or service stands there twice", idx);
        return -ERR_INVALID;
    }
    return 0;
}

int vips_file_read(struct str content,
                   bool (*each)(void *owner, struct str name, const struct ip *ip,
                                int64_t gone_since_ns),
                   void *owner, struct text *why)
{
    json_error_t error;
    json_t *root =
        json_loadb(content.ptr ? content.ptr : "", content.len, JSON_REJECT_DUPLICATES, &error);
    int err = 0;
    if (!root) {
        text_addf(why, "line %d: %s", error.line, error.text);
        return -ERR_INVALID;
    }
    const json_t *list = json_object_get(root, "addresses");
    if (json_integer_value(json_object_get(root, "version")) != FILE_VERSION ||
        !json_is_array(list)) {
        text_addf(why, "is no file of ClusterSetIPs of version %d", FILE_VERSION);
        err = -ERR_INVALID;
    }
    for (size_t i = 0; err == 0 && i < json_array_size(list); i++)
        err = read_entry(json_array_get(list, i), i, each, owner, why);
    json_decref(root);
    return err;
}
