#include "proxy/run/policy_test.h"

#include <string.h>
#include <sys/stat.h>

#include "config/files.h"
#include "config/manifests.h"
#include "proxy/admin/why.h"
#include "proxy/base/mem.h"
#include "proxy/run/policy_table.h"
#include "xds/control/registry.h"

struct run {
    struct arena arena;
    struct diag diag;
    struct policy_table table;
    struct manifests *manifests;
    struct registry *registry;
    struct snapshot *snapshot;
    struct text *out;
    size_t n_mismatches;
};

/* ---- the mesh of the manifests ---- */

static void add_path(struct run *run, const char *path, const char **paths, size_t *n)
{
    struct stat info;
    struct str *found;
    size_t n_found = 0;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        if (*n < FILES_MAX)
            paths[(*n)++] = path;
        return;
    }
    if (!files_find(path, &run->arena, &found, &n_found, &run->diag))
        return;
    for (size_t i = 0; i < n_found && *n < FILES_MAX; i++)
        paths[(*n)++] = found[i].ptr;
}

static void read_manifests(struct run *run, const char *const *manifests, size_t n_manifests)
{
    const char **paths = mem_new_array(const char *, FILES_MAX);
    size_t n = 0;
    for (size_t i = 0; i < n_manifests; i++)
        add_path(run, manifests[i], paths, &n);
    run->manifests = manifests_read_files(paths, n, &run->diag);
    mem_free(paths);
}

/* As the control process and a node do it, the stream between them left out. */
static void build(struct run *run)
{
    const struct control_config *config = &run->table.config;
    const struct registry_input input = {.config = config, .manifests = run->manifests};
    const struct vantage vantage = {
        .cluster = config->cluster,
        .network = config->network,
        .trust_domain = config->trust_domain,
        .cluster_domain = config->cluster_domain,
    };
    run->registry = registry_build(&input);
    registry_emit(run->registry);
    run->snapshot =
        snapshot_build(run->registry->for_nodes, run->registry->n_for_nodes, &vantage, 1, true);
}

/* ---- one case ---- */

static int find_source(struct run *run, const struct policy_case *one, struct principal *out_source)
{
    struct text problem = {0};
    struct str who = one->address;
    if (!str_is_empty(one->principal))
        who = one->principal;
    else if (!str_is_empty(one->pod))
        who = one->pod;
    int err = why_source(run->snapshot, who, out_source, &problem);
    if (err == 0 && !str_is_empty(one->address))
        err = ip_parse(one->address, &out_source->ip);
    if (err < 0)
        diag_error(&run->diag, one->from_place, "%.*s", STR_ARG(text_str(&problem)));
    text_fini(&problem);
    return err;
}

static struct str host_of(struct run *run, const struct policy_case *one)
{
    struct str namespace_, name;
    if (!str_is_empty(one->to_pod))
        return one->to_pod;
    if (!str_split(one->to_service, '/', &namespace_, &name))
        return one->to_service;
    return arena_printf(&run->arena, "%.*s.%.*s.svc.%.*s", STR_ARG(name), STR_ARG(namespace_),
                        STR_ARG(run->table.config.cluster_domain));
}

static void add_title(struct text *out, const char *outcome, const struct policy_case *one)
{
    text_addf(out, "%-4s %.*s:%u:%u: ", outcome, STR_ARG(one->place.file), one->place.line,
              one->place.column);
    if (!str_is_empty(one->name)) {
        text_addf(out, "%.*s: ", STR_ARG(one->name));
        return;
    }
    const struct str who = !str_is_empty(one->principal) ? one->principal
                           : !str_is_empty(one->pod)     ? one->pod
                                                         : one->address;
    const struct str what = str_is_empty(one->to_pod) ? one->to_service : one->to_pod;
    text_addf(out, "%.*s to %.*s port %u", STR_ARG(who), STR_ARG(what), one->port);
    if (one->request)
        text_addf(out, ", %.*s %.*s", STR_ARG(one->request->method), STR_ARG(one->request->path));
    text_addf(out, ": ");
}

static bool is_as_expected(const struct policy_case *one, const struct policy_answer *answer)
{
    return answer->allowed == one->is_allowed &&
           (str_is_empty(one->policy) || str_eq(one->policy, answer->policy));
}

static void add_expected(struct text *out, const struct policy_case *one,
                         const struct why_destination *destination)
{
    char buf[ADDR_TEXT_MAX];
    text_addf(out, "expected %s", one->is_allowed ? "allow" : "deny");
    if (!str_is_empty(one->policy))
        text_addf(out, " by %.*s", STR_ARG(one->policy));
    text_addf(out, " at %.*s/%.*s (%s)\n", STR_ARG(destination->workload->namespace_),
              STR_ARG(destination->workload->name), addr_text(&destination->addr, buf));
}

static void add_lines(struct text *out, const struct policy_explanation *explanation)
{
    for (size_t i = 0; i < explanation->n_lines; i++) {
        const struct policy_line *line = &explanation->lines[i];
        text_addf(out, "       %s%s %.*s", policy_action_text(line->policy->action),
                  line->policy->dry_run ? " (dry-run)" : "", STR_ARG(line->policy->key));
        if (line->has_rule)
            text_addf(out, ", rule %zu", line->rule_idx);
        text_addf(out, ": %.*s\n",
                  STR_ARG(line->depends_on_request && line->matches ? STR("may match")
                          : line->matches                           ? STR("matches")
                                                                    : line->why_not));
    }
    if (explanation->n_lines == 0)
        text_addf(out, "       no policy applies\n");
    if (explanation->n_left_out > 0)
        text_addf(out, "       and %zu rules more that do not match\n", explanation->n_left_out);
}

/* A pod that is not in the mesh is reached past every policy. */
static void judge(const struct principal *source, const struct why_destination *destination,
                  const struct policy_request *request, struct arena *arena,
                  struct policy_explanation *out_explanation)
{
    if (why_is_judged(destination))
        why_explain(source, destination, request, arena, out_explanation);
    else
        *out_explanation = (struct policy_explanation){
            .answer = {.allowed = true,
                       .sentence = "the pod is not in the mesh, nobody asks policies for it"}};
}

/* Every endpoint has to answer as expected; the first that does not is told. */
static void ask(struct run *run, const struct policy_case *one, const struct principal *source,
                const struct why_destination *list, size_t n)
{
    struct arena arena = {0};
    struct policy_explanation explanation = {0};
    struct policy_request request = {0};
    bool is_fine = true;
    if (one->request)
        request = *one->request;
    if (str_is_empty(request.host) && str_is_empty(one->to_pod))
        request.host = host_of(run, one);
    for (size_t i = 0; is_fine && i < n; i++) {
        arena_fini(&arena);
        arena = (struct arena){0};
        judge(source, &list[i], one->request ? &request : NULL, &arena, &explanation);
        is_fine = is_as_expected(one, &explanation.answer);
        if (is_fine)
            continue;
        add_title(run->out, "FAIL", one);
        policy_answer_text(&explanation.answer, run->out);
        text_addf(run->out, "\n       ");
        add_expected(run->out, one, &list[i]);
        add_lines(run->out, &explanation);
        run->n_mismatches++;
    }
    if (is_fine) {
        add_title(run->out, "ok", one);
        policy_answer_text(&explanation.answer, run->out);
        text_addc(run->out, '\n');
    }
    arena_fini(&arena);
}

static void run_case(struct run *run, const struct policy_case *one)
{
    struct principal source;
    struct why_destination *list = NULL;
    struct text problem = {0};
    size_t n = 0;
    if (find_source(run, one, &source) < 0)
        return;
    if (why_destinations(run->snapshot, host_of(run, one), one->port, &run->arena, &list, &n,
                         &problem) == 0)
        ask(run, one, &source, list, n);
    else
        diag_error(&run->diag, one->to_place, "%.*s", STR_ARG(text_str(&problem)));
    text_fini(&problem);
}

/* ---- the table ---- */

static void finish(struct run *run)
{
    snapshot_free(run->snapshot);
    registry_free(run->registry);
    manifests_free(run->manifests);
    policy_table_fini(&run->table);
    diag_fini(&run->diag);
    arena_fini(&run->arena);
}

enum policy_test_outcome policy_test_run(const char *table, const char *const *manifests,
                                         size_t n_manifests, struct text *out)
{
    struct run run = {.out = out};
    enum policy_test_outcome outcome = POLICY_TEST_BAD_FILE;
    policy_table_read(table, &run.table, &run.diag);
    read_manifests(&run, manifests, n_manifests);
    if (diag_is_clean(&run.diag) && run.manifests) {
        build(&run);
        for (size_t i = 0; i < run.table.n_cases; i++)
            run_case(&run, &run.table.cases[i]);
    }
    if (diag_is_clean(&run.diag)) {
        outcome = run.n_mismatches > 0 ? POLICY_TEST_MISMATCH : POLICY_TEST_AS_EXPECTED;
        text_addf(out, "%zu case%s, %zu not as expected\n", run.table.n_cases,
                  run.table.n_cases == 1 ? "" : "s", run.n_mismatches);
    }
    diag_print(&run.diag, out);
    finish(&run);
    return outcome;
}
