#include "bench/sim/tally.h"

#include <stdio.h>

#include "proxy/base/mem.h"

#define WINDOW_NS (2 * SIM_SEC)
#define FULL_LOAD 0.90 /* of its capacity a cluster can be asked to carry */

void tally_init(struct tally *tally, const struct sim_fleet *fleet, bool is_traced)
{
    *tally = (struct tally){.fleet = fleet};
    if (is_traced)
        tally->seconds =
            mem_new_array(struct histogram, (size_t)SIM_CLUSTERS_MAX * TALLY_SECONDS_MAX);
}

void tally_fini(struct tally *tally)
{
    mem_free(tally->seconds);
}

void tally_choice(struct tally *tally, const struct sim_client *client, enum sim_distance distance,
                  uint64_t now_ns)
{
    const uint64_t window = now_ns / WINDOW_NS;
    if (window < TALLY_WINDOWS_MAX)
        tally->windows[client->place.zone][window].n[distance]++;
}

static struct histogram *second_of(const struct tally *tally, uint32_t cluster, uint64_t second)
{
    return &tally->seconds[(size_t)cluster * TALLY_SECONDS_MAX + second];
}

void tally_end(struct tally *tally, const struct sim_client *client, uint64_t arrived_ns,
               uint64_t took_ns, bool is_served, bool is_crossed)
{
    const uint64_t second = arrived_ns / SIM_SEC;
    tally->n++;
    tally->n_failed += !is_served;
    tally->n_crossed += is_crossed;
    histogram_add(&tally->latencies, took_ns);
    if (tally->seconds && second < TALLY_SECONDS_MAX)
        histogram_add(second_of(tally, client->place.cluster, second), took_ns);
}

void tally_need(struct tally *tally, const double *capacity)
{
    const struct sim_fleet *fleet = tally->fleet;
    double offered[SIM_CLUSTERS_MAX] = {0};
    for (uint32_t i = 0; i < fleet->n_clients; i++)
        offered[fleet->clients[i].place.cluster] += fleet->clients[i].per_second;
    for (uint32_t i = 0; i < SIM_CLUSTERS_MAX; i++) {
        const double left = offered[i] - FULL_LOAD * capacity[i];
        tally->needed += left > 0 ? left : 0;
        tally->offered += offered[i];
    }
}

static double share_pct(const struct window *window, enum sim_distance distance)
{
    double sum = 0;
    for (int i = 0; i < SIM_DISTANCES; i++)
        sum += window->n[i];
    return sum > 0 ? 100 * window->n[distance] / sum : 0;
}

static double largest_swing(const struct tally *tally)
{
    const uint64_t from = (tally->fleet->settled_ns + WINDOW_NS - 1) / WINDOW_NS;
    const uint64_t to = tally->fleet->length_ns / WINDOW_NS;
    double largest = 0;
    for (uint32_t zone = 0; zone < SIM_ZONES_MAX; zone++) {
        for (int distance = 0; distance < SIM_DISTANCES; distance++) {
            double low = 100, high = 0;
            for (uint64_t i = from; i < to && i < TALLY_WINDOWS_MAX; i++) {
                const double pct = share_pct(&tally->windows[zone][i], (enum sim_distance)distance);
                low = pct < low ? pct : low;
                high = pct > high ? pct : high;
            }
            largest = high - low > largest ? high - low : largest;
        }
    }
    return largest;
}

static void print_shares(const struct tally *tally)
{
    static const char *const names[] = {"node", "zone", "region", "cluster", "other"};
    for (uint32_t zone = 0; zone < SIM_ZONES_MAX; zone++) {
        for (uint64_t i = 0; i < tally->fleet->length_ns / WINDOW_NS && i < TALLY_WINDOWS_MAX;
             i++) {
            const struct window *window = &tally->windows[zone][i];
            uint32_t sum = 0;
            for (int distance = 0; distance < SIM_DISTANCES; distance++)
                sum += window->n[distance];
            if (sum == 0)
                continue;
            (void)printf("# zone %u, %3llu s:", zone,
                         (unsigned long long)(i * WINDOW_NS / SIM_SEC));
            for (int distance = 0; distance < SIM_DISTANCES; distance++)
                (void)printf(" %s %5.1f", names[distance],
                             share_pct(window, (enum sim_distance)distance));
            (void)printf("\n");
        }
    }
}

static void print_seconds(const struct tally *tally)
{
    for (uint32_t cluster = 0; cluster < SIM_CLUSTERS_MAX; cluster++) {
        for (uint64_t second = 0; second < TALLY_SECONDS_MAX; second++) {
            const struct histogram *took = second_of(tally, cluster, second);
            if (took->n > 0)
                (void)printf("# cluster %u, %3llu s: p50 %7.1f p99 %7.1f ms of %llu\n", cluster,
                             (unsigned long long)second, (double)histogram_at(took, 0.5) / SIM_MS,
                             (double)histogram_at(took, 0.99) / SIM_MS,
                             (unsigned long long)took->n);
        }
    }
}

void tally_print(const struct tally *tally)
{
    print_shares(tally);
    print_seconds(tally);
}

struct sim_result tally_result(const struct tally *tally)
{
    return (struct sim_result){
        .n = tally->n,
        .n_failed = tally->n_failed,
        .p50_ns = histogram_at(&tally->latencies, 0.5),
        .p99_ns = histogram_at(&tally->latencies, 0.99),
        .p999_ns = histogram_at(&tally->latencies, 0.999),
        .swing_points = largest_swing(tally),
        .crossed_pct = 100 * (double)tally->n_crossed / (double)(tally->n > 0 ? tally->n : 1),
        .needed_pct = tally->offered > 0 ? 100 * tally->needed / tally->offered : 0,
    };
}
