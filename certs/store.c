/*
 * store.c - the name of a file is the hash of what it is about, so a SPIFFE ID never becomes
 * part of a path; the content says again what it is about, and
 * the two must agree.
 */
#include "certs/store.h"

#include <string.h>

#include "certs/digest.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define SVID_MAX_BYTES ((size_t)256 * 1024)
#define FILES_MAX      20000
#define FOLDER         "svids"
#define NAME_SUFFIX    ".pem"
#define KEY_BEGIN      "-----BEGIN PRIVATE KEY-----"

/* Of which nobody who may choose an ID finds a second one, for another's file. */
static void add_name(struct str id, struct text *out)
{
    char digest[DIGEST_HEX_LEN + 1];

    digest_sha256_hex(id, digest);
    text_addf(out, "%s" NAME_SUFFIX, digest);
}

static void path_of(struct str dir, struct str id, struct text *out)
{
    text_addf(out, "%.*s/" FOLDER "/", STR_ARG(dir));
    add_name(id, out);
}

static bool name_fits(struct str name, struct str subject)
{
    struct text expected = {0};

    add_name(subject, &expected);
    bool fits = str_eq(name, text_str(&expected));
    text_fini(&expected);
    return fits;
}

/* As names were made before: of a file that nobody would find again, and that holds a key. */
static bool is_of_before(struct str name)
{
    return name.len == 16 + sizeof(NAME_SUFFIX) - 1 && str_ends_with(name, STR(NAME_SUFFIX));
}

static int put(struct str dir, struct str id, struct str content)
{
    struct text path = {0};

    text_addf(&path, "%.*s/" FOLDER, STR_ARG(dir));
    int err = file_make_dir(dir, 0700);
    if (err == 0)
        err = file_make_dir(text_str(&path), 0700);
    if (err == 0) {
        text_clear(&path);
        path_of(dir, id, &path);
        err = file_write_atomic(text_str(&path), content, 0600);
    }
    if (err < 0)
        log_error("a certificate could not be kept on disk", log_str("identity", id),
                  log_str("path", text_str(&path)), log_cstr("error", file_why(err)));
    text_fini(&path);
    return err;
}

/* One walk over the folder. */
struct walk {
    struct text dir;
    void *owner;
    void (*each)(void *owner, struct svid *svid);
};

static void skip(struct str path, const char *why)
{
    log_warn("a stored certificate was skipped", log_str("path", path), log_cstr("why", why));
}

/* NULL, or a sentence why the file is of no use. */
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
    walk->each(walk->owner, svid);
    return NULL;
}

static void visit(void *owner, struct str name)
{
    struct walk *walk = owner;
    struct text path = {0}, content = {0}, why = {0};

    text_addf(&path, "%.*s/%.*s", STR_ARG(text_str(&walk->dir)), STR_ARG(name));
    if (str_ends_with(name, STR(FILE_TEMPORARY_SUFFIX)) || is_of_before(name)) {
        /* What a crash left half-written may hold a key. */
        if (file_remove(text_str(&path)) < 0)
            skip(text_str(&path), "a leftover cannot be removed");
    } else {
        int err = file_read_all(text_str(&path), SVID_MAX_BYTES, &content);
        const char *fault =
            err < 0 ? err_text(err) : use_svid(walk, name, text_str(&content), &why);
        if (fault)
            skip(text_str(&path), fault);
    }
    file_wipe(&content);
    text_fini(&path);
    text_fini(&why);
}

int store_put_svid(struct str dir, const struct svid *svid)
{
    struct text content = {0}, key = {0};

    /* The key last and in one piece, so that growing the text leaves no copy of it. */
    svid_key_pem(svid, &key);
    svid_chain_pem(svid, &content);
    text_add(&content, text_str(&key));
    int err = put(dir, svid->id.text, text_str(&content));
    file_wipe(&content);
    file_wipe(&key);
    return err;
}

void store_remove_svid(struct str dir, struct str id)
{
    struct text path = {0};

    path_of(dir, id, &path);
    if (file_remove(text_str(&path)) < 0)
        log_warn("a stored certificate could not be removed", log_str("identity", id),
                 log_str("path", text_str(&path)));
    text_fini(&path);
}

void store_load_svids(struct str dir, void (*each)(void *owner, struct svid *svid), void *owner)
{
    struct walk walk = {.owner = owner, .each = each};

    text_addf(&walk.dir, "%.*s/" FOLDER, STR_ARG(dir));
    int err = file_each_name(text_str(&walk.dir), FILES_MAX, visit, &walk);
    if (err < 0 && err != -ERR_NOT_FOUND)
        log_warn("a folder of certificates could not be read whole",
                 log_str("path", text_str(&walk.dir)), log_cstr("error", file_why(err)));
    text_fini(&walk.dir);
}
