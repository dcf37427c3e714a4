/*
 * issue.h - who gets which certificate.
 *
 *   who asks                                  may have
 *   nobody yet, with the node's token         the identity of that node
 *   a node of this cluster                    its own identity again; that of a pod in the mesh
 * which the registry places on it a peer, a workload, anybody else          nothing
 *
 * A token is a file of tokensDir, named like the node, of at least ISSUE_TOKEN_MIN bytes; it is
 * compared in constant time.
 *
 * Thread: one; reads a small file. Errors: a gRPC status with a sentence in *why.
 */
#ifndef ISTHMUS_XDS_CONTROL_ISSUE_H
#define ISTHMUS_XDS_CONTROL_ISSUE_H

#include "certs/ca.h"
#include "xds/control/registry.h"
#include "xds/server.h"

#define ISSUE_TOKEN_MIN 16
#define ISSUE_TOKEN_MAX 4096

struct issuer { /* borrowed by issue_decide() */
    struct str trust_domain, tokens_dir;
    uint64_t ttl_ns;
    struct ca *ca;
    const struct registry *registry;
};

/* Decides and signs: the chain and the roots are appended when GRPC_OK is returned. */
enum grpc_status issue_decide(const struct issuer *issuer, const struct server_peer *peer,
                              const struct certificate_request *request, struct text *out_chain_pem,
                              struct text *out_root_pem, struct text *why);

#endif
