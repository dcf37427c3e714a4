/*
 * Every certificate of the table of X.509-SVIDs (the X numbers; docs/conformance-spiffe.md), shown
 * by a peer in a real handshake: once by a client to us as the server, once by a server to us as
 * the client. The peer is plain OpenSSL at security level 0, which sends whatever it is given; what
 * is looked at is our verdict and the sentence that goes to the log.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "tls_kit.h"

TestSuite(svid, .timeout = 60);

#define ID   "spiffe://west.example/ns/shop/sa/cart"
#define GOOD .uris = {{ID, sizeof(ID) - 1}}
#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
#define UNKNOWN_ISSUER "unable to get local issuer certificate"

enum signer { BY_ROOT, BY_MIDDLE, BY_LOWER, BY_STRANGER, BY_EAST };

struct row {
    struct test_cert leaf;
    enum signer signer;
    struct test_cert middle; /* under west's root; sent along when it signs */
    struct test_cert lower;  /* under the middle */

    enum { SHOWS_LEAF, SHOWS_ROOT, SHOWS_MIDDLE_FIRST, SHOWS_NOTHING } shows;

    const char *expected; /* the ID that we want to meet; NULL: any */
    /* Our verdict on it as a client's and as a server's certificate, and a part of the reason. */
    int as_client, as_server;
    const char *why;
};

/* ------------------------------------------------------------------ the peer */

struct peer {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out;
};

static void peer_open(struct peer *peer, bool is_server, X509 *leaf, EVP_PKEY *key,
                      STACK_OF(X509) * chain)
{
    static const unsigned char h2[] = {2, 'h', '2'};

    peer->ctx = SSL_CTX_new(TLS_method());
    cr_assert_not_null(peer->ctx);
    SSL_CTX_set_security_level(peer->ctx, 0);
    if (leaf) {
        cr_assert_eq(SSL_CTX_use_certificate(peer->ctx, leaf), 1);
        cr_assert_eq(SSL_CTX_use_PrivateKey(peer->ctx, key), 1);
    }
    for (int i = 0; i < sk_X509_num(chain); i++)
        cr_assert_eq(SSL_CTX_add1_chain_cert(peer->ctx, sk_X509_value(chain, i)), 1);
    peer->ssl = SSL_new(peer->ctx);
    cr_assert_not_null(peer->ssl);
    cr_assert_eq(SSL_set_alpn_protos(peer->ssl, h2, sizeof(h2)), 0);
    peer->in = BIO_new(BIO_s_mem());
    peer->out = BIO_new(BIO_s_mem());
    SSL_set_bio(peer->ssl, peer->in, peer->out);
    if (is_server)
        SSL_set_accept_state(peer->ssl);
    else
        SSL_set_connect_state(peer->ssl);
}

static int agree_to_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    (void)ssl, (void)in_len, (void)arg;
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static void peer_close(struct peer *peer)
{
    SSL_free(peer->ssl);
    SSL_CTX_free(peer->ctx);
    ERR_clear_error();
}

/* One exchange of what both have to say; false when neither has anything. */
static bool carry(struct world *world, struct peer *peer, struct fake_stream *fake)
{
    char bytes[65536];
    struct str said = fake_written(fake);
    bool moved = said.len > 0;

    if (said.len > 0)
        cr_assert_eq(BIO_write(peer->in, said.ptr, (int)said.len), (int)said.len);
    fake_forget_written(fake);
    (void)SSL_do_handshake(peer->ssl);
    ERR_clear_error();
    int len = BIO_read(peer->out, bytes, sizeof(bytes));
    if (len > 0)
        fake_feed(fake, bytes, (size_t)len);
    run_turns(world->loop, 3);
    return moved || len > 0;
}

/* ------------------------------------------------------------------ the certificates */

struct cast {
    struct test_ca *middle, *lower, *stranger;
    X509 *leaf;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
};

static const struct test_ca *signer_of(const struct world *world, struct cast *cast,
                                       enum signer signer)
{
    switch (signer) {
    case BY_ROOT: return world->west;
    case BY_MIDDLE: return cast->middle;
    case BY_LOWER: return cast->lower;
    case BY_STRANGER: return cast->stranger;
    case BY_EAST: return world->east;
    }
    return NULL;
}

static void cast_open(struct cast *cast, const struct world *world, const struct row *row)
{
    cast->chain = sk_X509_new_null();
    cast->stranger = test_ca_new("west.example");
    if (row->signer == BY_MIDDLE || row->signer == BY_LOWER)
        cast->middle = test_ca_under(world->west, &row->middle);
    if (row->signer == BY_LOWER)
        cast->lower = test_ca_under(cast->middle, &row->lower);
    cast->leaf = test_ca_mint(signer_of(world, cast, row->signer), &row->leaf, &cast->key);
    if (cast->lower)
        sk_X509_push(cast->chain, cast->lower->cert);
    if (cast->middle)
        sk_X509_push(cast->chain, cast->middle->cert);
    if (row->signer == BY_STRANGER)
        sk_X509_push(cast->chain, cast->stranger->cert);
}

static void cast_close(struct cast *cast)
{
    test_ca_free(cast->middle);
    test_ca_free(cast->lower);
    test_ca_free(cast->stranger);
    X509_free(cast->leaf);
    EVP_PKEY_free(cast->key);
    sk_X509_free(cast->chain);
}

static void show(struct peer *peer, bool is_server, const struct world *world, struct cast *cast,
                 const struct row *row)
{
    switch (row->shows) {
    case SHOWS_LEAF: peer_open(peer, is_server, cast->leaf, cast->key, cast->chain); break;
    case SHOWS_ROOT: peer_open(peer, is_server, world->west->cert, world->west->key, NULL); break;
    case SHOWS_MIDDLE_FIRST:
        sk_X509_unshift(cast->chain, cast->leaf);
        peer_open(peer, is_server, cast->middle->cert, cast->middle->key, cast->chain);
        break;
    case SHOWS_NOTHING: peer_open(peer, is_server, NULL, NULL, NULL); break;
    }
    SSL_CTX_set_alpn_select_cb(peer->ctx, agree_to_h2, NULL);
}

/* ------------------------------------------------------------------ the handshake */

static void meet(struct world *world, const struct row *row, bool peer_is_server)
{
    struct cast cast = {0};
    struct peer peer = {0};
    struct side side = {0};
    struct fake_stream *fake = fake_stream_new(world->loop);
    struct tls_options options = world_options(world, peer_is_server ? TLS_CLIENT : TLS_SERVER);
    struct str expected = str_from(row->expected);
    int wanted = peer_is_server ? row->as_server : row->as_client;
    const char *role = peer_is_server ? "as a server" : "as a client";

    options.expected = &expected;
    options.n_expected = row->expected ? 1 : 0;
    cast_open(&cast, world, row);
    show(&peer, peer_is_server, world, &cast, row);
    side_start(&side, world, &fake->stream, &options);
    for (int quiet = 0; quiet < 3;)
        quiet = carry(world, &peer, fake) ? 0 : quiet + 1;

    cr_assert(side.is_done, "%s: the handshake did not end", role);
    cr_expect_eq(side.err, wanted, "%s: %d instead of %d: %s", role, side.err, wanted, side.why);
    if (wanted != 0)
        cr_expect(str_contains(str_from(side.why), str_from(row->why)), "%s: %s", role, side.why);
    else if (side.err == 0)
        cr_expect(str_eq(tls_peer(side.tap.stream)->id, row->leaf.uris[0]), "%s", role);
    tap_free(&side.tap);
    run_turns(world->loop, 3);
    fake_stream_free(fake);
    peer_close(&peer);
    cast_close(&cast);
}

static void drive(const struct row *row, bool is_for_servers_too)
{
    struct world world;

    world_open(&world);
    meet(&world, row, false);
    if (is_for_servers_too)
        meet(&world, row, true);
    world_close(&world);
}

#define SVID(name, ...)                                                                            \
    Test(svid, name)                                                                               \
    {                                                                                              \
        static const struct row row = {__VA_ARGS__};                                               \
        drive(&row, true);                                                                         \
    }
#define REFUSED(error) .as_client = -(error), .as_server = -(error)

/* clang-format off */
SVID(X1_a_good_leaf_is_accepted, .leaf = {GOOD})
SVID(X2_other_names_beside_the_one_URI_are_accepted, .leaf = {GOOD, .other_names = true})
SVID(X3_two_SPIFFE_IDs_are_refused, .leaf = {.uris = {TEXT(ID), TEXT("spiffe://west.example/b")}},
     REFUSED(ERR_TLS_SVID), .why = "more than one URI")
SVID(X4_another_URI_beside_the_SPIFFE_ID_is_refused,
     .leaf = {.uris = {TEXT(ID), TEXT("https://west.example/x")}}, REFUSED(ERR_TLS_SVID), .why = "more than one URI")
SVID(X5_no_URI_is_refused, .leaf = {.other_names = true}, REFUSED(ERR_TLS_SVID), .why = "no URI")
SVID(X6_a_URI_of_another_scheme_is_refused, .leaf = {.uris = {TEXT("https://west.example/x")}},
     REFUSED(ERR_TLS_SVID), .why = "does not start with spiffe://")
SVID(X7_an_ID_without_a_path_is_refused, .leaf = {.uris = {TEXT("spiffe://west.example")}},
     REFUSED(ERR_TLS_SVID), .why = "has no path")
SVID(X8_an_ID_that_ends_with_a_slash_is_refused, .leaf = {.uris = {TEXT("spiffe://west.example/")}},
     REFUSED(ERR_TLS_SVID), .why = "ends with '/'")
SVID(X9_a_CA_is_refused, .leaf = {GOOD, .is_ca = true, .key_usage = "critical,digitalSignature"},
     REFUSED(ERR_TLS_SVID), .why = "is a CA")
SVID(X10_a_signing_CA_is_refused,
     .leaf = {GOOD, .is_ca = true, .key_usage = "critical,digitalSignature,keyCertSign"},
     REFUSED(ERR_TLS_SVID), .why = "is a CA")
SVID(X11_keyCertSign_is_refused, .leaf = {GOOD, .key_usage = "critical,digitalSignature,keyCertSign"},
     REFUSED(ERR_TLS_SVID), .why = "keyCertSign")
SVID(X12_cRLSign_is_refused, .leaf = {GOOD, .key_usage = "critical,digitalSignature,cRLSign"},
     REFUSED(ERR_TLS_SVID), .why = "cRLSign")
SVID(X13_no_digitalSignature_is_refused, .leaf = {GOOD, .key_usage = "critical,keyEncipherment"},
     REFUSED(ERR_TLS_SVID), .why = "digitalSignature")
SVID(X14_no_key_usage_is_refused, .leaf = {GOOD, .key_usage = ""}, REFUSED(ERR_TLS_SVID), .why = "no key usage")
SVID(X15_a_key_usage_that_is_not_critical_is_refused, .leaf = {GOOD, .key_usage = "digitalSignature"},
     REFUSED(ERR_TLS_SVID), .why = "not critical")
SVID(X16_no_basic_constraints_are_accepted, .leaf = {GOOD, .no_basic_constraints = true})
SVID(X17_no_extended_key_usage_is_accepted, .leaf = {GOOD, .extended_key_usage = ""})
SVID(X18_serverAuth_alone_is_no_client, .leaf = {GOOD, .extended_key_usage = "serverAuth"},
     .as_client = -ERR_TLS_CHAIN, .why = "purpose")
SVID(X19_clientAuth_alone_is_no_server, .leaf = {GOOD, .extended_key_usage = "clientAuth"},
     .as_server = -ERR_TLS_CHAIN, .why = "purpose")
SVID(X20_codeSigning_alone_is_refused, .leaf = {GOOD, .extended_key_usage = "codeSigning"},
     REFUSED(ERR_TLS_SVID), .why = "neither clientAuth nor serverAuth")
SVID(X21_an_expired_leaf_is_refused, .leaf = {GOOD, .from_s = -7200, .until_s = -60},
     REFUSED(ERR_TLS_CHAIN), .why = "expired")
SVID(X22_a_leaf_of_tomorrow_is_refused, .leaf = {GOOD, .from_s = 3600, .until_s = 7200},
     REFUSED(ERR_TLS_CHAIN), .why = "not yet valid")
SVID(X23_an_unknown_root_is_refused_though_it_is_sent, .leaf = {GOOD}, .signer = BY_STRANGER,
     REFUSED(ERR_TLS_CHAIN), .why = "certificate")
SVID(X24_the_root_of_another_trust_domain_is_refused, .leaf = {GOOD}, .signer = BY_EAST,
     REFUSED(ERR_TLS_CHAIN), .why = UNKNOWN_ISSUER)
SVID(X25_an_intermediate_that_is_no_CA_is_refused, .leaf = {GOOD}, .signer = BY_MIDDLE,
     .middle = {.subject = "m", .key_usage = "critical,keyCertSign"}, REFUSED(ERR_TLS_CHAIN), .why = "invalid CA")
SVID(X26_an_intermediate_without_keyCertSign_is_refused, .leaf = {GOOD}, .signer = BY_MIDDLE,
     .middle = {.is_ca = true, .subject = "m", .key_usage = "critical,cRLSign"},
     REFUSED(ERR_TLS_CHAIN), .why = "CA")
SVID(X27_a_path_that_is_too_long_is_refused, .leaf = {GOOD}, .signer = BY_LOWER,
     .middle = {.is_ca = true, .subject = "m", .path_len_plus_one = 1},
     .lower = {.is_ca = true, .subject = "l"}, REFUSED(ERR_TLS_CHAIN), .why = "path length")
SVID(X28_a_signer_with_a_path_in_its_ID_is_refused, .leaf = {GOOD}, .signer = BY_MIDDLE,
     .middle = {.is_ca = true, .subject = "m", .uris = {TEXT("spiffe://west.example/ca")}},
     REFUSED(ERR_TLS_CHAIN), .why = "has a path")
SVID(X29_a_signer_without_an_ID_is_accepted, .leaf = {GOOD}, .signer = BY_MIDDLE,
     .middle = {.is_ca = true, .subject = "m"})
SVID(X30_a_name_constraint_to_another_domain_is_held, .leaf = {GOOD}, .signer = BY_MIDDLE,
     .middle = {.is_ca = true, .subject = "m", .name_constraints = "critical,permitted;URI:east.example"},
     REFUSED(ERR_TLS_CHAIN), .why = "permitted subtree")
SVID(X31_a_name_constraint_to_our_domain_is_accepted, .leaf = {GOOD}, .signer = BY_MIDDLE,
     .middle = {.is_ca = true, .subject = "m", .name_constraints = "critical,permitted;URI:west.example"})
SVID(X32_an_intermediate_for_code_signing_is_refused, .leaf = {GOOD}, .signer = BY_MIDDLE,
     .middle = {.is_ca = true, .subject = "m", .extended_key_usage = "codeSigning"},
     REFUSED(ERR_TLS_CHAIN), .why = "purpose")
SVID(X33_an_unknown_critical_extension_is_refused, .leaf = {GOOD, .unknown_extension = "critical"},
     REFUSED(ERR_TLS_SVID), .why = "unknown critical extension")
SVID(X34_an_unknown_plain_extension_is_accepted, .leaf = {GOOD, .unknown_extension = "plain"})
SVID(X35_an_empty_subject_with_a_critical_SAN_is_accepted, .leaf = {GOOD, .subject = NULL})
SVID(X36_an_empty_subject_with_a_SAN_that_is_not_critical_is_refused, .leaf = {GOOD, .san_not_critical = true},
     REFUSED(ERR_TLS_SVID), .why = "subject is empty")
SVID(X37_a_NUL_in_the_ID_is_refused, .leaf = {.uris = {TEXT("spiffe://west.example/ns/shop/sa/cart\0.evil")}},
     REFUSED(ERR_TLS_SVID), .why = "character other than")
SVID(X38_bytes_beyond_ASCII_in_the_ID_are_refused, .leaf = {.uris = {TEXT("spiffe://west.example/caf\xc3\xa9")}},
     REFUSED(ERR_TLS_SVID), .why = "character other than")
SVID(X39_a_SAN_that_is_not_DER_is_refused, .leaf = {.san_der = TEXT("\x30\x7f\x86\x01")},
     REFUSED(ERR_TLS_SVID), .why = "malformed")
SVID(X40_a_SHA1_signature_is_refused, .leaf = {GOOD, .digest = "SHA1"}, REFUSED(ERR_TLS_CHAIN), .why = "too weak")
SVID(X40_a_key_of_1024_bits_is_refused, .leaf = {GOOD, .key = "RSA-1024"},
     REFUSED(ERR_TLS_CHAIN), .why = "too weak")
SVID(X41_a_chain_that_does_not_begin_with_the_leaf_is_refused, .leaf = {GOOD}, .signer = BY_MIDDLE,
     .middle = {.is_ca = true, .subject = "m"}, .shows = SHOWS_MIDDLE_FIRST,
     REFUSED(ERR_TLS_SVID), .why = "is a CA")
SVID(X43_a_domain_without_a_bundle_is_refused, .leaf = {.uris = {TEXT("spiffe://north.example/x")}},
     REFUSED(ERR_TLS_TRUST_DOMAIN), .why = "no trust bundle is known")
SVID(X44_a_root_of_the_bundle_is_no_peer, .leaf = {GOOD}, .shows = SHOWS_ROOT,
     REFUSED(ERR_TLS_SVID), .why = "is a CA")
SVID(X45_a_domain_that_ends_like_ours_is_not_ours, .leaf = {.uris = {TEXT("spiffe://evil-west.example/x")}},
     REFUSED(ERR_TLS_TRUST_DOMAIN), .why = "it is spiffe://evil-west.example/x")
SVID(X45_a_domain_that_begins_like_ours_is_not_ours, .leaf = {.uris = {TEXT("spiffe://west.example.evil/x")}},
     REFUSED(ERR_TLS_TRUST_DOMAIN), .why = "it is spiffe://west.example.evil/x")
SVID(X46_another_identity_than_expected_is_refused, .leaf = {GOOD}, .expected = "spiffe://west.example/ns/shop/sa/pay",
     REFUSED(ERR_TLS_IDENTITY), .why = "expected was spiffe://west.example/ns/shop/sa/pay")

/* clang-format on */

Test(svid, X43_a_client_that_shows_no_certificate_is_refused) /* a server cannot in TLS 1.3 */
{
    static const struct row row = {.leaf = {GOOD},
                                   .shows = SHOWS_NOTHING,
                                   .as_client = -ERR_TLS_NO_CERTIFICATE,
                                   .why = "certificate"};
    drive(&row, false);
}
