#include "xds/control/issue.h"

#include "certs/csr.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"

#define NODE_NAME_MAX 253

/* One decision under way. */
struct decision {
    const struct issuer *issuer;
    const struct server_peer *peer;
    const struct certificate_request *request;
    struct spiffe_id wanted; /* what the CSR is for */
    struct text *why;
};

static enum grpc_status refuse(const struct decision *decision, enum grpc_status status,
                               const char *sentence)
{
    text_add(decision->why, str_from(sentence));
    return status;
}

/* The time depends on the length of what was sent, not on where it differs. */
static bool same_secret(struct str secret, struct str sent)
{
    volatile unsigned char differs = secret.len != sent.len;
    for (size_t i = 0; i < sent.len; i++)
        differs |= (unsigned char)(sent.ptr[i] ^ secret.ptr[i % secret.len]);
    return differs == 0;
}

static struct str without_blanks_behind(struct str text)
{
    while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r' ||
                            text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* The name becomes the name of a file. */
static bool is_plain_name(struct str name)
{
    if (name.len == 0 || name.len > NODE_NAME_MAX || name.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] == '/' || name.ptr[i] == '\0')
            return false;
    return true;
}

static enum grpc_status check_token(const struct decision *decision, struct str node)
{
    struct text path = {0}, content = {0};
    enum grpc_status status = GRPC_UNAUTHENTICATED;
    text_addf(&path, "%.*s/%.*s", STR_ARG(decision->issuer->tokens_dir), STR_ARG(node));
    const int err = file_read_all(text_str(&path), ISSUE_TOKEN_MAX, &content);
    struct str token = without_blanks_behind(text_str(&content));
    if (err == -ERR_NOT_FOUND)
        text_addf(decision->why, "there is no token for node %.*s", STR_ARG(node));
    else if (err < 0)
        text_addf(decision->why, "the token of node %.*s cannot be read: %s", STR_ARG(node),
                  err_text(err));
    else if (token.len < ISSUE_TOKEN_MIN)
        text_addf(decision->why,
                  "the token of node %.*s is shorter than %d bytes and admits nobody",
                  STR_ARG(node), ISSUE_TOKEN_MIN);
    else if (!same_secret(token, decision->request->token))
        text_addf(decision->why, "the token is not that of node %.*s", STR_ARG(node));
    else
        status = GRPC_OK;
    file_wipe(&content);
    text_fini(&path);
    return status;
}

static enum grpc_status decide_by_token(const struct decision *decision)
{
    struct str node;
    if (str_is_empty(decision->request->token))
        return refuse(decision, GRPC_UNAUTHENTICATED,
                      "neither a client certificate nor a bootstrap token was shown");
    if (!spiffe_node_name(&decision->wanted, &node) || !is_plain_name(node))
        return refuse(decision, GRPC_PERMISSION_DENIED,
                      "a bootstrap token is good for a node's own identity only");
    if (!registry_has_node(decision->issuer->registry, node))
        return refuse(decision, GRPC_PERMISSION_DENIED, "there is no such Node in this cluster");
    return check_token(decision, node);
}

static enum grpc_status decide_for_node(const struct decision *decision)
{
    const struct registry *registry = decision->issuer->registry;
    struct spiffe_id id;
    struct str node, namespace_, service_account;
    if (spiffe_parse(decision->peer->id, &id, NULL) < 0 ||
        !str_eq(id.trust_domain, decision->issuer->trust_domain) || !spiffe_node_name(&id, &node))
        return refuse(decision, GRPC_PERMISSION_DENIED,
                      "only nodes of this cluster are given certificates");
    if (!registry_has_node(registry, node))
        return refuse(decision, GRPC_PERMISSION_DENIED,
                      "the node that asks is no Node of this cluster (any more)");
    if (str_eq(decision->wanted.text, decision->peer->id))
        return GRPC_OK;
    if (!spiffe_workload_parts(&decision->wanted, &namespace_, &service_account))
        return refuse(decision, GRPC_PERMISSION_DENIED,
                      "a node may have its own identity and those of its pods, no other");
    if (!registry_places(registry, node, namespace_, service_account))
        return refuse(decision, GRPC_PERMISSION_DENIED,
                      "no pod in the mesh with that service account is on the node that asks");
    return GRPC_OK;
}

static enum grpc_status decide(const struct decision *decision)
{
    const struct certificate_request *request = decision->request;
    if (!str_is_empty(request->wanted_id) && !str_eq(request->wanted_id, decision->wanted.text))
        return refuse(decision, GRPC_INVALID_ARGUMENT,
                      "the request for a certificate is for another identity than was asked for");
    if (!str_eq(decision->wanted.trust_domain, decision->issuer->trust_domain))
        return refuse(decision, GRPC_PERMISSION_DENIED, "the identity is of another trust domain");
    return str_is_empty(decision->peer->id) ? decide_by_token(decision) : decide_for_node(decision);
}

static int64_t ttl_of(const struct issuer *issuer, int64_t asked_sec)
{
    const int64_t most_ns = (int64_t)issuer->ttl_ns;
    if (asked_sec <= 0 || asked_sec > most_ns / (int64_t)NS_PER_SEC)
        return most_ns;
    return asked_sec * (int64_t)NS_PER_SEC;
}

static enum grpc_status sign(const struct decision *decision, EVP_PKEY *key,
                             struct text *out_chain_pem, struct text *out_root_pem)
{
    const struct issuer *issuer = decision->issuer;
    if (ca_sign(issuer->ca, decision->wanted.text, key,
                ttl_of(issuer, decision->request->validity_sec), out_chain_pem) < 0)
        return refuse(decision, GRPC_INTERNAL, "the certificate could not be signed");
    text_add(out_root_pem, ca_root_pem(issuer->ca));
    return GRPC_OK;
}

enum grpc_status issue_decide(const struct issuer *issuer, const struct server_peer *peer,
                              const struct certificate_request *request, struct text *out_chain_pem,
                              struct text *out_root_pem, struct text *why)
{
    struct decision decision = {.issuer = issuer, .peer = peer, .request = request, .why = why};
    char id[SPIFFE_ID_MAX + 1];
    const char *fault = NULL;
    EVP_PKEY *key = NULL;
    if (csr_read(request->csr_pem, id, &key, &fault) < 0)
        return refuse(&decision, GRPC_INVALID_ARGUMENT, fault ? fault : "the request is malformed");
    enum grpc_status status = GRPC_INVALID_ARGUMENT;
    if (spiffe_parse(str_from(id), &decision.wanted, &fault) < 0)
        text_add(why, str_from(fault));
    else
        status = decide(&decision);
    if (status == GRPC_OK)
        status = sign(&decision, key, out_chain_pem, out_root_pem);
    csr_key_free(key);
    return status;
}
