/* Servers that answer and then end the call, again and again: they are asked again, and not ever
 * faster. */
#include <criterion/criterion.h>

#include "h2_pair.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "tests/kit/loop_kit.h"
#include "xds/client.h"
#include "xds/svid_stream.h"

TestSuite(short_streams, .timeout = 60);

#define PATIENCE_MS 30000

struct rig {
    struct h2_pair h2;
    struct str answer; /* to each call, which then ends with OK */
    unsigned n_calls;
};

static void on_request(void *owner, struct stream *stream, const struct h2_head *head)
{
    static const struct grpc_events no_events = {0};
    struct rig *rig = owner;
    struct grpc_call *call;

    cr_assert_eq(grpc_check_request(head), 0);
    rig->n_calls++;
    call = grpc_serve(rig->h2.loop, stream, &no_events, NULL);
    grpc_send(call, rig->answer);
    grpc_finish(call, GRPC_OK, (struct str){0});
}

static struct rig *rig_new(struct str answer)
{
    struct rig *rig = mem_new(struct rig);

    log_set_level(LOG_ERROR);
    rig->answer = answer;
    h2_pair_open(&rig->h2, on_request, rig);
    return rig;
}

static void rig_free(struct rig *rig)
{
    h2_pair_close(&rig->h2);
    mem_free(rig);
}

/* How long it takes until so many calls were made. */
static uint64_t time_of(struct rig *rig, unsigned n_calls)
{
    const uint64_t begun_ns = clock_mono_ns();

    cr_assert(run_until_count(rig->h2.loop, &rig->n_calls, n_calls, PATIENCE_MS));
    return clock_mono_ns() - begun_ns;
}

static void on_change(void *owner)
{
    (void)owner;
}

static void on_connected(void *owner, bool is_up)
{
    (void)owner, (void)is_up;
}

Test(short_streams, the_control_stream_is_begun_again_after_growing_rests)
{
    static const struct xds_client_events events = {on_change, on_connected};
    const struct xds_client_options options = {.node_id = STR("n"), .subscribed = {true}};
    struct rig *rig = rig_new((struct str){0});
    struct xds_client *client = xds_client_open(rig->h2.loop, &options, NULL, &events, NULL);

    xds_client_channel_up(client, rig->h2.client);
    /* Rests of 100, 200, 400 and 800 ms, of each at least the half. */
    cr_assert_geq(time_of(rig, 5), 750 * NS_PER_MS);
    xds_client_channel_down(client);
    xds_client_close(client);
    rig_free(rig);
}

static void on_update(void *owner, const struct svid_update *update)
{
    (void)owner, (void)update;
}

static void on_trouble(void *owner, int status, struct str why)
{
    (void)owner, (void)status, (void)why;
}

Test(short_streams, a_stream_of_certificates_is_begun_again_at_once_once_a_second)
{
    static const struct svid_stream_events events = {on_update, on_trouble};
    static const struct svid_stream_options options = {
        .path = "/SpiffeWorkloadAPI/FetchX509SVID",
        .metadata = {{"workload.spiffe.io", 18}, {"true", 4}}};
    struct rig *rig = rig_new(STR("no message"));
    struct svid_stream *stream =
        svid_stream_open(rig->h2.loop, &options, (struct str){0}, &events, NULL);

    svid_stream_set_h2(stream, rig->h2.client);
    /* The second at once, the others after rests of 1 and 2 s, of each at least the half. */
    cr_assert_geq(time_of(rig, 4), 1500 * NS_PER_MS);
    svid_stream_close(stream);
    rig_free(rig);
}
