#include "port_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "certs/csr.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/loopback.h"

/* ---- the control side ---- */

struct tls_identity *port_identity(struct port *port, const char *id)
{
    struct tls_identity *identity;
    struct text csr = {0}, chain = {0}, why = {0};
    struct svid *svid;
    EVP_PKEY *key;

    cr_assert_eq(csr_make(str_from(id), &key, &csr), 0);
    cr_assert_eq(ca_sign(port->ca, str_from(id), key, (int64_t)(3600 * NS_PER_SEC), &chain), 0);
    cr_assert_eq(svid_from_chain(text_str(&chain), key, &svid, &why), 0, "%s", why.ptr);
    cr_assert_eq(tls_identity_new(svid, &identity), 0);
    svid_unref(svid);
    EVP_PKEY_free(key);
    text_fini(&csr);
    text_fini(&chain);
    text_fini(&why);
    return identity;
}

static struct resource_set *on_subscribe(void *owner, const struct server_peer *peer,
                                         const char **out_why)
{
    struct port *port = owner;

    cr_assert(str_eq(peer->id, STR(NODE_ID)));
    cr_assert(ip_is_loopback(&peer->remote.ip));
    if (!port->refuses_streams)
        return port->set;
    port->n_refused_streams++;
    *out_why = "not today";
    return NULL;
}

static void on_stream(void *owner, const struct server_peer *peer, bool is_up)
{
    struct port *port = owner;

    (void)peer;
    if (is_up)
        port->n_streams_up++;
    else
        port->n_streams_down++;
}

static enum grpc_status on_certificate(void *owner, const struct server_peer *peer,
                                       const struct certificate_request *request,
                                       struct text *out_chain_pem, struct text *out_root_pem,
                                       struct text *why)
{
    struct port *port = owner;
    char id[SPIFFE_ID_MAX + 1];
    const char *reason;
    EVP_PKEY *key;

    port->asked_by = arena_str(&port->arena, peer->id);
    if (str_is_empty(peer->id) && !str_eq(request->token, STR(TOKEN))) {
        port->n_refused++;
        text_add(why, STR("the token is not right"));
        return GRPC_UNAUTHENTICATED;
    }
    cr_assert_eq(csr_read(request->csr_pem, id, &key, &reason), 0, "%s", reason);
    cr_assert(str_eq(request->wanted_id, str_from(id)));
    cr_assert_eq(ca_sign(port->ca, str_from(id), key, (int64_t)(3600 * NS_PER_SEC), out_chain_pem),
                 0);
    text_add(out_root_pem, ca_root_pem(port->ca));
    EVP_PKEY_free(key);
    port->n_certificates++;
    return GRPC_OK;
}

static const struct xds_server_events server_events = {
    .on_subscribe = on_subscribe,
    .on_stream = on_stream,
    .on_certificate = on_certificate,
};

void port_open(struct port *port)
{
    struct trust *none = trust_new();
    struct text why = {0};

    *port = (struct port){.loop = loop_new()};
    snprintf(port->dir, sizeof(port->dir), "/tmp/isthmus-port-XXXXXX");
    cr_assert_not_null(mkdtemp(port->dir));
    cr_assert_eq(ca_open(str_from(port->dir), STR("west.example"), &port->ca, &why), 0, "%s",
                 why.ptr);
    cr_assert_eq(trust_with(none, STR("west.example"), ca_root_pem(port->ca), &port->trust, &why),
                 0, "%s", why.ptr);
    trust_unref(none);
    port->trust_now = port->trust;
    port->identity = port_identity(port, CONTROL_ID);
    port->set = resource_set_new();
    text_fini(&why);
    port_listen(port, 0);
}

void port_listen(struct port *port, uint16_t tcp_port)
{
    struct xds_server_options options = {.identity = &port->identity, .trust = &port->trust_now};
    int errnum = 0;

    options.listen = (struct addr){.ip = loopback_own(0), .port = tcp_port};
    cr_assert_eq(
        xds_server_open(port->loop, &options, &server_events, port, &port->server, &errnum), 0,
        "%s", strerror(errnum));
    port->addr = xds_server_addr(port->server);
}

void port_shut(struct port *port)
{
    xds_server_close(port->server);
    port->server = NULL;
}

void port_close(struct port *port)
{
    char command[128];

    if (port->server)
        port_shut(port);
    run_until_empty(port->loop, 5000);
    loop_finish(port->loop);
    resource_set_free(port->set);
    tls_identity_unref(port->identity);
    trust_unref(port->trust);
    ca_close(port->ca);
    arena_fini(&port->arena);
    snprintf(command, sizeof(command), "rm -rf %s", port->dir);
    cr_assert_eq(system(command), 0);
}

void port_publish(struct port *port, struct model_resource **resources, size_t n)
{
    resource_set_replace(port->set, (const struct model_resource *const *)resources, n);
    if (port->server)
        xds_server_notify(port->server, port->set);
}

/* ---- the node ---- */

static struct tls_identity *own_identity(void *owner)
{
    return ((struct node *)owner)->identity;
}

static void on_up(void *owner, struct h2 *h2)
{
    struct node *node = owner;

    node->is_up = true;
    node->n_ups++;
    ca_client_set_h2(node->ca_client, h2, node->identity == NULL);
    if (node->identity)
        xds_client_channel_up(node->client, h2);
    rotation_retry_now(node->rotation);
}

static void on_down(void *owner, int err, struct str why)
{
    struct node *node = owner;

    (void)why;
    node->is_up = false;
    node->n_downs++;
    node->down_err = err;
    ca_client_set_h2(node->ca_client, NULL, false);
    xds_client_channel_down(node->client);
}

static void on_change(void *owner)
{
    ((struct node *)owner)->n_changes++;
}

static void on_connected(void *owner, bool is_up)
{
    struct node *node = owner;

    node->is_connected = is_up;
    if (is_up)
        node->n_connects++;
    else
        node->n_disconnects++;
}

static void on_svid(void *owner, struct str id, struct svid *svid)
{
    struct node *node = owner;

    if (!svid)
        return;
    node->has_svid = true;
    if (!str_eq(id, STR(NODE_ID)))
        return;
    if (node->identity)
        tls_identity_unref(node->identity);
    cr_assert_eq(tls_identity_new(svid, &node->identity), 0);
    channel_redial(node->channel);
}

static void on_failed(void *owner, struct str id, struct str why)
{
    struct node *node = owner;

    (void)id;
    node->n_failed++;
    snprintf(node->last_failure, sizeof(node->last_failure), "%.*s", STR_ARG(why));
}

static const struct channel_events channel_events = {on_up, on_down};
static const struct xds_client_events client_events = {on_change, on_connected};
static const struct rotation_events rotation_events = {on_svid, on_failed};

void node_open(struct node *node, struct port *port, const char *identity, const char *state_file,
               const char *token_file)
{
    char host[IP_TEXT_MAX];
    const struct channel_options channel = {
        .server = {str_from(ip_text(&port->addr.ip, host)), port->addr.port},
        .trust = &port->trust_now,
        .expected_id = STR(CONTROL_ID),
        .identity = own_identity,
    };
    const struct xds_client_options options = {
        .node_id = STR("n1"),
        .cluster = STR("west"),
        .subscribed = {true, true, false},
        .state_file = str_from(state_file),
    };

    *node = (struct node){.port = port};
    if (identity)
        node->identity = port_identity(port, identity);
    node->client = xds_client_open(port->loop, &options, NULL, &client_events, node);
    node->ca_client = ca_client_new(port->loop, STR("west"), str_from(token_file));
    node->rotation =
        rotation_new(port->loop, ca_client_source(node->ca_client), &rotation_events, node);
    node->channel = channel_open(port->loop, &channel, &channel_events, node);
}

void node_close(struct node *node)
{
    xds_client_close(node->client);
    rotation_free(node->rotation);
    ca_client_free(node->ca_client);
    channel_close(node->channel);
    if (node->identity)
        tls_identity_unref(node->identity);
    node->identity = NULL;
}

bool node_has(const struct node *node, const char *name)
{
    const struct delta_resource *resource;

    for (size_t idx = 0; (resource = delta_client_next(xds_client_state(node->client), &idx));)
        if (str_eq(resource->name, str_from(name)))
            return true;
    return false;
}
