#include "config/bootstrap.h"

#include "config/bootstrap_doc.h"
#include "config/bootstrap_fields.h"
#include "config/files.h"
#include "config/yaml.h"
#include "proxy/base/mem.h"

#define BOOTSTRAP_BYTES_MAX ((size_t)1 << 20)

enum bootstrap_kind bootstrap_kind_of(const struct yaml *doc)
{
    const struct yaml *version = yaml_get(doc, "apiVersion"), *kind = yaml_get(doc, "kind");
    if (!version || !kind || !str_starts_with(version->text, STR(ISTHMUS_API_GROUP)))
        return BOOTSTRAP_NONE;
    if (str_eq(kind->text, STR("ProxyConfig")))
        return BOOTSTRAP_PROXY;
    return str_eq(kind->text, STR("ControlConfig")) ? BOOTSTRAP_CONTROL : BOOTSTRAP_NONE;
}

/* The one document of a file, of the given kind; NULL with an error otherwise. */
static const struct yaml *read_doc(const char *path, const char *kind, struct arena *arena,
                                   struct diag *diag)
{
    struct str bytes;
    struct yaml **docs;
    struct place place = {.file = str_from(path)};
    size_t n_errors = diag->n_errors;
    if (!file_read(path, BOOTSTRAP_BYTES_MAX, &bytes, diag))
        return NULL;
    size_t n_docs = yaml_parse(arena, place.file, bytes, &docs, diag);
    mem_free((void *)(uintptr_t)bytes.ptr);
    if (diag->n_errors > n_errors)
        return NULL;
    if (n_docs == 0) {
        diag_error(diag, place, "the file has no document, expected one of kind %s", kind);
        return NULL;
    }
    if (n_docs > 1) {
        diag_error(diag, docs[1]->place, "the file has a second document, expected one");
        return NULL;
    }
    struct str found = yaml_text(yaml_get(docs[0], "kind"), "kind", (struct str){0}, diag);
    if (!str_eq(found, str_from(kind))) {
        diag_error(diag, docs[0]->place, "kind: \"%.*s\" is not %s", STR_ARG(found), kind);
        return NULL;
    }
    return docs[0];
}

void bootstrap_read_proxy(const char *path, struct proxy_config *out_config, struct diag *diag)
{
    struct arena scratch = {0};
    struct proxy_config config = {0};
    size_t n_errors = diag->n_errors;
    const struct yaml *doc = read_doc(path, "ProxyConfig", &scratch, diag);
    if (doc)
        bootstrap_doc_proxy(doc, &config, diag);
    if (doc && diag->n_errors == n_errors)
        *out_config = config;
    else
        bootstrap_fini_proxy(&config);
    arena_fini(&scratch);
}

void bootstrap_read_control(const char *path, struct control_config *out_config, struct diag *diag)
{
    struct arena scratch = {0};
    struct control_config config = {0};
    size_t n_errors = diag->n_errors;
    const struct yaml *doc = read_doc(path, "ControlConfig", &scratch, diag);
    if (doc)
        bootstrap_doc_control(doc, &config, diag);
    if (doc && diag->n_errors == n_errors)
        *out_config = config;
    else
        bootstrap_fini_control(&config);
    arena_fini(&scratch);
}

void bootstrap_fini_proxy(struct proxy_config *config)
{
    arena_fini(&config->arena);
    *config = (struct proxy_config){0};
}

void bootstrap_fini_control(struct control_config *config)
{
    arena_fini(&config->arena);
    *config = (struct control_config){0};
}
