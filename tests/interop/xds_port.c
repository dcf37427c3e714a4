/*
 * xds_port.c - our control port for a client of others: serves a set of resources and signs
 * certificates.
 *
 * xds_port DIR writes DIR/root.pem (whom to trust), DIR/node.pem and DIR/node.key (a node's
 * identity), prints its port on one line and serves until SIGTERM. SIGUSR1 goes on to the next of
 * two states: the second has no pod-0, and pod-1 of it is unhealthy.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca.h"
#include "certs/cert.h"
#include "certs/csr.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/io/process.h"
#include "tests/kit/test_ca.h"
#include "tests/unit/xds/models.h"
#include "xds/server.h"

#define PODS 5000

struct program {
    struct loop *loop;
    struct arena arena;
    struct ca *ca;
    struct resource_set *set;
    struct model_resource *resources[PODS + 2];
    struct xds_server *server;
    unsigned state;
};

static struct resource_set *on_subscribe(void *owner, const struct server_peer *peer,
                                         const char **out_why)
{
    (void)peer, (void)out_why;
    return ((struct program *)owner)->set;
}

static enum grpc_status on_certificate(void *owner, const struct server_peer *peer,
                                       const struct certificate_request *request,
                                       struct text *out_chain_pem, struct text *out_root_pem,
                                       struct text *why)
{
    struct program *program = owner;
    char id[SPIFFE_ID_MAX + 1];
    const char *reason = "";
    EVP_PKEY *key;

    if (str_is_empty(peer->id) && !str_eq(request->token, STR("sesame"))) {
        text_add(why, STR("the token is not right: 100 %"));
        return GRPC_UNAUTHENTICATED;
    }
    if (csr_read(request->csr_pem, id, &key, &reason)) {
        text_add(why, str_from(reason));
        return GRPC_INVALID_ARGUMENT;
    }
    ensure(ca_sign(program->ca, str_from(id), key, (int64_t)(3600 * NS_PER_SEC), out_chain_pem) ==
           0);
    text_add(out_root_pem, ca_root_pem(program->ca));
    EVP_PKEY_free(key);
    return GRPC_OK;
}

static const struct xds_server_events events = {
    .on_subscribe = on_subscribe,
    .on_certificate = on_certificate,
};

static void publish(struct program *program)
{
    bool is_second = program->state % 2 == 1;

    program->resources[1]->of.workload->is_healthy = !is_second;
    resource_set_replace(program->set,
                         (const struct model_resource *const *)program->resources + is_second,
                         PODS + 2 - is_second);
    if (program->server)
        xds_server_notify(program->server, program->set);
}

static void on_next(void *owner, int signum)
{
    struct program *program = owner;

    (void)signum;
    program->state++;
    publish(program);
}

static void on_stop(void *owner, int signum)
{
    (void)signum;
    loop_stop(((struct program *)owner)->loop);
}

static void make_resources(struct program *program)
{
    for (unsigned i = 0; i < PODS; i++) {
        char name[32], address[32];

        snprintf(name, sizeof(name), "pod-%u", i);
        snprintf(address, sizeof(address), "10.0.%u.%u", i / 256, i % 256);
        program->resources[i] = model_pod(&program->arena, name, address);
    }
    program->resources[PODS] = model_rich_service(&program->arena);
    program->resources[PODS + 1] = model_rich_policy(&program->arena);
}

static void write_into(const char *dir, const char *name, struct str content)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    ensure(file_write_atomic(str_from(path), content, 0600) == 0);
}

static struct svid *mint(const struct test_ca *ca, const struct test_cert *cert)
{
    struct text pem = {0}, why = {0};
    EVP_PKEY *key;
    X509 *leaf = test_ca_mint(ca, cert, &key);
    struct svid *svid;

    cert_add_pem(leaf, &pem);
    ensure(svid_from_chain(text_str(&pem), key, &svid, &why) == 0);
    X509_free(leaf);
    EVP_PKEY_free(key);
    text_fini(&pem);
    text_fini(&why);
    return svid;
}

static void write_node(const char *dir, const struct test_ca *ca)
{
    struct svid *node = test_svid_new(ca, "spiffe://west.example/isthmus/node/n1");
    struct text root = {0}, chain = {0}, key = {0};

    test_ca_pem(ca, &root);
    svid_chain_pem(node, &chain);
    svid_key_pem(node, &key);
    write_into(dir, "root.pem", text_str(&root));
    write_into(dir, "node.pem", text_str(&chain));
    write_into(dir, "node.key", text_str(&key));
    text_fini(&root);
    text_fini(&chain);
    file_wipe(&key);
    svid_unref(node);
}

static void serve(struct program *program, struct tls_identity *identity, struct trust *trust)
{
    const struct trust *trust_now = trust;
    struct xds_server_options options = {.identity = &identity, .trust = &trust_now};
    int errnum;

    ensure(ip_parse(STR("127.0.0.1"), &options.listen.ip) == 0);
    ensure(xds_server_open(program->loop, &options, &events, program, &program->server, &errnum) ==
           0);
    printf("%u\n", xds_server_addr(program->server).port);
    fflush(stdout);
    loop_run(program->loop);
    xds_server_close(program->server);
}

int main(int argc, char **argv)
{
    struct program program = {.loop = loop_new(), .set = resource_set_new()};
    struct test_ca *ca = test_ca_new("west.example");
    /* A client of others looks for a DNS name, which an SVID may hold beside its SPIFFE ID. */
    const struct test_cert cert = {.uris = {STR("spiffe://west.example/isthmus/control")},
                                   .other_names = true};
    struct svid *own = mint(ca, &cert);
    struct signal_watch *watches[2];
    struct tls_identity *identity;
    struct trust *trust = NULL;
    struct text why = {0};

    ensure(argc == 2);
    log_set_level(LOG_WARN);
    ensure(ca_open(str_from(argv[1]), STR("west.example"), &program.ca, &why) == 0);
    ensure(tls_identity_new(own, &identity) == 0);
    test_trust_add(&trust, "west.example", ca);
    write_node(argv[1], ca);
    make_resources(&program);
    publish(&program);
    watches[0] = signal_watch_open(program.loop, SIGUSR1, on_next, &program);
    watches[1] = signal_watch_open(program.loop, SIGTERM, on_stop, &program);
    serve(&program, identity, trust);
    signal_watch_close(watches[0]);
    signal_watch_close(watches[1]);
    while (loop_turn(program.loop, true))
        ;
    loop_free(program.loop);
    resource_set_free(program.set);
    tls_identity_unref(identity);
    trust_unref(trust);
    svid_unref(own);
    ca_close(program.ca);
    test_ca_free(ca);
    arena_fini(&program.arena);
    return 0;
}
