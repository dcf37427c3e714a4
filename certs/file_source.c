/*
 * file_source.c - Happy path: follow or a notice -> every pair is read -> what is followed is
 * given.
 *
 * Failure modes: a file is missing, malformed, or the key does not fit (a change is under way):
 * read again after RETRY_NS, a few times, then at the next notice or rescan; an identity that is
 * followed and in no file: told.
 */
#include "certs/file_source.h"

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/io/process.h"

#define QUIET_NS    (100 * NS_PER_MS)
#define RETRY_NS    (200 * NS_PER_MS)
#define RETRIES_MAX 5
#define FILE_MAX    ((size_t)256 * 1024)
#define CERTIFICATE "tls.crt"
#define KEY         "tls.key"
#define WATCHES_MAX 2

struct file_source {
    struct cert_source source;
    struct loop *loop;
    struct arena arena;
    struct str certificate, key; /* a pair, or: */
    struct str folder;
    struct folder_watch *watches[WATCHES_MAX];
    size_t n_watches;
    struct map followed; /* key -> struct followed */
    struct task reading;
    struct timer retry;
    unsigned n_retries; /* since the last notice */
    /* Of the reading that is under way: */
    struct text faults; /* of the files, for those that found nothing */
    bool has_fault;
};

struct followed {
    struct arena arena;
    struct str key;
    bool is_found;
};

/* ---- reading ---- */

static int read_file(struct str path, struct text *out, struct text *why)
{
    int err = file_read_all(path, FILE_MAX, out);

    if (err < 0)
        text_addf(why, "%.*s: %s", STR_ARG(path), file_why(err));
    return err;
}

static int read_pair(struct str certificate, struct str key, struct svid **out_svid,
                     struct text *why)
{
    struct text chain_pem = {0}, key_pem = {0}, reason = {0};
    int err = read_file(certificate, &chain_pem, why);

    if (err == 0)
        err = read_file(key, &key_pem, why);
    if (err == 0) {
        err = svid_from_pem(text_str(&chain_pem), text_str(&key_pem), out_svid, &reason);
        if (err < 0)
            text_addf(why, "%.*s with %.*s: %.*s", STR_ARG(certificate), STR_ARG(key),
                      STR_ARG(text_str(&reason)));
    }
    text_fini(&chain_pem);
    text_fini(&reason);
    file_wipe(&key_pem);
    return err;
}

static void take_pair(struct file_source *source, struct str certificate, struct str key)
{
    struct svid *svid = NULL;
    struct text why = {0};

    if (read_pair(certificate, key, &svid, &why) < 0) {
        source->has_fault = true;
        text_addf(&source->faults, "%s%.*s", source->faults.len > 0 ? "; " : "",
                  STR_ARG(text_str(&why)));
    } else {
        ensure(svid);
        struct followed *followed = map_find(&source->followed, svid->id.text);

        if (!followed && source->followed.len > 0 && str_is_empty(source->folder)) {
            text_addf(&source->faults, "%.*s names %.*s", STR_ARG(certificate),
                      STR_ARG(svid->id.text));
        }
        if (followed) {
            followed->is_found = true;
            rotation_give(source->source.rotation, followed->key, svid_ref(svid));
        }
        svid_unref(svid);
    }
    text_fini(&why);
}

/* Names that begin with a dot are Kubernetes' own ("..data"); the links beside them lead there. */
static void visit(void *owner, struct str name)
{
    struct file_source *source = owner;
    struct text certificate = {0}, key = {0};

    if (str_starts_with(name, STR(".")))
        return;
    text_addf(&certificate, "%.*s/%.*s/" CERTIFICATE, STR_ARG(source->folder), STR_ARG(name));
    text_addf(&key, "%.*s/%.*s/" KEY, STR_ARG(source->folder), STR_ARG(name));
    take_pair(source, text_str(&certificate), text_str(&key));
    text_fini(&certificate);
    text_fini(&key);
}

static void read_all(struct file_source *source)
{
    if (str_is_empty(source->folder)) {
        take_pair(source, source->certificate, source->key);
        return;
    }
    int err = file_each_name(source->folder, FILE_SOURCE_IDENTITIES_MAX, visit, source);
    if (err < 0) {
        source->has_fault = true;
        text_addf(&source->faults, "%.*s: %s", STR_ARG(source->folder), file_why(err));
    }
}

static void tell_missing(struct file_source *source)
{
    struct str key;
    void *value;

    for (size_t idx = 0; map_next(&source->followed, &idx, &key, &value);) {
        const struct followed *followed = value;
        struct text why = {0};

        if (followed->is_found)
            continue;
        text_addf(&why, "no file holds it%s%.*s", source->faults.len > 0 ? "; " : "",
                  STR_ARG(text_str(&source->faults)));
        rotation_fail(source->source.rotation, followed->key, text_str(&why), false);
        text_fini(&why);
    }
}

static void on_retry(struct timer *timer);

static void read_now(struct task *task)
{
    struct file_source *source = container_of(task, struct file_source, reading);
    struct str key;
    void *value;

    for (size_t idx = 0; map_next(&source->followed, &idx, &key, &value);)
        ((struct followed *)value)->is_found = false;
    source->has_fault = false;
    source->faults.limit = 4096;
    text_clear(&source->faults);
    read_all(source);
    if (source->has_fault && source->n_retries < RETRIES_MAX) {
        source->n_retries++;
        timer_start(source->loop, &source->retry, RETRY_NS, on_retry);
    } else {
        tell_missing(source);
    }
}

static void on_retry(struct timer *timer)
{
    struct file_source *source = container_of(timer, struct file_source, retry);

    loop_defer(source->loop, &source->reading);
}

void file_source_read(struct file_source *source)
{
    source->n_retries = 0;
    timer_stop(&source->retry);
    loop_defer(source->loop, &source->reading);
}

static void on_change(void *owner)
{
    file_source_read(owner);
}

/* ---- the rotation's calls ---- */

static void follow(struct cert_source *cert_source, struct str key)
{
    struct file_source *source = container_of(cert_source, struct file_source, source);
    struct followed *followed = mem_new(struct followed);

    followed->key = arena_str(&followed->arena, key);
    (void)map_put(&source->followed, followed->key, followed);
    file_source_read(source);
}

static void drop(struct file_source *source, struct followed *followed)
{
    (void)map_remove(&source->followed, followed->key);
    arena_fini(&followed->arena);
    mem_free(followed);
}

static void forget(struct cert_source *cert_source, struct str key)
{
    struct file_source *source = container_of(cert_source, struct file_source, source);
    struct followed *followed = map_find(&source->followed, key);

    if (followed)
        drop(source, followed);
}

static void cancel_all(struct cert_source *cert_source)
{
    struct file_source *source = container_of(cert_source, struct file_source, source);
    struct str key;
    void *followed;

    for (size_t idx = 0; map_next(&source->followed, &idx, &key, &followed); idx = 0)
        drop(source, followed);
    for (size_t i = 0; i < source->n_watches; i++)
        folder_watch_close(source->watches[i]);
    source->n_watches = 0;
    timer_stop(&source->retry);
    task_cancel(&source->reading);
}

/* ---- life ---- */

static struct file_source *source_new(struct loop *loop)
{
    struct file_source *source = mem_new(struct file_source);

    source->source.name = "files";
    source->source.follow = follow;
    source->source.forget = forget;
    source->source.cancel_all = cancel_all;
    source->loop = loop;
    source->reading.run = read_now;
    return source;
}

static void watch(struct file_source *source, struct str path)
{
    source->watches[source->n_watches++] = folder_watch_open(
        source->loop, path.ptr, QUIET_NS, FILE_SOURCE_RESCAN_NS, on_change, source);
}

struct file_source *file_source_pair(struct loop *loop, struct str certificate, struct str key)
{
    struct file_source *source = source_new(loop);

    source->certificate = arena_str(&source->arena, certificate);
    source->key = arena_str(&source->arena, key);
    watch(source, source->certificate);
    watch(source, source->key);
    return source;
}

struct file_source *file_source_folder(struct loop *loop, struct str folder)
{
    struct file_source *source = source_new(loop);

    source->folder = arena_str(&source->arena, folder);
    watch(source, source->folder);
    return source;
}

struct cert_source *file_source_source(struct file_source *source)
{
    return &source->source;
}

void file_source_free(struct file_source *source)
{
    if (!source)
        return;
    cancel_all(&source->source);
    map_fini(&source->followed);
    text_fini(&source->faults);
    arena_fini(&source->arena);
    mem_free(source);
}
