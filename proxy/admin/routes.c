#include "proxy/admin/routes.h"

#include "config/route_table.h"
#include "proxy/admin/json_out.h"
#include "proxy/admin/views.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"

struct row { /* what the rules of one list have in common */
    const struct service *service;
    const struct service_port *port;
    struct str callers, host;
    struct text *out;
};

/* ---- what is matched ---- */

static void write_text(const struct route_text_match *match, const char *what, struct text *out)
{
    static const char *const words[] = {[ROUTE_TEXT_EXACT] = "=",
                                        [ROUTE_TEXT_PRESENT] = "there",
                                        [ROUTE_TEXT_PREFIX] = "begins",
                                        [ROUTE_TEXT_SUFFIX] = "ends",
                                        [ROUTE_TEXT_CONTAINS] = "contains"};
    text_addf(out, " %s %.*s %s%s", what, STR_ARG(match->name), match->is_negated ? "not " : "",
              words[match->kind]);
    if (match->kind != ROUTE_TEXT_PRESENT)
        text_addf(out, " \"%.*s\"", STR_ARG(match->value));
}

static void write_match(const struct route_match *match, struct text *out)
{
    text_add(out, match->method.len > 0 ? match->method : STR("any"));
    switch (match->path_kind) {
    case ROUTE_PATH_ANY: text_add(out, STR(" /*")); break;
    case ROUTE_PATH_EXACT: text_addf(out, " %.*s", STR_ARG(match->path)); break;
    case ROUTE_PATH_PREFIX: text_addf(out, " %.*s[/*]", STR_ARG(match->path)); break;
    case ROUTE_PATH_START: text_addf(out, " %.*s*", STR_ARG(match->path)); break;
    }
    if (match->is_grpc)
        text_add(out, STR(" gRPC"));
    for (size_t i = 0; i < match->n_headers; i++)
        write_text(&match->headers[i], "header", out);
    for (size_t i = 0; i < match->n_params; i++)
        write_text(&match->params[i], "parameter", out);
}

/* ---- what is done ---- */

static void write_target(struct str service, uint16_t port, struct str cluster, bool is_there,
                         struct text *out)
{
    text_addf(out, "%.*s:%u%s%.*s%s", STR_ARG(service), port, cluster.len > 0 ? "@" : "",
              STR_ARG(cluster), is_there ? "" : " (not there)");
}

static void write_forward(const struct route *route, struct text *out)
{
    const struct route_rule *rule = route->rule;
    for (size_t i = 0; i < rule->n_backends; i++) {
        const struct route_backend *backend = &rule->backends[i];
        text_addf(out, "%s%u ", i > 0 ? ", " : "to ", backend->weight);
        write_target(backend->service, backend->port, backend->cluster,
                     route->backends[i].port != NULL, out);
    }
    for (size_t i = 0; i < rule->n_mirrors; i++) {
        const struct route_mirror *mirror = &rule->mirrors[i];
        text_addf(out, ", mirror %g%% ", mirror->per_million / 10000.0);
        write_target(mirror->service, mirror->port, mirror->cluster, route->mirrors[i].port != NULL,
                     out);
    }
    if (rule->host.len > 0)
        text_addf(out, ", host %.*s", STR_ARG(rule->host));
    if (rule->path_edit != ROUTE_PATH_KEEP)
        text_addf(out, ", %s %.*s", rule->path_edit == ROUTE_PATH_REPLACE ? "path" : "prefix",
                  STR_ARG(rule->path));
    if (rule->timeout_ns > 0)
        text_addf(out, ", timeout %gs", (double)rule->timeout_ns / 1e9);
    if (rule->attempt_ns > 0)
        text_addf(out, ", each try %gs", (double)rule->attempt_ns / 1e9);
    if (rule->retry.attempts > 0)
        text_addf(out, ", %u retries", rule->retry.attempts);
    if (rule->n_hash_keys > 0)
        text_addf(out, ", hashed by %zu keys", rule->n_hash_keys);
}

static void write_action(const struct route *route, struct text *out)
{
    const struct route_rule *rule = route->rule;
    switch (rule->action) {
    case ROUTE_FORWARD: write_forward(route, out); return;
    case ROUTE_REDIRECT:
        text_addf(out, "redirect %u %.*s %.*s %.*s", rule->status, STR_ARG(rule->scheme),
                  STR_ARG(rule->host), STR_ARG(rule->path));
        return;
    case ROUTE_RESPOND: text_addf(out, "answer %u", rule->status); return;
    }
}

/* ---- the page ---- */

static void add_rule(const struct row *row, const struct route *route)
{
    struct text cell = {0};
    json_out_comma(row->out);
    text_addc(row->out, '{');
    json_out_str(row->out, "service", row->service->hostname);
    json_out_size(row->out, "port", row->port->port);
    json_out_str(row->out, "callers", row->callers);
    json_out_str(row->out, "host", row->host);
    json_out_str(row->out, "rule", route->rule->name);
    write_match(&route->rule->match, &cell);
    json_out_str(row->out, "match", text_str(&cell));
    text_clear(&cell);
    write_action(route, &cell);
    json_out_str(row->out, "action", text_str(&cell));
    text_addc(row->out, '}');
    text_fini(&cell);
}

static void add_list(const struct row *row, const struct route_list *list)
{
    for (size_t i = 0; i < list->n_routes && row->out->len < JSON_OUT_MAX; i++) {
        (void)pace();
        add_rule(row, &list->routes[i]);
    }
}

static void add_table(struct row *row, const struct route_table *table)
{
    struct text host = {0};
    for (size_t i = 0; i < table->n_exact; i++) {
        row->host = table->exact[i].name;
        add_list(row, table->exact[i].list);
    }
    for (size_t i = 0; i < table->n_wildcards; i++) {
        text_clear(&host);
        text_addf(&host, "*%.*s", STR_ARG(table->wildcards[i].name));
        row->host = text_str(&host);
        add_list(row, table->wildcards[i].list);
    }
    row->host = STR("*");
    if (table->any)
        add_list(row, table->any);
    text_fini(&host);
}

void view_routes(const struct snapshot *snapshot, struct str host, struct text *out)
{
    size_t len;
    const struct service **services = view_select(snapshot, host, &len);
    struct row row = {.out = out};
    text_add(out, STR("{\"routes\":["));
    for (size_t i = 0; i < len; i++) {
        row.service = services[i];
        for (size_t p = 0; p < services[i]->n_ports; p++) {
            row.port = &services[i]->ports[p];
            for (size_t s = 0; s < row.port->n_scopes; s++) {
                const struct route_scope *scope = &row.port->scopes[s];
                row.callers =
                    scope->source_namespace.len > 0 ? scope->source_namespace : STR("all");
                add_table(&row, scope->table);
            }
        }
    }
    text_addc(out, ']');
    if (out->len >= JSON_OUT_MAX)
        json_out_bool(out, "truncated", true);
    text_add(out, STR("}\n"));
    mem_free(services);
}
