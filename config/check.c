#include "config/check.h"

#include <string.h>
#include <sys/stat.h>

#include "config/bootstrap_doc.h"
#include "config/files.h"
#include "config/k8s.h"

struct check {
    struct k8s_reader reader;
    struct diag *diag;
    size_t n_objects;
    struct str root_namespace; /* of the last ControlConfig; in the reader's arena */
};

static void check_doc(struct check *check, const struct yaml *doc)
{
    struct proxy_config proxy = {0};
    struct control_config control = {0};
    switch (bootstrap_kind_of(doc)) {
    case BOOTSTRAP_PROXY:
        bootstrap_doc_proxy(doc, &proxy, check->diag);
        check->n_objects++;
        break;
    case BOOTSTRAP_CONTROL:
        bootstrap_doc_control(doc, &control, check->diag);
        check->root_namespace = arena_str(check->reader.arena, control.root_namespace);
        check->n_objects++;
        break;
    case BOOTSTRAP_NONE: manifests_add_doc(&check->reader, doc); break;
    }
    bootstrap_fini_proxy(&proxy);
    bootstrap_fini_control(&control);
}

static void check_file(struct check *check, const char *path)
{
    struct arena scratch = {0};
    struct yaml **docs;
    size_t n_docs = manifests_open_file(&check->reader, path, &scratch, &docs);
    for (size_t i = 0; i < n_docs; i++)
        check_doc(check, docs[i]);
    arena_fini(&scratch);
}

static void check_path(struct check *check, const char *path)
{
    struct stat info;
    struct arena scratch = {0};
    struct str *paths;
    size_t n_paths = 0;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        check_file(check, path);
        return;
    }
    if (files_find(path, &scratch, &paths, &n_paths, check->diag)) {
        if (n_paths == 0)
            diag_warn(check->diag, (struct place){.file = str_from(path)},
                      "the folder holds no manifests (*.yaml, *.yml, *.json)");
        for (size_t i = 0; i < n_paths; i++)
            check_file(check, paths[i].ptr);
    }
    arena_fini(&scratch);
}

static size_t count_warnings(const struct diag *diag)
{
    size_t n = 0;
    for (size_t i = 0; i < diag->len; i++)
        n += diag->entries[i].severity == DIAG_WARNING;
    return n;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void add_summary(const struct check *check, size_t n_files, struct text *out)
{
    size_t n_errors = check->diag->n_errors, n_warnings = count_warnings(check->diag);
    text_addf(out, "%zu object%s in %zu file%s: ", check->n_objects, plural(check->n_objects),
              n_files, plural(n_files));
    if (n_errors == 0)
        text_add(out, STR("no errors"));
    else
        text_addf(out, "%zu error%s", n_errors, plural(n_errors));
    if (n_warnings > 0)
        text_addf(out, ", %zu warning%s", n_warnings, plural(n_warnings));
    text_addc(out, '\n');
}

bool check_files(const char *const *paths, size_t n_paths, struct text *out)
{
    struct diag diag = {0};
    struct check check = {.diag = &diag, .root_namespace = STR(ROOT_NAMESPACE)};
    manifests_begin(&check.reader, &diag);
    for (size_t i = 0; i < n_paths; i++)
        check_path(&check, paths[i]);
    size_t n_files = check.reader.set->n_files;
    for (size_t i = 0; i < K8S_KINDS; i++)
        check.n_objects += check.reader.objects[i].len;
    struct manifests *set = manifests_end(&check.reader);
    if (set)
        manifests_cross_check(set, check.root_namespace, true, &diag);
    manifests_free(set);
    diag_print(&diag, out);
    add_summary(&check, n_files, out);
    bool clean = diag_is_clean(&diag);
    diag_fini(&diag);
    return clean;
}
