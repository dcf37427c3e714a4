/*
 * spiffe_node.c - our clients of the Workload and the Broker API, for servers of others: follows
 * identities and prints what becomes of them.
 *
 * spiffe_node WORKLOAD_API NODE_ID [BROKER_API BROKER_ID]
 *
 * Reads lines from standard input: "want KEY" and "unwant KEY" for pods, "quit". Prints a line for
 * every event: "svid KEY SERIAL NOT_AFTER_S", "gone KEY", "failed KEY WHY", "trust DOMAIN=N ...".
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "certs/anchors.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "xds/broker_api.h"
#include "xds/workload_api.h"

#define LOOK_NS (UINT64_C(10) * NS_PER_MS)

struct program {
    struct loop *loop;
    struct anchors *anchors;
    struct workload_api *workload_api;
    struct broker_api *broker_api;
    struct rotation *node, *pods;
    struct tls_identity *own;
    struct timer look;
    char line[4096];
    size_t len;
};

static void on_svid(void *owner, struct str key, struct svid *svid)
{
    (void)owner;
    if (svid)
        printf("svid %.*s %.*s %lld\n", STR_ARG(key), STR_ARG(svid->serial),
               (long long)(svid->not_after_ns / (int64_t)NS_PER_SEC));
    else
        printf("gone %.*s\n", STR_ARG(key));
}

static void on_own_svid(void *owner, struct str key, struct svid *svid)
{
    struct program *program = owner;

    on_svid(owner, key, svid);
    tls_identity_unref(program->own);
    program->own = NULL;
    if (svid)
        ensure(tls_identity_new(svid, &program->own) == 0);
    if (svid && program->broker_api)
        broker_api_identity_changed(program->broker_api);
}

static void on_failed(void *owner, struct str key, struct str why)
{
    (void)owner;
    printf("failed %.*s %.*s\n", STR_ARG(key), STR_ARG(why));
}

static const struct rotation_events own_events = {on_own_svid, on_failed};
static const struct rotation_events pod_events = {on_svid, on_failed};

static void on_trust(void *owner, const struct svid_update *update)
{
    struct program *program = owner;
    struct text why = {0};
    struct str names[16];
    size_t n = 0;

    printf("trust");
    for (; update && n < update->n_bundles; n++) {
        names[n] = update->bundles[n].trust_domain;
        ensure(anchors_set(program->anchors, "api", names[n], update->bundles[n].pem, &why) == 0);
        printf(" %.*s=%zu", STR_ARG(names[n]),
               bundle_n_roots(trust_find(anchors_current(program->anchors), names[n])));
    }
    anchors_keep(program->anchors, "api", names, n);
    printf(" crls=%zu\n", update ? update->n_crls : 0);
}

static struct tls_identity *identity(void *owner)
{
    return ((struct program *)owner)->own;
}

static void obey(struct program *program, struct str line)
{
    struct str verb = line, key = {0};

    (void)str_split(line, ' ', &verb, &key);
    if (str_eq(verb, STR("want")))
        rotation_want(program->pods, key);
    else if (str_eq(verb, STR("unwant")))
        rotation_unwant(program->pods, key);
    else
        loop_stop(program->loop);
}

/* Standard input is no socket, so it is looked at now and then. */
static void on_look(struct timer *timer)
{
    struct program *program = container_of(timer, struct program, look);
    ssize_t n =
        read(STDIN_FILENO, program->line + program->len, sizeof(program->line) - program->len);
    char *end;

    if (n == 0)
        loop_stop(program->loop);
    program->len += n > 0 ? (size_t)n : 0;
    while ((end = memchr(program->line, '\n', program->len))) {
        size_t len = (size_t)(end - program->line);

        obey(program, str_of(program->line, len));
        program->len -= len + 1;
        memmove(program->line, end + 1, program->len);
    }
    timer_start(program->loop, timer, LOOK_NS, on_look);
}

static struct spiffe_endpoint endpoint_of(const char *text, bool names_allowed)
{
    struct spiffe_endpoint endpoint;
    const char *why = NULL;

    if (spiffe_endpoint_parse(str_from(text), names_allowed, &endpoint, &why) < 0) {
        fprintf(stderr, "%s: %s\n", text, why);
        _exit(2);
    }
    return endpoint;
}

static void open_all(struct program *program, int argc, char **argv)
{
    const struct spiffe_endpoint own = endpoint_of(argv[1], false);

    if (argc > 4) {
        const struct broker_api_options options = {
            .endpoint = endpoint_of(argv[3], true),
            .server_id = str_from(argv[4]),
            .trust = anchors_trust(program->anchors),
            .identity = identity,
            .owner = program,
        };
        program->broker_api = broker_api_new(program->loop, &options);
        program->pods = rotation_new(program->loop, broker_api_source(program->broker_api),
                                     &pod_events, program);
    }
    program->workload_api = workload_api_new(program->loop, &own, 0, on_trust, program);
    program->node = rotation_new(program->loop, workload_api_source(program->workload_api),
                                 &own_events, program);
    rotation_want(program->node, str_from(argv[2]));
}

int main(int argc, char **argv)
{
    struct program program = {.loop = loop_new(), .anchors = anchors_new()};

    ensure(argc == 3 || argc == 5);
    setvbuf(stdout, NULL, _IOLBF, 0);
    ensure(fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) == 0);
    log_set_level(LOG_ERROR);
    open_all(&program, argc, argv);
    timer_start(program.loop, &program.look, LOOK_NS, on_look);
    loop_run(program.loop);
    timer_stop(&program.look);
    rotation_free(program.node);
    if (program.pods)
        rotation_free(program.pods);
    workload_api_free(program.workload_api);
    broker_api_free(program.broker_api);
    tls_identity_unref(program.own);
    anchors_free(program.anchors);
    while (loop_turn(program.loop, true))
        ;
    loop_free(program.loop);
    return 0;
}
