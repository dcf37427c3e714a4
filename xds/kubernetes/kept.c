#include "xds/kubernetes/kept.h"

#include "certs/json_strict.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "xds/kubernetes/tree.h"

#define FILE_NAME "last-good.jsonl"
#define DEPTH_MAX (YAML_DEPTH_MAX + 4)

/* ---- reading ---- */

static bool recall(struct manifests_store *store, struct str line)
{
    const struct json_bounds bounds = {MANIFESTS_KEPT_BYTES, DEPTH_MAX};
    struct arena arena = {0};
    json_t *kept = json_strict_load(line, bounds, NULL);
    const struct str path = json_strict_text(json_object_get(kept, "path"));
    struct yaml *doc = path.len > 0 ? kube_tree(&arena, path, json_object_get(kept, "object"),
                                                (struct str){0}, (struct str){0})
                                    : NULL;
    const bool is_good = doc && manifests_store_recall(store, path, doc);

    arena_fini(&arena);
    json_decref(kept);
    return is_good;
}

/* False: not all of it was read. */
static bool recall_all(const struct kube_kept *kept, struct manifests_store *store, struct str rest)
{
    struct str line;
    uint64_t n_good = 0, n_bad = 0;

    while (str_split(rest, '\n', &line, &rest))
        if (recall(store, line))
            n_good++;
        else
            n_bad++;
    if (n_bad > 0 || rest.len > 0)
        log_error("last good versions of objects were not read",
                  log_str("file", text_str(&kept->path)),
                  log_u64("lines", n_bad + (rest.len > 0 ? 1 : 0)));
    if (n_good > 0)
        log_info("last good versions of objects were read", log_u64("objects", n_good));
    return n_bad == 0 && rest.len == 0;
}

void kube_kept_open(struct kube_kept *kept, struct str dir, struct manifests_store *store)
{
    struct text lines = {0};
    bool is_read = false;

    *kept = (struct kube_kept){0};
    if (dir.len == 0)
        return;
    text_addf(&kept->path, "%.*s/" FILE_NAME, STR_ARG(dir));
    const int err = file_read_all(text_str(&kept->path), MANIFESTS_KEPT_BYTES, &lines);
    if (!err)
        is_read = recall_all(kept, store, text_str(&lines));
    else if (err == -ERR_NOT_FOUND)
        is_read = true;
    else
        log_error("last good versions of objects cannot be read",
                  log_str("file", text_str(&kept->path)), log_cstr("why", file_why(err)));
    text_fini(&lines);
    /* What was not read must not wait for a start that can read it: its object may be another, good
     * one until then. The file is written anew. */
    kept->round = is_read ? manifests_store_kept_round(store) : UINT64_MAX;
}

/* ---- writing ---- */

static void tell_failure(struct kube_kept *kept, int err)
{
    if (!kept->has_failed)
        log_error(
            "last good versions of objects cannot be kept; a restart will close what is wrong",
            log_str("file", text_str(&kept->path)), log_cstr("why", file_why(err)));
    kept->has_failed = true;
}

static int write_lines(const struct kube_kept *kept, const struct manifests_store *store)
{
    const struct str path = text_str(&kept->path);
    struct text lines = {0};
    const size_t n_left_out = manifests_store_kept(store, &lines);
    const int err =
        lines.len > 0 ? file_write_atomic(path, text_str(&lines), 0600) : file_remove(path);

    if (n_left_out > 0)
        log_error("last good versions of objects are too large to be kept",
                  log_u64("objects", n_left_out));
    text_fini(&lines);
    return err;
}

void kube_kept_follow(struct kube_kept *kept, const struct manifests_store *store, uint64_t now_ns)
{
    const uint64_t round = manifests_store_kept_round(store);

    if (kept->path.len == 0 || round == kept->round || now_ns < kept->again_ns)
        return;
    int err = write_lines(kept, store);
    if (!err) {
        kept->round = round;
        kept->again_ns = 0;
        kept->has_failed = false;
        return;
    }
    tell_failure(kept, err);
    kept->again_ns = now_ns + KUBE_KEPT_AGAIN_NS;
    err = file_remove(text_str(&kept->path));
    if (err)
        log_error("what was kept is older than it should be, and cannot be deleted",
                  log_str("file", text_str(&kept->path)), log_cstr("why", file_why(err)));
}

void kube_kept_fini(struct kube_kept *kept)
{
    text_fini(&kept->path);
}
