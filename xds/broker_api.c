/*
 * broker_api.c - one channel and a stream for each pod on it.
 *
 * Failure modes: the node has no SVID yet (the channel waits for it), the server is another than
 * expected (the handshake fails, told for every pod), a pod that the server does not know yet (the
 * stream rests and asks again), a uid that names no pod (told, and not asked for).
 */
#include "xds/broker_api.h"

#include <spiffe_broker.pb-c.h>

#include "proxy/base/clock.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "xds/svid_stream.h"
#include "xds/wire.h"

#define REDIALS_MAX    30
#define REFERENCE_TYPE "type.googleapis.com/spiffe.broker.KubernetesObjectReference"

struct broker_api {
    struct cert_source source;
    struct loop *loop;
    struct arena arena;
    struct broker_api_options options;
    struct channel *channel; /* NULL until the node has its SVID */
    struct map pods;         /* key -> struct pod */
    struct timer redial;     /* after UNAUTHENTICATED */
    unsigned n_redials;      /* since the last good answer */
};

struct pod {
    struct broker_api *api;
    struct arena arena;
    struct str key;
    struct svid_stream *stream; /* NULL: its uid is no pod's */
    struct task failing;
};

static void fail(struct pod *pod, bool is_withdrawn, const char *what, struct str why)
{
    struct text sentence = {0};

    text_addf(&sentence, "the Broker API%s%.*s", what, STR_ARG(why));
    rotation_fail(pod->api->source.rotation, pod->key, text_str(&sentence), is_withdrawn);
    text_fini(&sentence);
}

/* ---- the request ---- */

/* "west//v1/Pod/shop/cart-1": namespace and name. */
static bool pod_of_uid(struct str uid, struct str *out_namespace, struct str *out_name)
{
    static const struct str kind = {"//v1/Pod/", 9};

    for (size_t i = 0; i + kind.len <= uid.len; i++) {
        if (!str_starts_with(str_sub(uid, i, uid.len), kind))
            continue;
        return str_split(str_sub(uid, i + kind.len, uid.len), '/', out_namespace, out_name) &&
               out_namespace->len > 0 && out_name->len > 0;
    }
    return false;
}

bool broker_api_request(struct str svid_key, struct text *out)
{
    struct str namespace_, name;
    struct arena arena = {0};
    struct text packed = {0};
    Spiffe__Broker__KubernetesObjectType type;
    Spiffe__Broker__KubernetesObjectKey key;
    Spiffe__Broker__KubernetesObjectReference object;
    Google__Protobuf__Any any;
    Spiffe__Broker__WorkloadReference reference;
    Spiffe__Broker__SubscribeToX509SVIDRequest request;

    spiffe__broker__kubernetes_object_type__init(&type);
    spiffe__broker__kubernetes_object_key__init(&key);
    spiffe__broker__kubernetes_object_reference__init(&object);
    google__protobuf__any__init(&any);
    spiffe__broker__workload_reference__init(&reference);
    spiffe__broker__subscribe_to_x509_svidrequest__init(&request);
    if (!pod_of_uid(svid_key_workload(svid_key), &namespace_, &name))
        return false;
    type.plural = wire_text(&arena, STR("pods"));
    type.group = wire_text(&arena, STR("core"));
    key.namespace_ = wire_text(&arena, namespace_);
    key.name = wire_text(&arena, name);
    object.type = &type;
    object.key = &key;
    object.uid = wire_text(&arena, svid_key_pod_uid(svid_key));
    wire_pack(&object.base, &packed);
    any.type_url = wire_text(&arena, STR(REFERENCE_TYPE));
    any.value.data = (uint8_t *)packed.ptr;
    any.value.len = packed.len;
    reference.reference = &any;
    request.reference = &reference;
    wire_pack(&request.base, out);
    text_fini(&packed);
    arena_fini(&arena);
    return true;
}

/* ---- what the server says ---- */

static void on_redial(struct timer *timer)
{
    struct broker_api *api = container_of(timer, struct broker_api, redial);

    if (api->channel)
        channel_redial(api->channel);
}

/* Under the SVID that the node then has; the n-th time after n seconds, jittered downwards. */
static void redial_later(struct broker_api *api)
{
    if (timer_is_running(&api->redial))
        return;
    if (api->n_redials < REDIALS_MAX)
        api->n_redials++;
    const uint64_t top_ns = api->n_redials * NS_PER_SEC;
    const uint64_t less_ns = top_ns / 2000 * rng_below(loop_rng(api->loop), 1001);

    timer_start(api->loop, &api->redial, top_ns - less_ns, on_redial);
}

static void on_update(void *owner, const struct svid_update *update)
{
    struct pod *pod = owner;
    struct svid *svid = svid_update_find(update, svid_key_id(pod->key));

    pod->api->n_redials = 0;
    if (svid)
        rotation_give(pod->api->source.rotation, pod->key, svid_ref(svid));
    else
        fail(pod, true, " gives the pod another identity: ", update->svids[0]->id.text);
}

static void on_trouble(void *owner, int status, struct str why)
{
    struct pod *pod = owner;

    fail(pod, status == GRPC_PERMISSION_DENIED, ": ", why);
    if (status == GRPC_UNAUTHENTICATED)
        redial_later(pod->api);
}

static const struct svid_stream_events stream_events = {
    .on_update = on_update,
    .on_trouble = on_trouble,
};

static const struct svid_stream_options stream_options = {
    .path = "/spiffe.broker.API/SubscribeToX509SVID",
    .metadata = {{"broker.spiffe.io", 16}, {"true", 4}},
};

static void set_h2(struct broker_api *api, struct h2 *h2)
{
    struct str key;
    void *value;

    for (size_t idx = 0; map_next(&api->pods, &idx, &key, &value);) {
        struct pod *pod = value;

        if (pod->stream)
            svid_stream_set_h2(pod->stream, h2);
    }
}

static void on_up(void *owner, struct h2 *h2)
{
    set_h2(owner, h2);
}

static void on_down(void *owner, int err, struct str why)
{
    struct broker_api *api = owner;
    struct str key;
    void *value;

    (void)err;
    set_h2(api, NULL);
    for (size_t idx = 0; map_next(&api->pods, &idx, &key, &value);)
        fail(value, false, " cannot be reached: ", why);
}

static const struct channel_events channel_events = {.on_up = on_up, .on_down = on_down};

static struct tls_identity *identity_to_show(void *owner)
{
    struct broker_api *api = owner;

    return api->options.identity(api->options.owner);
}

void broker_api_identity_changed(struct broker_api *api)
{
    const struct channel_options options = {
        .server = api->options.endpoint.tcp,
        .unix_path = api->options.endpoint.unix_path,
        .mark = api->options.mark,
        .trust = api->options.trust,
        .expected_id = api->options.server_id,
        .identity = identity_to_show,
    };

    if (!api->channel)
        api->channel = channel_open(api->loop, &options, &channel_events, api);
    else if (!channel_h2(api->channel)) /* one that is up goes on: its proof was good */
        channel_redial(api->channel);
}

void broker_api_recheck(struct broker_api *api, const struct trust *trust)
{
    if (api->channel)
        channel_recheck(api->channel, trust);
}

/* ---- the rotation's calls ---- */

static void run_failing(struct task *task)
{
    struct pod *pod = container_of(task, struct pod, failing);

    if (!pod->stream)
        fail(pod, false, " is for pods, which this workload is not: ", svid_key_workload(pod->key));
    else
        fail(pod, false, ": the node has no certificate of its own yet", (struct str){0});
}

static void follow(struct cert_source *source, struct str key)
{
    struct broker_api *api = container_of(source, struct broker_api, source);
    struct pod *pod = mem_new(struct pod);
    struct text request = {0};

    pod->api = api;
    pod->key = arena_str(&pod->arena, key);
    pod->failing.run = run_failing;
    if (broker_api_request(key, &request))
        pod->stream =
            svid_stream_open(api->loop, &stream_options, text_str(&request), &stream_events, pod);
    text_fini(&request);
    (void)map_put(&api->pods, pod->key, pod);
    if (!pod->stream || !api->channel)
        loop_defer(api->loop, &pod->failing);
    else
        svid_stream_set_h2(pod->stream, channel_h2(api->channel));
}

static void pod_free(void *ptr)
{
    struct pod *pod = ptr;

    arena_fini(&pod->arena);
    mem_free(pod);
}

static void drop(struct pod *pod)
{
    (void)map_remove(&pod->api->pods, pod->key);
    task_cancel(&pod->failing);
    if (pod->stream)
        svid_stream_close(pod->stream);
    loop_bury(pod->api->loop, pod, pod_free);
}

static void forget(struct cert_source *source, struct str key)
{
    struct broker_api *api = container_of(source, struct broker_api, source);
    struct pod *pod = map_find(&api->pods, key);

    if (pod)
        drop(pod);
}

static void cancel_all(struct cert_source *source)
{
    struct broker_api *api = container_of(source, struct broker_api, source);
    struct str key;
    void *pod;

    timer_stop(&api->redial);
    if (api->channel)
        channel_close(api->channel);
    api->channel = NULL;
    for (size_t idx = 0; map_next(&api->pods, &idx, &key, &pod); idx = 0)
        drop(pod);
}

/* ---- life ---- */

struct broker_api *broker_api_new(struct loop *loop, const struct broker_api_options *options)
{
    struct broker_api *api = mem_new(struct broker_api);

    api->source.name = "broker API";
    api->source.follow = follow;
    api->source.forget = forget;
    api->source.cancel_all = cancel_all;
    api->loop = loop;
    api->options = *options;
    api->options.endpoint.unix_path = arena_str(&api->arena, options->endpoint.unix_path);
    api->options.endpoint.tcp.host = arena_str(&api->arena, options->endpoint.tcp.host);
    api->options.server_id = arena_str(&api->arena, options->server_id);
    return api;
}

struct cert_source *broker_api_source(struct broker_api *api)
{
    return &api->source;
}

void broker_api_free(struct broker_api *api)
{
    if (!api)
        return;
    cancel_all(&api->source);
    map_fini(&api->pods);
    arena_fini(&api->arena);
    mem_free(api);
}
