/*
 * The rows of a page are walked twice, once to learn whom to ask about and once to write them, by
 * the same function. What workers said is found by set and key, so it does not matter when the
 * snapshot was replaced in between: what is new then was asked of nobody, and says so.
 */
#include "proxy/admin/endpoints.h"

#include "proxy/admin/json_out.h"
#include "proxy/admin/views.h"
#include "proxy/base/clock.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"

#define NUMBER_DIGITS_MAX 9

struct sum { /* of what the workers said about one endpoint */
    uint32_t n_workers, n_measured, n_full, n_panic, n_silent;
    uint32_t n_unfit[UNFITS];
    uint32_t flows;
    double share, latency_ns;
    uint64_t until_ns;
    enum rest_cause cause;
    enum checked checked;
};

struct endpoint_poll {
    struct arena arena;
    struct endpoint_wish wish;
    struct endpoint_ask *asks;
    struct sum *sums;
    size_t n_asks;
    struct map by_ask;
};

/* ---- the wish ---- */

static int parse_number(struct str text, const char *name, size_t unsaid, size_t *out_value,
                        struct text *why)
{
    size_t value = 0;
    *out_value = unsaid;
    if (str_is_empty(text))
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        if (i == NUMBER_DIGITS_MAX || text.ptr[i] < '0' || text.ptr[i] > '9') {
            text_addf(why, "%s has to be a whole number below 1000000000\n", name);
            return -ERR_INVALID;
        }
        value = value * 10 + (size_t)(text.ptr[i] - '0');
    }
    *out_value = value;
    return 0;
}

int endpoint_wish_parse(struct str host, struct str offset, struct str limit,
                        struct endpoint_wish *out_wish, struct text *why)
{
    struct endpoint_wish wish = {.host = host};
    if (parse_number(offset, "offset", 0, &wish.offset, why) < 0 ||
        parse_number(limit, "limit", ENDPOINTS_SHOWN_MAX, &wish.limit, why) < 0)
        return -ERR_INVALID;
    if (wish.limit == 0 || wish.limit > ENDPOINTS_SHOWN_MAX) {
        text_addf(why, "limit has to be 1 to %d\n", ENDPOINTS_SHOWN_MAX);
        return -ERR_INVALID;
    }
    *out_wish = wish;
    return 0;
}

/* ---- rows ---- */

struct row {
    const struct service *service;
    const struct endpoint_set *set;
    const struct endpoint *endpoint;      /* NULL: hidden */
    const struct hidden_endpoint *hidden; /* NULL: an endpoint */
};

struct rows {
    const struct endpoint_wish *wish;
    size_t n; /* met so far */
    void (*visit)(void *owner, const struct row *row);
    void *owner;
};

static void meet(struct rows *rows, const struct row *row)
{
    const size_t idx = rows->n++;
    if (idx >= rows->wish->offset && idx - rows->wish->offset < rows->wish->limit)
        rows->visit(rows->owner, row);
}

static void walk_set(struct rows *rows, const struct service *service,
                     const struct endpoint_set *set)
{
    for (size_t i = 0; i < set->len; i++)
        meet(rows, &(struct row){service, set, &set->endpoints[i], NULL});
    for (size_t i = 0; i < set->n_hidden; i++)
        meet(rows, &(struct row){service, set, NULL, &set->hidden[i]});
}

/* How many there are. */
static size_t walk_rows(const struct snapshot *snapshot, const struct endpoint_wish *wish,
                        void (*visit)(void *owner, const struct row *row), void *owner)
{
    size_t len;
    struct rows rows = {.wish = wish, .visit = visit, .owner = owner};
    const struct service **services = view_select(snapshot, wish->host, &len);
    for (size_t i = 0; i < len; i++)
        for (size_t port = 0; port < services[i]->n_ports; port++) {
            walk_set(&rows, services[i], snapshot_set(snapshot, &services[i]->ports[port], false));
            walk_set(&rows, services[i], snapshot_set(snapshot, &services[i]->ports[port], true));
        }
    mem_free(services);
    return rows.n;
}

/* ---- the question and its answers ---- */

static void ask_about(void *owner, const struct row *row)
{
    struct endpoint_poll *poll = owner;
    if (row->endpoint)
        poll->asks[poll->n_asks++] = (struct endpoint_ask){row->set->id, row->endpoint->key};
}

struct endpoint_poll *endpoint_poll_new(const struct snapshot *snapshot,
                                        const struct endpoint_wish *wish)
{
    struct endpoint_poll *poll = mem_new(struct endpoint_poll);
    poll->wish = *wish;
    poll->wish.host = arena_str(&poll->arena, wish->host);
    poll->asks = arena_new_array(&poll->arena, struct endpoint_ask, wish->limit);
    (void)walk_rows(snapshot, &poll->wish, ask_about, poll);
    poll->sums = arena_new_array(&poll->arena, struct sum, poll->n_asks);
    for (size_t i = 0; i < poll->n_asks; i++)
        (void)map_put(&poll->by_ask, str_of(&poll->asks[i], sizeof(poll->asks[i])), &poll->sums[i]);
    return poll;
}

void endpoint_poll_free(struct endpoint_poll *poll)
{
    if (!poll)
        return;
    map_fini(&poll->by_ask);
    arena_fini(&poll->arena);
    mem_free(poll);
}

const struct endpoint_ask *endpoint_poll_asks(const struct endpoint_poll *poll, size_t *out_n)
{
    *out_n = poll->n_asks;
    return poll->asks;
}

static void note(struct sum *sum, const struct member_view *view)
{
    sum->n_workers++;
    sum->n_unfit[view->unfit]++;
    sum->n_full += view->is_service_full;
    sum->n_panic += view->is_level_in_panic;
    sum->n_silent += view->is_level_silent;
    sum->flows += view->flows;
    sum->share += view->share;
    if (view->latency_ns > 0) {
        sum->n_measured++;
        sum->latency_ns += (double)view->latency_ns;
    }
    if (view->until_ns >= sum->until_ns && view->unfit != UNFIT_NOT) {
        sum->until_ns = view->until_ns;
        sum->cause = view->cause;
    }
    if (view->checked > sum->checked)
        sum->checked = view->checked;
}

void endpoint_poll_note(struct endpoint_poll *poll, const struct endpoint_answer *answers)
{
    for (size_t i = 0; i < poll->n_asks; i++)
        if (answers[i].is_known)
            note(&poll->sums[i], &answers[i].view);
}

/* ---- why it gets nothing ---- */

/* The gravest that some worker holds against it. */
static enum unfit worst(const struct sum *sum)
{
    for (enum unfit unfit = UNFIT_UNREADY; unfit < UNFITS; unfit++)
        if (sum->n_unfit[unfit] > 0)
            return unfit;
    return UNFIT_NOT;
}

static void add_some(const struct sum *sum, uint32_t n, struct text *why)
{
    if (n < sum->n_workers)
        text_addf(why, " (%u of %u workers)", n, sum->n_workers);
}

static void add_rest(const struct sum *sum, int64_t until_ns, const char *what, struct text *why)
{
    char buf[CLOCK_TEXT_MAX];
    text_addf(why, "%s until %s: %s", what, clock_text(until_ns, buf), rest_cause_text(sum->cause));
}

static void add_unfit(const struct sum *sum, enum unfit unfit, bool is_terminating,
                      int64_t until_ns, struct text *why)
{
    switch (unfit) {
    case UNFIT_NOT:
    case UNFITS: return;
    case UNFIT_UNREADY:
        text_add(why, is_terminating ? STR("terminating") : STR("not ready"));
        break;
    case UNFIT_CHECK: text_add(why, STR("fails its active check: isthmus ctl health")); break;
    case UNFIT_SUSPECT: add_rest(sum, until_ns, "suspect", why); break;
    case UNFIT_EJECTED: add_rest(sum, until_ns, "ejected", why); break;
    case UNFIT_PROBATION:
        text_addf(why, "on probation, one connection at a time tries it: %s",
                  rest_cause_text(sum->cause));
        break;
    case UNFIT_FULL:
        text_add(why, STR("breaker open: as many connections as "
                          "limits.maxConnectionsPerEndpoint allows"));
        break;
    }
    add_some(sum, sum->n_unfit[unfit], why);
    if (sum->n_panic > 0 && (unfit == UNFIT_UNREADY || unfit == UNFIT_CHECK))
        text_add(why, STR("; used all the same, its level is in panic"));
}

static void add_fit(const struct sum *sum, const struct level *level, struct text *why)
{
    if (sum->n_full > 0) {
        text_add(why, STR("breaker open: the service has as many connections as its limits allow"));
        add_some(sum, sum->n_full, why);
    } else if (sum->n_silent > 0) {
        text_add(why, STR("its level does not answer; one connection at a time asks it"));
        add_some(sum, sum->n_silent, why);
    } else if (sum->share <= 0) {
        text_add(why, level->is_last_resort ? STR("last resort: others serve")
                                            : STR("level not reached: nearer ones serve"));
    }
}

static void add_why_hidden(const struct row *row, struct text *why)
{
    const struct traffic_policy *policy = row->service->traffic;
    const struct workload *workload = row->hidden->workload;
    struct traffic_policy undrilled = *policy, anywhere = *policy;
    undrilled.drilled_cluster = (struct str){0};
    anywhere.node_only = false;
    if (traffic_policy_admits(policy, workload->cluster, workload->is_local))
        text_add(why, STR("another endpoint has its address and takes its part"));
    else if (traffic_policy_admits(&undrilled, workload->cluster, workload->is_local))
        text_add(why, STR("drilled out: isthmus ctl drill"));
    else if (traffic_policy_admits(&anywhere, workload->cluster, workload->is_local))
        text_add(why, STR("on another node, and locality.nodeOnly is set"));
    else
        text_addf(why, "outside the clusters that the policy%s%.*s allows",
                  str_is_empty(policy->name) ? "" : " ", STR_ARG(policy->name));
}

/* ---- the page ---- */

struct page {
    const struct endpoint_poll *poll;
    const struct endpoint_time *now;
    struct text *out;
    bool is_whole;
};

static const char *checked_name(enum checked checked)
{
    switch (checked) {
    case CHECKED_NOT: return "unchecked";
    case CHECKED_GOOD: return "good";
    case CHECKED_BAD: return "bad";
    }
    return "unknown";
}

static const char *passive_name(const struct sum *sum)
{
    if (sum->n_unfit[UNFIT_EJECTED] > 0)
        return "ejected";
    if (sum->n_unfit[UNFIT_SUSPECT] > 0)
        return "suspect";
    return sum->n_unfit[UNFIT_PROBATION] > 0 ? "on probation" : "good";
}

static void add_place(const struct row *row, const struct workload *workload,
                      const struct addr *addr, struct text *out)
{
    char buf[ADDR_TEXT_MAX];
    json_out_str(out, "service", row->service->hostname);
    json_out_size(out, "port", row->set->port);
    json_out_str(out, "cluster", workload->cluster);
    json_out_str(out, "zone", workload->locality);
    json_out_str(out, "node", workload->node);
    json_out_str(out, "workload", workload->name);
    json_out_str(out, "namespace", workload->namespace_);
    json_out_str(out, "address", str_from(addr_text(addr, buf)));
}

static void add_judgement(const struct page *page, const struct row *row, const struct sum *sum)
{
    struct text *out = page->out, why = {0};
    const struct endpoint *endpoint = row->endpoint;
    const enum unfit unfit = !endpoint->is_ready ? UNFIT_UNREADY : worst(sum);
    const int64_t until_ns = sum->until_ns > 0 ? page->now->wall_ns + (int64_t)sum->until_ns -
                                                     (int64_t)page->now->mono_ns
                                               : 0;
    json_out_str(out, "health", str_from(unfit_name(unfit)));
    json_out_str(out, "active", str_from(checked_name(sum->checked)));
    json_out_str(out, "passive", str_from(passive_name(sum)));
    json_out_time(out, "until", until_ns);
    if (unfit != UNFIT_NOT)
        add_unfit(sum, unfit, endpoint->is_terminating, until_ns, &why);
    else if (sum->n_workers > 0)
        add_fit(sum, &row->set->levels[endpoint->level], &why);
    else
        text_add(&why, STR("nobody on this node has called it lately"));
    json_out_str(out, "why", text_str(&why));
    text_fini(&why);
}

static void add_endpoint(const struct page *page, const struct row *row)
{
    static const struct sum unasked = {0};
    const struct endpoint_ask ask = {row->set->id, row->endpoint->key};
    const struct sum *sum = map_find(&page->poll->by_ask, str_of(&ask, sizeof(ask)));
    if (!sum)
        sum = &unasked;
    struct text *out = page->out;
    add_place(row, row->endpoint->workload, &row->endpoint->addr, out);
    json_out_str(out, "level", str_from(level_kind_name(row->endpoint->distance)));
    json_out_bool(out, "ready", row->endpoint->is_ready);
    json_out_known(out, "share_pct", sum->n_workers ? 100 * sum->share / sum->n_workers : -1);
    json_out_size(out, "in_flight", sum->flows);
    json_out_known(out, "latency_ms",
                   sum->n_measured ? sum->latency_ns / sum->n_measured / (double)NS_PER_MS : -1);
    add_judgement(page, row, sum);
    json_out_str(out, "identity", row->endpoint->workload->identity);
}

static void add_hidden(const struct page *page, const struct row *row)
{
    struct text *out = page->out, why = {0};
    const struct workload *workload = row->hidden->workload;
    struct addr addr = {.port = row->hidden->target_port};
    for (size_t i = 0; i < workload->n_addresses; i++)
        if ((workload->addresses[i].len != 4) == row->set->is_v6)
            addr.ip = workload->addresses[i];
    add_why_hidden(row, &why);
    add_place(row, workload, &addr, out);
    json_out_bool(out, "ready", false);
    json_out_known(out, "share_pct", 0);
    json_out_size(out, "in_flight", 0);
    json_out_str(out, "health", STR("hidden"));
    json_out_str(out, "why", text_str(&why));
    json_out_str(out, "identity", workload->identity);
    text_fini(&why);
}

static void add_row(void *owner, const struct row *row)
{
    struct page *page = owner;
    (void)pace();
    if (page->out->len >= JSON_OUT_MAX) {
        page->is_whole = false;
        return;
    }
    json_out_comma(page->out);
    text_addc(page->out, '{');
    if (row->endpoint)
        add_endpoint(page, row);
    else
        add_hidden(page, row);
    text_addc(page->out, '}');
}

void endpoint_poll_write(const struct endpoint_poll *poll, const struct snapshot *snapshot,
                         const struct endpoint_time *now, struct text *out)
{
    struct page page = {poll, now, out, true};
    text_add(out, STR("{\"endpoints\":["));
    const size_t total = walk_rows(snapshot, &poll->wish, add_row, &page);
    text_addc(out, ']');
    json_out_size(out, "total", total);
    json_out_size(out, "offset", poll->wish.offset);
    if (!page.is_whole)
        json_out_bool(out, "truncated", true);
    text_add(out, STR("}\n"));
}
