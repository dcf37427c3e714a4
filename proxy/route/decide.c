/*
 * What a rule answers: a status, a redirect, or a backend drawn by weight. All chance of a request
 * is one number; what needs another takes one that is derived from it.
 */
#include "proxy/base/arena.h"
#include "proxy/route/hash.h"
#include "proxy/route/match.h"
#include "proxy/route/route.h"

#define LOCATION_PORT_HTTP  80
#define LOCATION_PORT_HTTPS 443

/* Further numbers out of one (splitmix64). */
static uint64_t another(uint64_t random, uint64_t idx)
{
    uint64_t mixed = random + (idx + 1) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

static void add_edits(struct route_edit_list *list, const struct route_edits *edits,
                      struct arena *arena)
{
    if (edits->n_set + edits->n_add + edits->n_remove > 0)
        list->at[list->len++] = route_edits_copy(arena, edits);
}

/* ---- paths and locations ---- */

/* Two parts of a path with one slash between them. */
static struct str seam(struct arena *arena, struct str head, struct str rest)
{
    if (head.len > 0 && head.ptr[head.len - 1] == '/' && rest.len > 0 && rest.ptr[0] == '/')
        head.len--;
    if (head.len + rest.len == 0)
        return STR("/");
    return arena_printf(arena, "%.*s%.*s", STR_ARG(head), STR_ARG(rest));
}

/* In the one form again, since where two parts meet there may be dots for a segment: "/pub" taken
 * off "/pub../x". What may not stand in a path is refused where routes are read. */
static struct str normal(struct arena *arena, struct str target)
{
    struct http_path path;
    const char *why;
    return http_path_normalize(target, HTTP_PATH_MERGE_SLASHES, arena, &path, &why) < 0
               ? STR("/")
               : path.target;
}

static struct str edited_target(const struct route_question *question,
                                const struct route_rule *rule, struct arena *arena)
{
    const struct http_path *path = question->path;
    const size_t matched = rule->match.path_kind == ROUTE_PATH_ANY ? 0 : rule->match.path.len;
    struct str edited = rule->path;
    if (rule->path_edit == ROUTE_PATH_KEEP || str_eq(path->path, STR("*")))
        return path->target;
    if (rule->path_edit == ROUTE_PATH_REPLACE_PREFIX)
        edited = seam(arena, rule->path, str_sub(path->path, matched, path->path.len));
    if (path->path.len == path->target.len)
        return normal(arena, arena_str(arena, edited));
    return normal(arena, arena_printf(arena, "%.*s?%.*s", STR_ARG(edited), STR_ARG(path->query)));
}

/* Gateway API's rule: the port that is named, else the one that the scheme is known for, else the
 * one that was called. One that the scheme implies is left out. */
static uint16_t location_port(const struct route_question *question, const struct route_rule *rule,
                              struct str scheme)
{
    const uint16_t known = str_eq(scheme, STR("https")) ? LOCATION_PORT_HTTPS : LOCATION_PORT_HTTP;
    uint16_t port = rule->port;
    if (port == 0)
        port = rule->scheme.len > 0 ? known : question->port->port;
    return port == known ? 0 : port;
}

static struct str location(const struct route_question *question, const struct route_rule *rule,
                           struct arena *arena)
{
    const struct str scheme = rule->scheme.len > 0 ? rule->scheme : question->head->scheme;
    const struct str host =
        rule->host.len > 0 ? rule->host : route_host_of(question->head->authority);
    const struct str target = edited_target(question, rule, arena);
    const uint16_t port = location_port(question, rule, scheme);
    if (port == 0)
        return arena_printf(arena, "%.*s://%.*s%.*s", STR_ARG(scheme), STR_ARG(host),
                            STR_ARG(target));
    return arena_printf(arena, "%.*s://%.*s:%u%.*s", STR_ARG(scheme), STR_ARG(host), port,
                        STR_ARG(target));
}

/* ---- backends ---- */

/* The idx of the backend in whose share the number falls; the weights sum up to over 0. */
static size_t pick_backend(const struct route *route, uint64_t random)
{
    uint64_t at = random % route->total_weight;
    size_t idx = 0;
    while (at >= route->rule->backends[idx].weight)
        at -= route->rule->backends[idx++].weight;
    return idx;
}

static void pick_mirrors(const struct route *route, uint64_t random, struct arena *arena,
                         struct route_decision *decision)
{
    const struct route_rule *rule = route->rule;
    if (rule->n_mirrors == 0)
        return;
    struct route_mirror_choice *chosen =
        arena_new_array(arena, struct route_mirror_choice, rule->n_mirrors);
    for (size_t i = 0; i < rule->n_mirrors; i++)
        if (route->mirrors[i].port &&
            another(random, i) % ROUTE_MILLION < rule->mirrors[i].per_million)
            chosen[decision->n_mirrors++] =
                (struct route_mirror_choice){route->mirrors[i].service, route->mirrors[i].port};
    decision->mirrors = chosen;
}

static void answer(struct route_decision *decision, unsigned status, const char *why)
{
    decision->status = status;
    decision->why = why;
}

static void send_to(struct route_decision *decision, const struct service *service,
                    const struct service_port *port, struct arena *arena)
{
    decision->service = service;
    decision->port = port;
    decision->service_key = arena_str(arena, service->key);
}

static void forward(const struct route_question *question, const struct route *route,
                    struct arena *arena, struct route_decision *decision)
{
    const struct route_rule *rule = route->rule;
    if (route->total_weight == 0) {
        answer(decision, 500, "no_backend");
        return;
    }
    const size_t idx = pick_backend(route, question->random);
    if (!route->backends[idx].port) {
        answer(decision, rule->missing_status, "backend_not_found");
        return;
    }
    send_to(decision, route->backends[idx].service, route->backends[idx].port, arena);
    decision->target = edited_target(question, rule, arena);
    if (rule->host.len > 0)
        decision->authority = arena_str(arena, rule->host);
    add_edits(&decision->request_edits, &rule->request, arena);
    add_edits(&decision->request_edits, &rule->backends[idx].request, arena);
    add_edits(&decision->response_edits, &rule->response, arena);
    add_edits(&decision->response_edits, &rule->backends[idx].response, arena);
    decision->timeout_ns = rule->timeout_ns;
    decision->attempt_ns = rule->attempt_ns;
    decision->retry = rule->retry;
    decision->retry.codes = route_codes_copy(arena, &rule->retry);
    pick_mirrors(route, question->random, arena, decision);
    route_hash_make(question, rule, decision->service, arena, &decision->hash);
}

bool route_passes(const struct service *service, const struct service_port *port,
                  struct str source_namespace)
{
    return !route_table_of(port, source_namespace) && !route_hashes(service);
}

void route_decide(const struct route_question *question, struct arena *arena,
                  struct route_decision *out_decision)
{
    const struct route_table *table = route_table_of(question->port, question->source_namespace);
    struct route_decision *decision = out_decision;
    *decision = (struct route_decision){
        .target = question->path->target,
        .authority = question->head->authority,
    };
    if (!table) {
        send_to(decision, question->service, question->port, arena);
        route_hash_make(question, NULL, question->service, arena, &decision->hash);
        return;
    }
    const struct route *route = route_match(table, question, arena);
    if (!route) {
        answer(decision, 404, "no_route");
        return;
    }
    decision->rule = arena_str(arena, route->rule->name);
    switch (route->rule->action) {
    case ROUTE_FORWARD: forward(question, route, arena, decision); return;
    case ROUTE_REDIRECT:
        answer(decision, route->rule->status, "redirect");
        decision->location = location(question, route->rule, arena);
        break;
    case ROUTE_RESPOND:
        answer(decision, route->rule->status, "direct_response");
        decision->body = arena_str(arena, route->rule->body);
        break;
    }
    add_edits(&decision->response_edits, &route->rule->response, arena);
}
