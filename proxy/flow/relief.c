/*
 * Nothing is counted while flows move: they are asked what they hold once memory is short.
 */
#include "proxy/flow/relief.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/flow/walk.h"
#include "proxy/meter/meter.h"

struct holder {
    struct flow *flow;
    uint64_t bytes;
};

static uint64_t held_by(const struct flow *flow)
{
    if (!flow->work)
        return pump_held(&flow->pump);
    return flow->work->held ? flow->work->held(flow) : 0;
}

static size_t find_holders(struct walk *walk, struct holder *holders)
{
    static const enum flow_state live[] = {FLOW_PUMPING, FLOW_SERVING};

    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(live); i++) {
        list_foreach(it, &walk->flows[live[i]])
        {
            struct flow *flow = list_entry(it, struct flow, by_state);
            const uint64_t bytes = held_by(flow);
            if (bytes > 0)
                holders[n++] = (struct holder){flow, bytes};
        }
    }
    return n;
}

static const struct ip *client_of(const struct holder *holder)
{
    return &holder->flow->call.record.source.addr.ip;
}

/* Those of one client stand together, the largest first. */
static int compare(const void *left, const void *right)
{
    const struct holder *a = left, *b = right;
    const int order = memcmp(client_of(a)->bytes, client_of(b)->bytes, sizeof client_of(a)->bytes);
    if (order != 0)
        return order;
    return (a->bytes < b->bytes) - (a->bytes > b->bytes);
}

/* How many of the first are of the client of the very first; what they hold together. */
static size_t count_of_client(const struct holder *holders, size_t n, uint64_t *out_bytes)
{
    uint64_t bytes = 0;
    size_t i = 0;
    for (; i < n && ip_eq(client_of(&holders[i]), client_of(&holders[0])); i++)
        bytes += holders[i].bytes;
    *out_bytes = bytes;
    return i;
}

/* The flows of the client that holds most: where they begin, and how many there are. */
static size_t find_most(const struct holder *holders, size_t n, size_t *out_first)
{
    uint64_t most = RELIEF_BYTES_MIN - 1, bytes;
    size_t n_most = 0;
    for (size_t at = 0, len; at < n; at += len) {
        len = count_of_client(&holders[at], n - at, &bytes);
        if (bytes <= most)
            continue;
        most = bytes;
        n_most = len;
        *out_first = at;
    }
    return n_most;
}

static uint64_t cut(struct walk *walk, const struct holder *holders, size_t n, uint64_t need_bytes)
{
    const struct ip client = *client_of(&holders[0]);
    char name[IP_TEXT_MAX];
    uint64_t bytes = 0;
    size_t n_cut = 0;
    for (size_t i = 0; i < n && bytes < need_bytes; i++) {
        if (holders[i].flow->state == FLOW_CLOSED) /* it was the other end of one before it */
            continue;
        bytes += holders[i].bytes;
        n_cut++;
        flow_end(holders[i].flow, -ERR_HELD_MOST, (struct str){0});
    }
    meter_add(walk->tools.meter, METRIC_FLOWS_RELIEVED, (int64_t)n_cut);
    log_warn("connections were cut of the client that held most of the memory, which was short",
             log_str("client", str_from(ip_text(&client, name))), log_u64("connections", n_cut),
             log_u64("bytes", bytes));
    return bytes;
}

uint64_t relief_cut(struct walk *walk, uint64_t need_bytes)
{
    if (walk->n_flows == 0 || need_bytes == 0)
        return 0;
    struct holder *holders = mem_alloc(walk->n_flows * sizeof *holders);
    const size_t n = find_holders(walk, holders);
    size_t first = 0;
    qsort(holders, n, sizeof *holders, compare);
    const size_t n_most = find_most(holders, n, &first);
    const uint64_t bytes = n_most > 0 ? cut(walk, &holders[first], n_most, need_bytes) : 0;
    mem_free(holders);
    return bytes;
}
