/* The folder of manifests, or what is known of an API server, as a control process reads it: what
 * is found in it is logged once and counted. */
#include "proxy/base/clock.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/log.h"
#include "xds/control/fingerprint.h"
#include "xds/control/inside.h"

static void tell_entry(enum log_level level, const char *message, const struct diag_entry *entry)
{
    if (level == LOG_ERROR)
        log_error(message, log_str("file", entry->place.file), log_u64("line", entry->place.line),
                  log_u64("column", entry->place.column), log_str("why", entry->sentence));
    else
        log_warn(message, log_str("file", entry->place.file), log_u64("line", entry->place.line),
                 log_u64("column", entry->place.column), log_str("why", entry->sentence));
}

/* The same findings are told once, however often the folder is read. */
static void tell_findings(const struct diag *diag, uint64_t *last_told)
{
    struct text all = {0};
    diag_print(diag, &all);
    const uint64_t told = keyed_hash(0, text_str(&all));
    for (size_t i = 0; i < diag->len && told != *last_told; i++) {
        const struct diag_entry *entry = &diag->entries[i];
        if (entry->severity == DIAG_ERROR)
            tell_entry(LOG_ERROR, "a manifest is wrong; the last good set stays", entry);
        else if (diag_is_clean(diag))
            tell_entry(LOG_WARN, "a manifest is odd", entry);
    }
    *last_told = told;
    text_fini(&all);
}

/* For one line of a log or a table: without the last newline. */
static void print_line(const struct diag *diag, struct text *out)
{
    struct text all = {0};
    diag_print(diag, &all);
    text_add(out, str_sub(text_str(&all), 0, all.len > 0 ? all.len - 1 : 0));
    text_fini(&all);
}

static void conclude_reading(struct control *control, bool is_good, const struct diag *diag,
                             struct text *out_error)
{
    if (!is_good)
        print_line(diag, out_error);
    meter_add(control->meter, is_good ? METRIC_MANIFESTS_LOADED : METRIC_MANIFESTS_REFUSED, 1);
}

static struct manifests *read_folder(struct control *control, struct diag *diag)
{
    struct text path = {0};
    text_add(&path, control->config->manifests_dir);
    control->fingerprint = folder_fingerprint(path.ptr, clock_wall_ns());
    struct manifests *set =
        manifests_read_cached(control->manifests_cache, path.ptr, clock_wall_ns(), diag);
    text_fini(&path);
    return set;
}

struct manifests *control_read_manifests(struct control *control, struct text *out_error)
{
    struct diag diag = {0};
    struct manifests *set = control->source
                                ? manifests_store_set(kube_source_store(control->source), &diag)
                                : read_folder(control, &diag);
    if (set)
        manifests_cross_check(set, control->config->root_namespace, false, &diag);
    tell_findings(&diag, &control->told_findings);
    conclude_reading(control, set != NULL, &diag, out_error);
    diag_fini(&diag);
    return set;
}

static enum manifests_news look_into_folder(struct control *control,
                                            struct manifests_changes *out_changes,
                                            struct manifests **out_whole, struct diag *diag)
{
    struct text path = {0};
    text_add(&path, control->config->manifests_dir);
    const enum manifests_news news =
        manifests_read_news(control->manifests_cache, path.ptr, clock_wall_ns(), control->manifests,
                            out_changes, out_whole, diag);
    text_fini(&path);
    return news;
}

enum manifests_news control_read_news(struct control *control,
                                      struct manifests_changes *out_changes,
                                      struct manifests **out_whole)
{
    struct diag diag = {0};
    const enum manifests_news news =
        control->source ? manifests_store_news(kube_source_store(control->source),
                                               control->manifests, out_changes, out_whole, &diag)
                        : look_into_folder(control, out_changes, out_whole, &diag);
    if (news == MANIFESTS_WHOLE)
        manifests_cross_check(*out_whole, control->config->root_namespace, false, &diag);
    else if (news == MANIFESTS_PATCHED)
        manifests_cross_check_changes(control->manifests, out_changes, &diag);
    tell_findings(&diag,
                  news == MANIFESTS_PATCHED ? &control->told_of_changes : &control->told_findings);
    conclude_reading(control, news != MANIFESTS_REFUSED, &diag, &control->manifests_error);
    diag_fini(&diag);
    return news;
}

/* The fingerprint is from before the reading that follows: a write meanwhile shows in the next one.
 */
bool control_has_news(struct control *control)
{
    struct text path = {0};
    const uint64_t before = control->fingerprint;
    text_add(&path, control->config->manifests_dir);
    control->fingerprint = folder_fingerprint(path.ptr, clock_wall_ns());
    text_fini(&path);
    return control->fingerprint != before;
}
