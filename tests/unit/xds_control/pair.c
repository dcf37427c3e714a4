#include "pair.h"

#include <criterion/criterion.h>

#include "proxy/base/log.h"
#include "tests/kit/loop_kit.h"

#define PATIENCE_MS 20000

struct loop *loop;
struct side west, east;
struct guest guest;

void pair_init(void)
{
    log_set_level(LOG_ERROR);
    loop = loop_new();
    side_init(&west, loop, "west");
    side_init(&east, loop, "east");
    cluster_pod(&west.cluster, "shop", "w", "10.1.0.1", "app: cart");
    cluster_pod(&east.cluster, "shop", "e", "10.2.0.1", "app: cart");
    cluster_service(&east.cluster, "shop", "cart", "10.97.0.1",
                    "{name: http, port: 80, targetPort: 8080}", "app: cart");
    cluster_service(&east.cluster, "shop", "secret", "10.97.0.2", "{port: 81}", "app: cart");
    cluster_export(&east.cluster, "shop", "cart", "2026-01-01T00:00:00Z");
}

void pair_fini(void)
{
    if (west.control)
        side_stop(&west);
    if (east.control)
        side_stop(&east);
    run_until_empty(loop, 5000);
    loop_finish(loop);
    side_fini(&west);
    side_fini(&east);
}

void introduce(void)
{
    side_knows(&west, &east);
    side_knows(&east, &west);
}

bool until(bool (*done)(void *ctx))
{
    return run_until(loop, done, NULL, PATIENCE_MS);
}

bool west_has_east_pod(void *ctx)
{
    (void)ctx;
    return side_endpoints_have(&west, EAST_POD);
}

bool west_has_no_east_pod(void *ctx)
{
    return !west_has_east_pod(ctx);
}

bool is_joined(void *ctx)
{
    (void)ctx;
    return guest.is_connected && guest_find(&guest, EAST_POD) && guest_find(&guest, CART) &&
           guest_find(&guest, "spiffe://east.example");
}

bool guest_is_connected(void *ctx)
{
    (void)ctx;
    return guest.is_connected;
}

bool knows_easts_roots(void *ctx)
{
    return west_has_east_pod(ctx) && side_status_has(&west, "from its stream");
}
