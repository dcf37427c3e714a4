#include "ways.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/connect/http_pool.h"

struct town town;
struct town_call call;

struct model_policy *allow(const char *name, const char *path_prefix)
{
    struct model_policy *policy = snap_policy(&town.snap, name, POLICY_ALLOW, NULL);
    snap_asks(&town.snap, policy, REQUEST_PATH, NULL, MATCH_PREFIX, path_prefix);
    return policy;
}

void allow_public(void)
{
    (void)allow("public", "/public");
}

/* The ways in which a request comes to where it is judged. */
const struct way ways[WAYS] = {
    {"through a tunnel", ARRIVAL_OUTBOUND, false, false, false},
    {"through a tunnel, on a port that says HTTP", ARRIVAL_OUTBOUND, false, true, false},
    {"in plaintext", ARRIVAL_PLAINTEXT, false, false, false},
    {"on one node, as bytes", ARRIVAL_OUTBOUND, true, false, false},
    {"on one node, as HTTP", ARRIVAL_OUTBOUND, true, true, false},
    {"on one node, through a tunnel", ARRIVAL_OUTBOUND, true, false, true},
};

struct town_node *judge_of(const struct way *way)
{
    return way->is_same_node ? &town.n1 : &town.n2;
}

void start(const struct way *way)
{
    struct town_node *node = way->kind == ARRIVAL_PLAINTEXT ? &town.n2 : &town.n1;
    const bool by_name = way->is_http_there && way->is_same_node;
    call_start(&call, node, way->kind, CART, by_name ? VIP : PAY1, by_name ? 6379 : town.port);
}

static int64_t counted[METRICS]; /* by towns before this one */

int64_t count(enum metric metric)
{
    return meter_total(metric) - counted[metric];
}

void open_way_of(const struct way *way, void (*policies)(void))
{
    for (enum metric i = 0; i < METRICS; i++)
        counted[i] = meter_total(i);
    if (way->tunnels_own_node)
        town_walk(&town.n1, &(struct walk_options){.tunnels_own_node = true});
    if (way->is_same_node) {
        snap_drop(&town.snap, "pay-1");
        town_pay(&town, "pay-1", "n1", PAY1);
    }
    if (way->is_http_there)
        town_service(&town)->ports[0].app_protocol = APP_HTTP11;
    policies();
    town_learn(&town);
    start(way);
}

void open_way(const struct way *way, void (*policies)(void))
{
    town_open(&town);
    open_way_of(way, policies);
}

static void forget_links(struct town_node *node)
{
    struct ip ip;
    static const char *const sources[] = {CART, PAY1, "127.0.0.1"};
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        cr_assert_eq(ip_parse(str_from(sources[i]), &ip), 0);
        http_pool_forget(connector_http_pool(node->connector), &ip);
    }
}

void finish(void)
{
    call_end(&call);
    forget_links(&town.n1);
    forget_links(&town.n2);
    cr_expect(town_is_quiet(&town));
}

void close_way(void)
{
    finish();
    town_close(&town);
}

void say(const char *text)
{
    (void)stream_write_copy(call.tap.stream, text, strlen(text));
}

void get(const char *path)
{
    char text[512];
    (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: store\r\n\r\n", path);
    say(text);
}

struct wanted {
    const struct tap *tap;
    const char *part;
    unsigned times;
};

unsigned count_of(const struct tap *tap, const char *part)
{
    struct str rest = text_str(&tap->got);
    unsigned n = 0;
    for (; rest.len >= strlen(part); rest = str_sub(rest, 1, rest.len))
        n += str_starts_with(rest, str_from(part));
    return n;
}

static bool has_come(void *ctx)
{
    const struct wanted *wanted = ctx;
    return wanted->tap->err || count_of(wanted->tap, wanted->part) >= wanted->times;
}

bool got(const struct tap *tap, const char *part, unsigned times)
{
    struct wanted wanted = {tap, part, times};
    return run_until(town.world.loop, has_come, &wanted, PATIENCE_MS) &&
           count_of(tap, part) >= times;
}

bool is_served(void *ctx)
{
    return town.n_served >= *(const unsigned *)ctx;
}

/* The n-th connection of the app has seen so many requests. */
bool app_saw(unsigned n_served, const char *part, unsigned times)
{
    return run_until(town.world.loop, is_served, &n_served, PATIENCE_MS) &&
           got(&town.served[n_served - 1], part, times);
}

static bool have_ended(void *ctx)
{
    return count(METRIC_EXCHANGES) >= *(const int64_t *)ctx;
}

bool ended(int64_t n)
{
    return run_until(town.world.loop, have_ended, &n, PATIENCE_MS);
}

void answer(unsigned n_served)
{
    (void)stream_write_copy(town.served[n_served - 1].stream, OK, strlen(OK));
}

void allow_cart(void)
{
    (void)snap_policy(&town.snap, "cart", POLICY_ALLOW, CART_ID);
}
