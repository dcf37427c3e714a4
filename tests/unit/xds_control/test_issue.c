/* Who gets which certificate: the whole matrix, with real requests and a real CA. */
#include <criterion/criterion.h>
#include <sys/stat.h>

#include "certs/csr.h"
#include "certs/svid.h"
#include "cluster.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "xds/control/issue.h"

#define TOKEN "0123456789abcdef-n1"
#define NODE  "spiffe://west.example/isthmus/node/"

static struct cluster cluster;
static struct issuer issuer;

static void write_token(const char *name, const char *content)
{
    struct arena arena = {0};
    cr_assert_eq(
        file_write_atomic(arena_printf(&arena, "%.*s/%s", STR_ARG(issuer.tokens_dir), name),
                          str_from(content), 0600),
        0);
    arena_fini(&arena);
}

static void init(void)
{
    struct text why = {0};
    log_set_level(LOG_ERROR);
    cluster_init(&cluster);
    cluster_node(&cluster, "n1");
    cluster_node(&cluster, "n2");
    cluster_node(&cluster, "short");
    cluster_pod(&cluster, "shop", "a", "10.1.0.1", "");
    cluster_add(&cluster,
                "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: out}, spec: "
                "{nodeName: n1, serviceAccountName: plain}, status: {podIP: 10.1.0.2}}");
    issuer = (struct issuer){
        .trust_domain = STR("west.example"),
        .tokens_dir = arena_printf(&cluster.arena, "%s/tokens", cluster.dir.path),
        .ttl_ns = 3600 * NS_PER_SEC,
        .registry = cluster_build(&cluster),
    };
    cr_assert_eq(mkdir(issuer.tokens_dir.ptr, 0700), 0);
    write_token("n1", TOKEN " \r\n");
    write_token("short", "123456789012345\n");
    write_token("ghost", TOKEN);
    cr_assert_eq(ca_open(temp_dir_path(&cluster.dir), STR("west.example"), &issuer.ca, &why), 0,
                 "%s", why.ptr);
}

static void fini(void)
{
    ca_close(issuer.ca);
    cluster_fini(&cluster);
}

TestSuite(issue, .init = init, .fini = fini);

struct row {
    const char *asks, *token, *csr_id, *wanted;
    enum grpc_status status;
    const char *why; /* part of it */
};

static void check(const struct row *row, size_t idx)
{
    struct text csr = {0}, chain = {0}, root = {0}, why = {0};
    EVP_PKEY *key = NULL;
    cr_assert_eq(csr_make(str_from(row->csr_id), &key, &csr), 0);
    const struct server_peer peer = {.id = str_from(row->asks)};
    const struct certificate_request request = {
        .csr_pem = text_str(&csr),
        .token = str_from(row->token),
        .wanted_id = str_from(row->wanted),
    };

    const enum grpc_status status = issue_decide(&issuer, &peer, &request, &chain, &root, &why);

    cr_assert_eq(status, row->status, "row %zu: %d, %s", idx, (int)status, why.ptr);
    if (status == GRPC_OK) {
        struct svid *svid = NULL;
        cr_assert_eq(svid_from_chain(text_str(&chain), key, &svid, &why), 0, "row %zu: %s", idx,
                     why.ptr);
        assert_str(svid->id.text, row->csr_id);
        cr_assert(str_eq(text_str(&root), ca_root_pem(issuer.ca)));
        svid_unref(svid);
    } else {
        cr_assert_eq(chain.len + root.len, 0, "row %zu", idx);
        cr_assert(str_contains(text_str(&why), str_from(row->why)), "row %zu: %s", idx, why.ptr);
    }
    csr_key_free(key);
    text_fini(&csr);
    text_fini(&chain);
    text_fini(&root);
    text_fini(&why);
}

Test(issue, the_matrix_of_who_asks_and_what_for)
{
    static const struct row rows[] = {
        /* nobody yet */
        {"", TOKEN, NODE "n1", NODE "n1", GRPC_OK, ""},
        {"", TOKEN, NODE "n1", "", GRPC_OK, ""},
        {"", "", NODE "n1", "", GRPC_UNAUTHENTICATED, "neither"},
        {"", TOKEN "x", NODE "n1", "", GRPC_UNAUTHENTICATED, "not that of node n1"},
        {"", "0123456789abcdef", NODE "n1", "", GRPC_UNAUTHENTICATED, "not that of node n1"},
        {"", TOKEN, NODE "n2", "", GRPC_UNAUTHENTICATED, "no token for node n2"},
        {"", "123456789012345", NODE "short", "", GRPC_UNAUTHENTICATED, "shorter than 16"},
        {"", TOKEN, NODE "ghost", "", GRPC_PERMISSION_DENIED, "no such Node"},
        {"", TOKEN, NODE "n1", NODE "n2", GRPC_INVALID_ARGUMENT, "another identity"},
        {"", TOKEN, "spiffe://west.example/ns/shop/sa/sa", "", GRPC_PERMISSION_DENIED, "own"},
        {"", TOKEN, "spiffe://west.example/isthmus/control", "", GRPC_PERMISSION_DENIED, "own"},
        {"", TOKEN, "spiffe://west.example/isthmus/node/n1/x", "", GRPC_PERMISSION_DENIED, "own"},
        {"", TOKEN, "spiffe://west.example/isthmus/node/...", "", GRPC_PERMISSION_DENIED, "own"},
        {"", TOKEN, "spiffe://east.example/isthmus/node/n1", "", GRPC_PERMISSION_DENIED,
         "trust domain"},
        /* a node */
        {NODE "n1", "", NODE "n1", NODE "n1", GRPC_OK, ""},
        {NODE "n1", "", "spiffe://west.example/ns/shop/sa/sa", "", GRPC_OK, ""},
        {NODE "n1", "", "spiffe://west.example/ns/shop/sa/sa",
         "spiffe://west.example/ns/shop/sa/sa", GRPC_OK, ""},
        {NODE "n1", "", NODE "n2", "", GRPC_PERMISSION_DENIED, "no other"},
        {NODE "n1", TOKEN, NODE "n2", "", GRPC_PERMISSION_DENIED, "no other"},
        {NODE "n2", "", "spiffe://west.example/ns/shop/sa/sa", "", GRPC_PERMISSION_DENIED,
         "on the node that asks"},
        {NODE "n1", "", "spiffe://west.example/ns/shop/sa/plain", "", GRPC_PERMISSION_DENIED,
         "in the mesh"},
        {NODE "n1", "", "spiffe://west.example/ns/bank/sa/sa", "", GRPC_PERMISSION_DENIED,
         "on the node that asks"},
        {NODE "n1", "", "spiffe://west.example/isthmus/control", "", GRPC_PERMISSION_DENIED,
         "no other"},
        {NODE "n1", "", "spiffe://east.example/ns/shop/sa/sa", "", GRPC_PERMISSION_DENIED,
         "trust domain"},
        {NODE "gone", "", NODE "gone", "", GRPC_PERMISSION_DENIED, "any more"},
        /* others */
        {"spiffe://east.example/isthmus/control", "", NODE "n1", "", GRPC_PERMISSION_DENIED,
         "only nodes"},
        {"spiffe://east.example/isthmus/control", TOKEN, NODE "n1", "", GRPC_PERMISSION_DENIED,
         "only nodes"},
        {"spiffe://east.example/isthmus/node/n1", "", NODE "n1", "", GRPC_PERMISSION_DENIED,
         "only nodes"},
        {"spiffe://west.example/ns/shop/sa/sa", "", "spiffe://west.example/ns/shop/sa/sa", "",
         GRPC_PERMISSION_DENIED, "only nodes"},
        {"spiffe://west.example/isthmus/control", "", NODE "n1", "", GRPC_PERMISSION_DENIED,
         "only nodes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i], i);
}

Test(issue, a_request_that_is_none_is_refused)
{
    struct text chain = {0}, root = {0}, why = {0};
    const struct server_peer peer = {.id = STR(NODE "n1")};
    const struct certificate_request request = {.csr_pem = STR("hello")};

    cr_assert_eq(issue_decide(&issuer, &peer, &request, &chain, &root, &why),
                 GRPC_INVALID_ARGUMENT);
    cr_assert_gt(why.len, 0);
    text_fini(&why);
}

Test(issue, a_shorter_life_may_be_asked_for_and_a_longer_one_not)
{
    static const struct {
        int64_t asked_sec, most_sec;
    } rows[] = {{0, 3600}, {-5, 3600}, {600, 600}, {3601, 3600}, {INT64_MAX, 3600}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text csr = {0}, chain = {0}, root = {0}, why = {0};
        EVP_PKEY *key = NULL;
        struct svid *svid = NULL;
        const struct server_peer peer = {.id = STR(NODE "n1")};
        cr_assert_eq(csr_make(STR(NODE "n1"), &key, &csr), 0);
        const struct certificate_request request = {.csr_pem = text_str(&csr),
                                                    .validity_sec = rows[i].asked_sec};
        cr_assert_eq(issue_decide(&issuer, &peer, &request, &chain, &root, &why), GRPC_OK);
        cr_assert_eq(svid_from_chain(text_str(&chain), key, &svid, &why), 0, "%s", why.ptr);
        const int64_t left_sec = (svid->not_after_ns - clock_wall_ns()) / (int64_t)NS_PER_SEC;
        cr_assert(left_sec <= rows[i].most_sec && left_sec >= rows[i].most_sec - 30, "row %zu: %ld",
                  i, (long)left_sec);
        svid_unref(svid);
        csr_key_free(key);
        text_fini(&csr);
        text_fini(&chain);
        text_fini(&root);
        text_fini(&why);
    }
}
