#include "certs/jws.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "certs/json_strict.h"
#include "proxy/base/base64url.h"
#include "proxy/base/err.h"

#define HEADER_DEPTH_MAX 6
#define EC_DER_MAX       160 /* two numbers of 66 bytes and what stands around them */

static int refuse(const char **out_why, const char *sentence)
{
    *out_why = sentence;
    return -ERR_INVALID;
}

/* ---- reading ---- */

static bool decode(struct str text, struct arena *arena, struct str *out)
{
    unsigned char *bytes = arena_alloc(arena, BASE64URL_BYTES(text.len));
    size_t len;

    if (!base64url_decode(text, bytes, &len))
        return false;
    *out = str_of(bytes, len);
    return true;
}

static int read_header(const json_t *header, struct arena *arena, struct jws *jws,
                       const char **out_why)
{
    const json_t *algorithm = json_object_get(header, "alg");
    const json_t *kid = json_object_get(header, "kid");

    if (!json_is_object(header))
        return refuse(out_why, "the token's header is not a JSON object");
    if (json_object_get(header, "crit") || json_object_get(header, "b64"))
        return refuse(out_why, "the token's header has an extension that is not known (crit)");
    if (!jws_algorithm_of(json_strict_text(algorithm), &jws->algorithm))
        return refuse(out_why, "the token's algorithm is none that is accepted");
    if (kid && (!json_is_string(kid) || json_string_length(kid) > JWK_KID_MAX))
        return refuse(out_why, "the token's kid is not a string of 256 bytes at most");
    jws->has_kid = kid != NULL;
    jws->kid = arena_str(arena, json_strict_text(kid));
    return 0;
}

int jws_read(struct str token, struct arena *arena, struct jws *out_jws, const char **out_why)
{
    static const struct json_bounds bounds = {JWS_HEADER_MAX, HEADER_DEPTH_MAX};
    struct str header_text, rest, payload_text, signature_text, header;
    struct jws jws = {0};

    if (!str_split(token, '.', &header_text, &rest) ||
        !str_split(rest, '.', &payload_text, &signature_text) || header_text.len == 0 ||
        payload_text.len == 0 || signature_text.len == 0 || header_text.len > JWS_HEADER_MAX * 2 ||
        signature_text.len > JWS_SIGNATURE_MAX * 2)
        return refuse(out_why, "the token is not a compact JWS: header.payload.signature");
    if (!decode(header_text, arena, &header) || !decode(payload_text, arena, &jws.payload) ||
        !decode(signature_text, arena, &jws.signature))
        return refuse(out_why, "a part of the token is not base64url without padding");
    json_t *root = json_strict_load(header, bounds, NULL);

    if (!root)
        return refuse(out_why, "the token's header is not JSON, strictly read");
    int err = read_header(root, arena, &jws, out_why);
    json_decref(root);
    if (err < 0)
        return err;
    jws.payload_text = payload_text;
    jws.signed_text = str_sub(token, 0, header_text.len + 1 + payload_text.len);
    *out_jws = jws;
    return 0;
}

/* ---- verifying ---- */

static const EVP_MD *digest_of(enum jws_algorithm algorithm)
{
    switch (algorithm) {
    case JWS_RS256:
    case JWS_PS256:
    case JWS_ES256: return EVP_sha256();
    case JWS_RS384:
    case JWS_PS384:
    case JWS_ES384: return EVP_sha384();
    case JWS_RS512:
    case JWS_PS512:
    case JWS_ES512: return EVP_sha512();
    case JWS_EDDSA:
    case JWS_ALGORITHMS: break;
    }
    return NULL;
}

static bool is_pss(enum jws_algorithm algorithm)
{
    return algorithm == JWS_PS256 || algorithm == JWS_PS384 || algorithm == JWS_PS512;
}

/* Bytes of one of the two numbers of an EC signature; 0: it is none. */
static size_t half_of(enum jws_algorithm algorithm)
{
    return algorithm == JWS_ES256   ? 32
           : algorithm == JWS_ES384 ? 48
           : algorithm == JWS_ES512 ? 66
                                    : 0;
}

/* r and s of exactly that width, as DER, which is what OpenSSL reads. 0 when they are not that. */
static size_t ec_der(struct str raw, size_t half, unsigned char *der)
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    const unsigned char *bytes = (const unsigned char *)raw.ptr;
    unsigned char *end = der;

    ensure(signature);
    if (raw.len == 2 * half) {
        BIGNUM *r = BN_bin2bn(bytes, (int)half, NULL);
        BIGNUM *s = BN_bin2bn(bytes + half, (int)half, NULL);

        ensure(r && s && ECDSA_SIG_set0(signature, r, s) == 1);
        ensure(i2d_ECDSA_SIG(signature, NULL) <= EC_DER_MAX);
        (void)i2d_ECDSA_SIG(signature, &end);
    }
    ECDSA_SIG_free(signature);
    return (size_t)(end - der);
}

static bool verify_with(const struct jws *jws, EVP_PKEY *key)
{
    unsigned char der[EC_DER_MAX];
    const size_t half = half_of(jws->algorithm);
    struct str signature =
        half > 0 ? str_of(der, ec_der(jws->signature, half, der)) : jws->signature;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_context = NULL;

    ensure(context);
    bool is_good =
        signature.len > 0 &&
        EVP_DigestVerifyInit(context, &key_context, digest_of(jws->algorithm), NULL, key) == 1;
    if (is_good && is_pss(jws->algorithm))
        is_good = EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) == 1 &&
                  EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST) == 1;
    is_good =
        is_good &&
        EVP_DigestVerify(context, (const unsigned char *)signature.ptr, signature.len,
                         (const unsigned char *)jws->signed_text.ptr, jws->signed_text.len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return is_good;
}

int jws_verify(const struct jws *jws, const struct jwk_set *set, const char **out_why)
{
    size_t n_keys, n_tries = 0;
    const struct jwk *keys = jwk_set_keys(set, &n_keys);

    for (size_t i = 0; i < n_keys && n_tries < JWS_TRIES_MAX; i++) {
        if (!jwk_fits(&keys[i], jws->algorithm) ||
            (jws->has_kid && keys[i].kid.len > 0 && !str_eq(keys[i].kid, jws->kid)))
            continue;
        n_tries++;
        if (verify_with(jws, keys[i].key))
            return 0;
    }
    return refuse(out_why, n_tries > 0 ? "the token's signature is not good"
                                       : "no key fits the token's kid and algorithm");
}
