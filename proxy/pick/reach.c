/*
 * Which nodes could not be reached a moment ago, and how far other clusters are.
 *
 * A node that cannot be reached takes its endpoints with it. They are not looked for: one that is
 * about to be picked is asked for its node, rested if that is suspect, and the pick goes on; so a
 * node with a thousand endpoints costs as little as one with one.
 */
#include "proxy/base/mem.h"
#include "proxy/pick/fleet.h"

static struct node *find_node(const struct balancer *balancer, uint64_t node)
{
    return balancer->nodes.len > 0 ? map_find(&balancer->nodes, key_of(&node)) : NULL;
}

static struct node *get_node(struct balancer *balancer, const struct member *member)
{
    struct node *node = find_node(balancer, member->node);
    if (node || balancer->nodes.len >= NODES_MAX)
        return node;
    node = mem_new(struct node);
    node->key = member->node;
    node->member = member->key;
    (void)map_put(&balancer->nodes, key_of(&node->key), node);
    return node;
}

void node_failed(struct balancer *balancer, const struct member *member, uint64_t now_ns)
{
    struct node *node = get_node(balancer, member);
    if (!node)
        return;
    node->failed_ns = now_ns;
    /* Many flows that fail at once are one failure of the node. */
    if (node->member == member->key || now_ns < node->suspect_until_ns)
        return;
    uint64_t rest_ns = SUSPECT_MIN_NS;
    for (uint32_t i = 0; i < node->suspicions && rest_ns < SUSPECT_MAX_NS; i++)
        rest_ns *= 2;
    node->suspicions++;
    node->suspect_until_ns = now_ns + (rest_ns < SUSPECT_MAX_NS ? rest_ns : SUSPECT_MAX_NS);
}

void node_reached(struct balancer *balancer, uint64_t key)
{
    struct node *node = find_node(balancer, key);
    if (!node)
        return;
    (void)map_remove(&balancer->nodes, key_of(&key));
    mem_free(node);
}

uint64_t node_suspect_until_ns(const struct balancer *balancer, uint64_t key, uint64_t now_ns)
{
    const struct node *node = find_node(balancer, key);
    return node && node->suspect_until_ns > now_ns ? node->suspect_until_ns : 0;
}

/* What has not failed again for as long as the longest rest is forgotten. */
void nodes_tidy(struct balancer *balancer, uint64_t now_ns)
{
    size_t idx = 0;
    struct str key;
    void *value;
    while (map_next(&balancer->nodes, &idx, &key, &value)) {
        struct node *node = value;
        if (node->failed_ns + 2 * SUSPECT_MAX_NS > now_ns)
            continue;
        (void)map_remove_at(&balancer->nodes, idx);
        mem_free(node);
    }
}

#define RTT_RISE 0.02 /* a connect takes longer for many reasons, shorter only for one */

void reach_measured(struct balancer *balancer, uint64_t cluster, uint64_t rtt_ns)
{
    struct reach *reach = map_find(&balancer->reaches, key_of(&cluster));
    if (!reach && balancer->reaches.len >= REACHES_MAX)
        return;
    if (!reach) {
        reach = mem_new(struct reach);
        *reach = (struct reach){cluster, (double)rtt_ns};
        (void)map_put(&balancer->reaches, key_of(&reach->cluster), reach);
    }
    const double sample_ns = (double)rtt_ns;
    reach->rtt_ns = sample_ns < reach->rtt_ns
                        ? sample_ns
                        : reach->rtt_ns + (sample_ns - reach->rtt_ns) * RTT_RISE;
}

double reach_rtt_ns(const struct balancer *balancer, uint64_t cluster)
{
    const struct reach *reach = map_find(&balancer->reaches, key_of(&cluster));
    return reach ? reach->rtt_ns : 0;
}

static void free_all(struct map *map)
{
    size_t idx = 0;
    struct str key;
    void *value;
    while (map_next(map, &idx, &key, &value))
        mem_free(value);
    map_fini(map);
}

void reach_fini(struct balancer *balancer)
{
    free_all(&balancer->nodes);
    free_all(&balancer->reaches);
}
