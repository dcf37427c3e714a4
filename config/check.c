#include "config/check.h"

#include <string.h>
#include <sys/stat.h>

#include "config/bootstrap_doc.h"
#include "config/files.h"
#include "config/k8s.h"

#define CLUSTERS_MAX 256
#define NAMES_SHOWN  8

struct check {
    struct k8s_reader reader;
    struct k8s_mentions mentions;           /* of clusters, in its arena */
    const char *clusters[CLUSTERS_MAX + 1]; /* of the ControlConfigs, with their peers; likewise */
    size_t n_clusters;
    struct diag *diag;
    size_t n_objects;
    struct str root_namespace; /* of the last ControlConfig; in the reader's arena */
};

static bool knows_cluster(const struct check *check, struct str name)
{
    for (size_t i = 0; i < check->n_clusters; i++)
        if (str_eq(name, str_from(check->clusters[i])))
            return true;
    return false;
}

static void learn_cluster(struct check *check, struct str name)
{
    if (str_is_empty(name) || knows_cluster(check, name) || check->n_clusters == CLUSTERS_MAX)
        return;
    check->clusters[check->n_clusters++] = arena_str(check->reader.arena, name).ptr;
}

static void learn_clusters(struct check *check, const struct control_config *control)
{
    learn_cluster(check, control->cluster);
    for (size_t i = 0; i < control->n_peers; i++)
        learn_cluster(check, control->peers[i].name);
}

static void tell_unknown(const struct check *check, const struct k8s_mention *mention)
{
    const char *near = yaml_nearest(mention->name, check->clusters, mention->name.len / 2 + 1);
    struct text hint = {0};
    if (near)
        text_addf(&hint, "did you mean \"%s\"?", near);
    else
        text_add(&hint, STR("they are of "));
    for (size_t i = 0; !near && i < check->n_clusters && i < NAMES_SHOWN; i++)
        text_addf(&hint, "%s\"%s\"", i > 0 ? ", " : "", check->clusters[i]);
    diag_warn(check->diag, mention->place,
              "%.*s: \"%.*s\" is neither the cluster nor a peer of a ControlConfig here; %s",
              STR_ARG(mention->what), STR_ARG(mention->name), hint.ptr);
    text_fini(&hint);
}

/* Which clusters there are is known where a ControlConfig is among the files, and not too many. */
static void check_mentions(const struct check *check)
{
    if (check->n_clusters == 0 || check->n_clusters == CLUSTERS_MAX)
        return;
    for (const struct k8s_mention *at = check->mentions.first; at; at = at->next)
        if (!knows_cluster(check, at->name))
            tell_unknown(check, at);
}

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
        learn_clusters(check, &control);
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
    check.reader.mentions = &check.mentions;
    for (size_t i = 0; i < n_paths; i++)
        check_path(&check, paths[i]);
    size_t n_files = check.reader.set->n_files;
    for (size_t i = 0; i < K8S_KINDS; i++)
        check.n_objects += check.reader.objects[i].len;
    check_mentions(&check); /* they go with the set */
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
