/*
 * ca_client.h - certificates from istio.v1.auth.IstioCertificateService/CreateCertificate, as a
 * cert_source.
 *
 * The request carries the CSR, and in its metadata Struct "ImpersonatedIdentity" with the SPIFFE ID
 * that is asked for; header ClusterID; over mutual TLS as the node, or, for the node's own first
 * certificate, with the bootstrap token as "authorization: Bearer ...". The answer's last PEM may
 * hold roots; the leaf must be for the ID that was asked.
 *
 * Owner: proxy/run. Thread: the loop's. Timeout 10 s a request.
 */
#ifndef ISTHMUS_XDS_CA_CLIENT_H
#define ISTHMUS_XDS_CA_CLIENT_H

#include "certs/rotation.h"
#include "xds/channel.h"

struct ca_client;

/* token: the bootstrap token's file, read for each request that goes out without a client
 * certificate. */
struct ca_client *ca_client_new(struct loop *loop, struct str cluster, struct str token_file);
struct cert_source *ca_client_source(struct ca_client *client);
/* The channel's connection, NULL while it is down; is_anonymous: no client certificate was shown on
 * it. */
void ca_client_set_h2(struct ca_client *client, struct h2 *h2, bool is_anonymous);
void ca_client_free(struct ca_client *client);

#endif
