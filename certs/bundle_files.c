/* bundle_files.c - a watch for each file. */
#include "certs/bundle_files.h"

#include "certs/bundle.h"
#include "certs/crl.h"
#include "certs/jwks.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/list.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/io/process.h"

#define QUIET_NS     (100 * NS_PER_MS)
#define RESCAN_NS    (60 * NS_PER_SEC)
#define CRL_FILE_MAX (2 * CRL_MAX_BYTES) /* as PEM */

struct bundle_files {
    struct loop *loop;
    bundle_file_fn *on_bundle;
    crl_file_fn *on_crls;
    void *owner;
    struct list files;
};

struct bundle_file {
    struct list link;
    struct bundle_files *files;
    struct arena arena;
    struct str trust_domain, path;
    bool has_crls; /* in place of roots */
    uint64_t told; /* the hash of what was told last; 0: nothing */
    struct folder_watch *watch;
};

static bool is_json(struct str text)
{
    while (text.len > 0 && (unsigned char)text.ptr[0] <= ' ')
        text = str_sub(text, 1, text.len);
    return str_starts_with(text, STR("{"));
}

static int roots_of(struct str content, struct text *out_pem, struct text *why)
{
    struct jwks jwks = {0};

    if (!is_json(content)) {
        text_add(out_pem, content);
        return bundle_check(content, why);
    }
    int err = jwks_parse(content, &jwks, why);
    if (err == 0)
        text_add(out_pem, text_str(&jwks.pem));
    jwks_fini(&jwks);
    return err;
}

int bundle_file_read(struct str path, struct text *out_pem, struct text *why)
{
    struct text content = {0}, reason = {0};
    int err = file_read_all(path, JWKS_MAX_BYTES, &content);

    if (err < 0)
        text_addf(&reason, "%s", file_why(err));
    else
        err = roots_of(text_str(&content), out_pem, &reason);
    if (err < 0)
        text_addf(why, "%.*s: %.*s", STR_ARG(path), STR_ARG(text_str(&reason)));
    text_fini(&content);
    text_fini(&reason);
    return err;
}

static int read_crls(struct str path, struct text *out_crls, struct text *why)
{
    struct text reason = {0};
    STACK_OF(X509_CRL) *crls = NULL;
    int err = file_read_all(path, CRL_FILE_MAX, out_crls);

    if (err < 0)
        text_addf(&reason, "%s", file_why(err));
    else
        err = crl_read(text_str(out_crls), &crls, &reason);
    if (err < 0)
        text_addf(why, "%.*s: %.*s", STR_ARG(path), STR_ARG(text_str(&reason)));
    else
        crl_list_free(crls);
    text_fini(&reason);
    return err;
}

static int read_one(struct bundle_file *file, struct text *why)
{
    const struct bundle_files *files = file->files;
    struct text content = {0};
    int err = file->has_crls ? read_crls(file->path, &content, why)
                             : bundle_file_read(file->path, &content, why);
    const uint64_t told = keyed_hash(1, text_str(&content));

    if (err == 0 && told != file->told) {
        file->told = told;
        (file->has_crls ? files->on_crls : files->on_bundle)(files->owner, file->trust_domain,
                                                             text_str(&content));
    }
    text_fini(&content);
    return err;
}

static void on_change(void *owner)
{
    struct bundle_file *file = owner;
    struct text why = {0};

    if (read_one(file, &why) < 0)
        log_error("a file of roots or revocation lists cannot be used; what it said before stays",
                  log_str("trust_domain", file->trust_domain), log_str("error", text_str(&why)));
    text_fini(&why);
}

struct bundle_files *bundle_files_new(struct loop *loop, bundle_file_fn *on_bundle,
                                      crl_file_fn *on_crls, void *owner)
{
    struct bundle_files *files = mem_new(struct bundle_files);

    files->loop = loop;
    files->on_bundle = on_bundle;
    files->on_crls = on_crls;
    files->owner = owner;
    list_init(&files->files);
    return files;
}

static void add(struct bundle_files *files, struct str trust_domain, struct str path, bool has_crls)
{
    struct bundle_file *file = mem_new(struct bundle_file);

    file->files = files;
    file->has_crls = has_crls;
    file->trust_domain = arena_str(&file->arena, trust_domain);
    file->path = arena_str(&file->arena, path);
    file->watch =
        folder_watch_open(files->loop, file->path.ptr, QUIET_NS, RESCAN_NS, on_change, file);
    list_push_back(&files->files, &file->link);
}

void bundle_files_add(struct bundle_files *files, struct str trust_domain, struct str path)
{
    add(files, trust_domain, path, false);
}

void bundle_files_add_crls(struct bundle_files *files, struct str trust_domain, struct str path)
{
    ensure(files->on_crls);
    add(files, trust_domain, path, true);
}

int bundle_files_read(struct bundle_files *files, struct text *why)
{
    int first_err = 0;

    list_foreach(link, &files->files)
    {
        struct text reason = {0};
        int err = read_one(list_entry(link, struct bundle_file, link), &reason);

        if (err < 0 && first_err == 0) {
            first_err = err;
            text_add(why, text_str(&reason));
        }
        text_fini(&reason);
    }
    return first_err;
}

void bundle_files_free(struct bundle_files *files)
{
    if (!files)
        return;
    list_foreach(link, &files->files)
    {
        struct bundle_file *file = list_entry(link, struct bundle_file, link);

        folder_watch_close(file->watch);
        list_remove(&file->link);
        arena_fini(&file->arena);
        mem_free(file);
    }
    mem_free(files);
}
