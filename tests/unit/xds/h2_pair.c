#include "h2_pair.h"

#include <criterion/criterion.h>

#include "tests/kit/loop_kit.h"

static void on_ready(void *owner)
{
    ((struct h2_pair *)owner)->is_ready = true;
}

static void on_dead(void *owner, int err, struct str why)
{
    (void)owner, (void)err, (void)why;
}

static const struct h2_events client_events = {.on_ready = on_ready, .on_dead = on_dead};

void h2_pair_open(struct h2_pair *pair,
                  void (*on_request)(void *owner, struct stream *stream,
                                     const struct h2_head *head),
                  void *owner)
{
    const struct h2_options options = {0};

    *pair = (struct h2_pair){
        .loop = loop_new(),
        .server_events = {.on_request = on_request, .on_dead = on_dead},
    };
    fake_stream_pair(pair->loop, &pair->below_client, &pair->below_server);
    pair->client =
        h2_client_new(pair->loop, &pair->below_client->stream, &options, &client_events, pair);
    pair->server = h2_server_new(pair->loop, &pair->below_server->stream, &options,
                                 &pair->server_events, owner);
    cr_assert(run_until_set(pair->loop, &pair->is_ready, 5000));
}

void h2_pair_close(struct h2_pair *pair)
{
    h2_close(pair->client, 0);
    h2_close(pair->server, 0);
    run_turns(pair->loop, 10);
    fake_stream_free(pair->below_client);
    fake_stream_free(pair->below_server);
    loop_finish(pair->loop);
}
