/*
 * Nothing is counted while flows move: they are asked what they hold once memory is short, or
 * nearly.
 */
#include "proxy/flow/relief.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/keyed_hash.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/flow/walk.h"
#include "proxy/meter/meter.h"

#define WORTH_A_LOOK (UINT64_C(1) << 20) /* buffers of a worker: nobody holds much in less */

struct holder {
    struct flow *flow;
    uint64_t bytes;
    struct client_key client;
};

/* Those of one client stand together, the largest first. */
struct party_of {
    struct holder *first;
    size_t n;
    uint64_t bytes; /* of them together */
};

struct holders {
    struct holder *all;
    struct party_of *parties;
    size_t n_parties;
};

static uint64_t held_by(const struct flow *flow)
{
    if (!flow->work)
        return pump_held(&flow->pump);
    return flow->work->held ? flow->work->held(flow) : 0;
}

static struct client_key client_of(const struct flow *flow)
{
    const struct record *record = &flow->call.record;
    struct client_key client = {record->source.addr.ip, 0};
    if (record->kind == ARRIVAL_TUNNEL)
        client.identity = keyed_hash(0, record_name(record, LABEL_SOURCE_PRINCIPAL));
    return client;
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
                holders[n++] = (struct holder){flow, bytes, client_of(flow)};
        }
    }
    return n;
}

static int compare(const void *left, const void *right)
{
    const struct holder *a = left, *b = right;
    const struct client_key *of_a = &a->client, *of_b = &b->client;
    const int order = memcmp(of_a->ip.bytes, of_b->ip.bytes, sizeof of_a->ip.bytes);
    if (order != 0)
        return order;
    if (of_a->identity != of_b->identity)
        return of_a->identity < of_b->identity ? -1 : 1;
    return (a->bytes < b->bytes) - (a->bytes > b->bytes);
}

static void look(struct walk *walk, struct holders *out)
{
    *out = (struct holders){.all = mem_alloc((walk->n_flows + 1) * sizeof *out->all),
                            .parties = mem_alloc((walk->n_flows + 1) * sizeof *out->parties)};
    const size_t n = find_holders(walk, out->all);
    qsort(out->all, n, sizeof *out->all, compare);
    for (size_t i = 0; i < n; i++) {
        struct party_of *last = out->n_parties > 0 ? &out->parties[out->n_parties - 1] : NULL;
        if (!last || !client_key_eq(&last->first->client, &out->all[i].client)) {
            last = &out->parties[out->n_parties++];
            *last = (struct party_of){.first = &out->all[i]};
        }
        last->n++;
        last->bytes += out->all[i].bytes;
    }
}

static void look_away(struct holders *holders)
{
    mem_free(holders->all);
    mem_free(holders->parties);
}

/* Keeps the greatest, in any order. */
static void keep_greatest(struct holding *holdings, size_t *n, const struct party_of *party)
{
    const struct holding new = {party->first->client, party->bytes};
    size_t least = 0;
    if (*n < LEDGER_HOLDINGS) {
        holdings[(*n)++] = new;
        return;
    }
    for (size_t i = 1; i < *n; i++)
        least = holdings[i].bytes < holdings[least].bytes ? i : least;
    if (new.bytes > holdings[least].bytes)
        holdings[least] = new;
}

static void tell(struct walk *walk, const struct holders *holders)
{
    struct holding holdings[LEDGER_HOLDINGS];
    size_t n = 0;
    for (size_t i = 0; i < holders->n_parties; i++) {
        if (holders->parties[i].n > 0)
            keep_greatest(holdings, &n, &holders->parties[i]);
    }
    ledger_tell(walk->ledger, walk->tools.worker, loop_now_ns(walk->tools.loop), holdings, n);
}

static uint64_t cut(struct walk *walk, struct party_of *party, uint64_t need_bytes)
{
    char name[IP_TEXT_MAX];
    const char *client = ip_text(&party->first->client.ip, name);
    uint64_t bytes = 0;
    size_t n_cut = 0;
    for (; party->n > 0 && bytes < need_bytes; party->first++, party->n--) {
        party->bytes -= party->first->bytes;
        if (party->first->flow->state == FLOW_CLOSED) /* it was the other end of one before it */
            continue;
        bytes += party->first->bytes;
        n_cut++;
        flow_end(party->first->flow, -ERR_HELD_MOST, (struct str){0});
    }
    if (n_cut == 0)
        return 0;
    meter_add(walk->tools.meter, METRIC_FLOWS_RELIEVED, (int64_t)n_cut);
    log_warn("connections were cut of the client that held most of the memory, which was short",
             log_str("client", str_from(client)), log_u64("connections", n_cut),
             log_u64("bytes", bytes));
    return bytes;
}

static struct party_of *find_party(const struct holders *holders, const struct client_key *client)
{
    for (size_t i = 0; i < holders->n_parties; i++) {
        struct party_of *party = &holders->parties[i];
        if (party->n > 0 && client_key_eq(&party->first->client, client))
            return party;
    }
    return NULL;
}

struct relief relief_cut(struct walk *walk, uint64_t need_bytes)
{
    const uint64_t now_ns = loop_now_ns(walk->tools.loop);
    struct ledger_verdict verdict = {.say = LEDGER_CUT};
    struct relief relief = {0};
    struct holders holders;
    look(walk, &holders);
    tell(walk, &holders);
    while (relief.bytes < need_bytes && verdict.say == LEDGER_CUT) {
        verdict = ledger_judge(walk->ledger, walk->tools.worker, now_ns, need_bytes - relief.bytes);
        relief.is_awaited = verdict.say == LEDGER_WAIT;
        if (verdict.say != LEDGER_CUT)
            break;
        struct party_of *party = find_party(&holders, &verdict.client);
        ensure(party); /* it was told just now */
        const uint64_t bytes = cut(walk, party, verdict.bytes);
        ledger_note_cut(walk->ledger, walk->tools.worker, now_ns, &verdict, bytes);
        relief.bytes += bytes;
        tell(walk, &holders);
    }
    look_away(&holders);
    return relief;
}

void relief_tell(struct walk *walk)
{
    struct holders holders = {0};
    const bool is_worth_it = loop_slabs(walk->tools.loop)->live_bytes >= WORTH_A_LOOK;
    if (is_worth_it)
        look(walk, &holders);
    tell(walk, &holders);
    look_away(&holders);
}
