/*
 * port_kit.h - a control process and a node on loopback, over real TLS, with a CA that signs.
 *
 * The port plays the control side, the node the other one: channel, xDS client, CA client, rotation
 * of its own identity.
 */
#ifndef ISTHMUS_TESTS_UNIT_XDS_PORT_KIT_H
#define ISTHMUS_TESTS_UNIT_XDS_PORT_KIT_H

#include "certs/ca.h"
#include "certs/rotation.h"
#include "xds/ca_client.h"
#include "xds/client.h"
#include "xds/server.h"

#define CONTROL_ID "spiffe://west.example/isthmus/control"
#define NODE_ID    "spiffe://west.example/isthmus/node/n1"
#define TOKEN      "sesame"

struct port {
    struct loop *loop;
    struct arena arena;
    char dir[64];
    struct ca *ca;
    struct trust *trust;
    const struct trust *trust_now;
    struct tls_identity *identity;
    struct xds_server *server;
    struct resource_set *set;
    struct addr addr;
    bool refuses_streams;
    unsigned n_certificates, n_refused, n_refused_streams, n_streams_up, n_streams_down;
    struct str asked_by; /* the peer of the last certificate request */
};

void port_open(struct port *port);
void port_listen(struct port *port, uint16_t tcp_port); /* 0: any */
void port_shut(struct port *port);                      /* the server alone */
void port_close(struct port *port);
void port_publish(struct port *port, struct model_resource **resources, size_t n);
/* An identity signed by the CA. */
struct tls_identity *port_identity(struct port *port, const char *id);

struct node {
    struct port *port;
    struct tls_identity *identity; /* NULL: none yet */
    struct channel *channel;
    struct xds_client *client;
    struct ca_client *ca_client;
    struct rotation *rotation;
    bool is_up, is_connected, has_svid;
    unsigned n_changes, n_ups, n_downs, n_connects, n_disconnects, n_failed;
    int down_err;
    char last_failure[256];
};

/* Dials the port at once, with the identity or anonymously. state_file and token_file may be "". */
void node_open(struct node *node, struct port *port, const char *identity, const char *state_file,
               const char *token_file);
void node_close(struct node *node);
bool node_has(const struct node *node, const char *name);

#endif
