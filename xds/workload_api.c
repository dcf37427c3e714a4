/*
 * workload_api.c - one channel, one call, any number of identities that are picked out of what it
 * says.
 */
#include "xds/workload_api.h"

#include "proxy/base/list.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/channel.h"
#include "xds/svid_stream.h"

struct workload_api {
    struct cert_source source;
    struct loop *loop;
    struct channel_options server;
    struct arena arena;
    workload_api_trust_fn *on_trust;
    void *owner;
    struct channel *channel;    /* NULL until something is followed */
    struct svid_stream *stream; /* the same */
    struct list followed;
};

struct followed {
    struct list link;
    struct arena arena;
    struct str key;
};

static void fail_all(struct workload_api *api, struct str why, bool is_withdrawn)
{
    list_foreach(link, &api->followed) rotation_fail(
        api->source.rotation, list_entry(link, struct followed, link)->key, why, is_withdrawn);
}

/* ---- what the server says ---- */

static void give(struct workload_api *api, const struct followed *followed,
                 const struct svid_update *update)
{
    struct svid *svid = svid_update_find(update, svid_key_id(followed->key));
    struct text why = {0};

    if (svid) {
        rotation_give(api->source.rotation, followed->key, svid_ref(svid));
        return;
    }
    text_addf(&why, "the Workload API gives %.*s%s, and not this identity",
              STR_ARG(update->svids[0]->id.text), update->n_svids > 1 ? " and others" : "");
    rotation_fail(api->source.rotation, followed->key, text_str(&why), true);
    text_fini(&why);
}

static void on_update(void *owner, const struct svid_update *update)
{
    struct workload_api *api = owner;

    api->on_trust(api->owner, update);
    list_foreach(link, &api->followed) give(api, list_entry(link, struct followed, link), update);
}

static void on_trouble(void *owner, int status, struct str why)
{
    struct workload_api *api = owner;
    const bool is_withdrawn = status == GRPC_PERMISSION_DENIED;
    struct text sentence = {0};

    if (is_withdrawn)
        api->on_trust(api->owner, NULL);
    text_addf(&sentence, "the Workload API: %.*s", STR_ARG(why));
    fail_all(api, text_str(&sentence), is_withdrawn);
    text_fini(&sentence);
}

static const struct svid_stream_events stream_events = {
    .on_update = on_update,
    .on_trouble = on_trouble,
};

static const struct svid_stream_options stream_options = {
    .path = "/SpiffeWorkloadAPI/FetchX509SVID",
    .metadata = {{"workload.spiffe.io", 18}, {"true", 4}},
};

static void on_up(void *owner, struct h2 *h2)
{
    struct workload_api *api = owner;

    svid_stream_set_h2(api->stream, h2);
}

static void on_down(void *owner, int err, struct str why)
{
    struct workload_api *api = owner;
    struct text sentence = {0};

    (void)err;
    svid_stream_set_h2(api->stream, NULL);
    text_addf(&sentence, "the Workload API cannot be reached: %.*s", STR_ARG(why));
    fail_all(api, text_str(&sentence), false);
    text_fini(&sentence);
}

static const struct channel_events channel_events = {.on_up = on_up, .on_down = on_down};

/* ---- the rotation's calls ---- */

static void open_channel(struct workload_api *api)
{
    /* An empty request is an empty message. */
    api->stream =
        svid_stream_open(api->loop, &stream_options, (struct str){0}, &stream_events, api);
    api->channel = channel_open(api->loop, &api->server, &channel_events, api);
}

static void follow(struct cert_source *source, struct str key)
{
    struct workload_api *api = container_of(source, struct workload_api, source);
    struct followed *followed = mem_new(struct followed);

    followed->key = arena_str(&followed->arena, key);
    list_push_back(&api->followed, &followed->link);
    if (!api->channel)
        open_channel(api);
    else if (channel_h2(api->channel)) /* asks anew: the answer comes at once */
        svid_stream_set_h2(api->stream, channel_h2(api->channel));
}

static void drop(struct followed *followed)
{
    list_remove(&followed->link);
    arena_fini(&followed->arena);
    mem_free(followed);
}

static void forget(struct cert_source *source, struct str key)
{
    struct workload_api *api = container_of(source, struct workload_api, source);

    list_foreach(link, &api->followed)
    {
        struct followed *followed = list_entry(link, struct followed, link);

        if (str_eq(followed->key, key)) {
            drop(followed);
            return;
        }
    }
}

static void cancel_all(struct cert_source *source)
{
    struct workload_api *api = container_of(source, struct workload_api, source);

    if (api->channel)
        channel_close(api->channel);
    if (api->stream)
        svid_stream_close(api->stream);
    api->channel = NULL;
    api->stream = NULL;
    list_foreach(link, &api->followed) drop(list_entry(link, struct followed, link));
}

/* ---- life ---- */

struct workload_api *workload_api_new(struct loop *loop, const struct spiffe_endpoint *endpoint,
                                      uint32_t mark, workload_api_trust_fn *on_trust, void *owner)
{
    struct workload_api *api = mem_new(struct workload_api);

    api->source.name = "workload API";
    api->source.follow = follow;
    api->source.forget = forget;
    api->source.cancel_all = cancel_all;
    api->loop = loop;
    api->server = (struct channel_options){
        .server = {arena_str(&api->arena, endpoint->tcp.host), endpoint->tcp.port},
        .unix_path = arena_str(&api->arena, endpoint->unix_path),
        .plaintext = true,
        .mark = mark,
    };
    api->on_trust = on_trust;
    api->owner = owner;
    list_init(&api->followed);
    return api;
}

struct cert_source *workload_api_source(struct workload_api *api)
{
    return &api->source;
}

void workload_api_free(struct workload_api *api)
{
    if (!api)
        return;
    cancel_all(&api->source);
    arena_fini(&api->arena);
    mem_free(api);
}
