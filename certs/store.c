/*
 * store.c - the name of a file is the hash of what it is about, so a SPIFFE ID or a trust domain
 * (which may be "..") never becomes part of a path; the content says again what it is about, and
 * the two must agree.
 */
#include "certs/store.h"

#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define SVID_MAX_BYTES   ((size_t)256 * 1024)
#define BUNDLE_MAX_BYTES ((size_t)1024 * 1024 + 512) /* the PEM and the first line */
#define FILES_MAX        20000
#define NAME_SUFFIX      ".pem"
#define KEY_BEGIN        "-----BEGIN PRIVATE KEY-----"

/* dir/kind/0123456789abcdef.pem */
static void path_of(struct str dir, const char *kind, struct str subject, struct text *out)
{
    text_addf(out, "%.*s/%s/%016llx" NAME_SUFFIX, STR_ARG(dir), kind,
              (unsigned long long)str_hash(subject, 0));
}

static bool name_fits(struct str name, struct str subject)
{
    struct text expected = {0};

    text_addf(&expected, "%016llx" NAME_SUFFIX, (unsigned long long)str_hash(subject, 0));
    bool fits = str_eq(name, text_str(&expected));
    text_fini(&expected);
    return fits;
}

static int put(struct str dir, const char *kind, struct str subject, struct str content)
{
    struct text path = {0};

    text_addf(&path, "%.*s/%s", STR_ARG(dir), kind);
    int err = file_make_dir(dir, 0700);
    if (err == 0)
        err = file_make_dir(text_str(&path), 0700);
    if (err == 0) {
        text_clear(&path);
        path_of(dir, kind, subject, &path);
        err = file_write_atomic(text_str(&path), content, 0600);
    }
    if (err < 0)
        log_warn("a certificate could not be stored", log_str("subject", subject),
                 log_str("path", text_str(&path)), log_err("error", err));
    text_fini(&path);
    return err;
}

static void remove_one(struct str dir, const char *kind, struct str subject)
{
    struct text path = {0};

    path_of(dir, kind, subject, &path);
    if (file_remove(text_str(&path)) < 0)
        log_warn("a stored certificate could not be removed", log_str("subject", subject),
                 log_str("path", text_str(&path)));
    text_fini(&path);
}

/* One walk over a folder: read() gets every whole file and answers with a sentence if it is of no
 * use. */
struct walk {
    struct text dir;
    size_t max_bytes;
    const char *(*use)(struct walk *walk, struct str name, struct str content, struct text *why);
    void *owner;
    void (*each_svid)(void *owner, struct svid *svid);
    void (*each_bundle)(void *owner, struct str trust_domain, struct str pem);
};

static void skip(struct str path, const char *why)
{
    log_warn("a stored certificate was skipped", log_str("path", path), log_cstr("why", why));
}

static void visit(void *owner, struct str name)
{
    struct walk *walk = owner;
    struct text path = {0}, content = {0}, why = {0};

    text_addf(&path, "%.*s/%.*s", STR_ARG(text_str(&walk->dir)), STR_ARG(name));
    if (str_ends_with(name, STR(FILE_TEMPORARY_SUFFIX))) {
        /* What a crash left half-written may hold a key. */
        if (file_remove(text_str(&path)) < 0)
            skip(text_str(&path), "a leftover cannot be removed");
    } else {
        int err = file_read_all(text_str(&path), walk->max_bytes, &content);
        const char *fault =
            err < 0 ? err_text(err) : walk->use(walk, name, text_str(&content), &why);
        if (fault)
            skip(text_str(&path), fault);
    }
    file_wipe(&content);
    text_fini(&path);
    text_fini(&why);
}

static void walk_folder(struct walk *walk, struct str dir, const char *kind)
{
    text_addf(&walk->dir, "%.*s/%s", STR_ARG(dir), kind);
    int err = file_each_name(text_str(&walk->dir), FILES_MAX, visit, walk);

    if (err < 0 && err != -ERR_NOT_FOUND)
        log_warn("a folder of certificates could not be read whole",
                 log_str("path", text_str(&walk->dir)), log_err("error", err));
    text_fini(&walk->dir);
}

int store_put_svid(struct str dir, const struct svid *svid)
{
    struct text content = {0}, key = {0};

    /* The key last and in one piece, so that growing the text leaves no copy of it. */
    svid_key_pem(svid, &key);
    svid_chain_pem(svid, &content);
    text_add(&content, text_str(&key));
    int err = put(dir, "svids", svid->id.text, text_str(&content));
    file_wipe(&content);
    file_wipe(&key);
    return err;
}

void store_remove_svid(struct str dir, struct str id)
{
    remove_one(dir, "svids", id);
}

static const char *use_svid(struct walk *walk, struct str name, struct str content,
                            struct text *why)
{
    const char *key = memmem(content.ptr, content.len, KEY_BEGIN, sizeof(KEY_BEGIN) - 1);
    struct svid *svid = NULL;

    if (!key)
        return "there is no private key";
    size_t chain_len = (size_t)(key - content.ptr);
    if (svid_from_pem(str_sub(content, 0, chain_len), str_sub(content, chain_len, content.len),
                      &svid, why) < 0)
        return why->ptr;
    if (!name_fits(name, svid->id.text)) {
        svid_unref(svid);
        return "the name of the file belongs to another SPIFFE ID";
    }
    walk->each_svid(walk->owner, svid);
    return NULL;
}

void store_load_svids(struct str dir, void (*each)(void *owner, struct svid *svid), void *owner)
{
    struct walk walk = {
        .max_bytes = SVID_MAX_BYTES, .use = use_svid, .owner = owner, .each_svid = each};

    walk_folder(&walk, dir, "svids");
}

int store_put_bundle(struct str dir, const struct bundle *bundle)
{
    struct text content = {0};

    text_addf(&content, "# %.*s\n", STR_ARG(bundle->trust_domain));
    text_add(&content, bundle->pem);
    int err = put(dir, "bundles", bundle->trust_domain, text_str(&content));
    text_fini(&content);
    return err;
}

void store_remove_bundle(struct str dir, struct str trust_domain)
{
    remove_one(dir, "bundles", trust_domain);
}

static const char *use_bundle(struct walk *walk, struct str name, struct str content,
                              struct text *why)
{
    struct str line, pem;

    if (!str_split(content, '\n', &line, &pem) || !str_starts_with(line, STR("# ")))
        return "the first line does not name a trust domain";
    struct str trust_domain = str_sub(line, 2, line.len);

    if (spiffe_check_trust_domain(trust_domain) < 0 || !name_fits(name, trust_domain))
        return "the name of the file belongs to another trust domain";
    if (bundle_check(pem, why) < 0)
        return why->ptr;
    walk->each_bundle(walk->owner, trust_domain, pem);
    return NULL;
}

void store_load_bundles(struct str dir,
                        void (*each)(void *owner, struct str trust_domain, struct str pem),
                        void *owner)
{
    struct walk walk = {
        .max_bytes = BUNDLE_MAX_BYTES, .use = use_bundle, .owner = owner, .each_bundle = each};

    walk_folder(&walk, dir, "bundles");
}
