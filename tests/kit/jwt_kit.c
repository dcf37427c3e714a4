#include "tests/kit/jwt_kit.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

static bool is_ec(const struct jwt_key *key)
{
    return key->algorithm[0] == 'E' && key->algorithm[1] == 'S';
}

static const char *curve_of(const struct jwt_key *key)
{
    return strcmp(key->algorithm, "ES256") == 0   ? "P-256"
           : strcmp(key->algorithm, "ES384") == 0 ? "P-384"
                                                  : "P-521";
}

static int width_of(const struct jwt_key *key)
{
    return strcmp(key->algorithm, "ES256") == 0   ? 32
           : strcmp(key->algorithm, "ES384") == 0 ? 48
                                                  : 66;
}

struct jwt_key jwt_key_new(const char *algorithm, const char *kid)
{
    struct jwt_key key = {NULL, kid, algorithm};

    if (is_ec(&key))
        key.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve_of(&key));
    else if (strcmp(algorithm, "EdDSA") == 0)
        key.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else
        key.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    ensure(key.pkey);
    return key;
}

void jwt_key_free(struct jwt_key *key)
{
    EVP_PKEY_free(key->pkey);
    *key = (struct jwt_key){0};
}

struct str jwt_base64url(struct str bytes, struct arena *arena)
{
    char *out = arena_alloc(arena, bytes.len / 3 * 4 + 5);
    size_t n = (size_t)EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)bytes.ptr,
                                       (int)bytes.len);

    while (n > 0 && out[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
    return str_of(out, n);
}

static struct str number(const struct jwt_key *key, const char *param, int width,
                         struct arena *arena)
{
    unsigned char bytes[1024];
    BIGNUM *bn = NULL;

    ensure(EVP_PKEY_get_bn_param(key->pkey, param, &bn) == 1);
    int len = BN_bn2binpad(bn, bytes, width > 0 ? width : BN_num_bytes(bn));
    BN_free(bn);
    ensure(len > 0);
    return jwt_base64url(str_of(bytes, (size_t)len), arena);
}

static struct str public_members(const struct jwt_key *key, struct arena *arena)
{
    unsigned char raw[32];
    size_t len = sizeof(raw);

    if (is_ec(key)) {
        struct str x = number(key, OSSL_PKEY_PARAM_EC_PUB_X, width_of(key), arena);
        struct str y = number(key, OSSL_PKEY_PARAM_EC_PUB_Y, width_of(key), arena);
        return arena_printf(arena, "\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%.*s\",\"y\":\"%.*s\"",
                            curve_of(key), STR_ARG(x), STR_ARG(y));
    }
    if (strcmp(key->algorithm, "EdDSA") == 0) {
        ensure(EVP_PKEY_get_raw_public_key(key->pkey, raw, &len) == 1);
        struct str x = jwt_base64url(str_of(raw, len), arena);
        return arena_printf(arena, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%.*s\"",
                            STR_ARG(x));
    }
    struct str n = number(key, OSSL_PKEY_PARAM_RSA_N, 0, arena);
    struct str e = number(key, OSSL_PKEY_PARAM_RSA_E, 0, arena);
    return arena_printf(arena, "\"kty\":\"RSA\",\"n\":\"%.*s\",\"e\":\"%.*s\"", STR_ARG(n),
                        STR_ARG(e));
}

struct str jwt_key_set(const struct jwt_key *keys, size_t n_keys, const char *more,
                       struct arena *arena)
{
    struct str all = STR("");

    for (size_t i = 0; i < n_keys; i++) {
        struct str members = public_members(&keys[i], arena);
        struct str kid =
            keys[i].kid ? arena_printf(arena, ",\"kid\":\"%s\"", keys[i].kid) : STR("");

        all = arena_printf(arena, "%.*s%s{%.*s%.*s%s}", STR_ARG(all), i > 0 ? "," : "",
                           STR_ARG(members), STR_ARG(kid), more);
    }
    return arena_printf(arena, "{\"keys\":[%.*s]}", STR_ARG(all));
}

static struct str raw_of(struct str der, int width, struct arena *arena)
{
    const unsigned char *at = (const unsigned char *)der.ptr;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)der.len);
    unsigned char *raw = arena_alloc(arena, 2 * (size_t)width);

    ensure(signature);
    ensure(BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, width) == width);
    ensure(BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + width, width) == width);
    ECDSA_SIG_free(signature);
    return str_of(raw, 2 * (size_t)width);
}

struct str jwt_signature(const struct jwt_key *key, struct str bytes, struct str *out_der,
                         struct arena *arena)
{
    const char *bits = key->algorithm + 2;
    const EVP_MD *digest = key->algorithm[1] == 'd'   ? NULL
                           : strcmp(bits, "256") == 0 ? EVP_sha256()
                           : strcmp(bits, "384") == 0 ? EVP_sha384()
                                                      : EVP_sha512();
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_context = NULL;
    unsigned char *out = arena_alloc(arena, 1024);
    size_t len = 1024;

    ensure(EVP_DigestSignInit(context, &key_context, digest, NULL, key->pkey) == 1);
    if (key->algorithm[0] == 'P')
        ensure(EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST) == 1);
    ensure(EVP_DigestSign(context, out, &len, (const unsigned char *)bytes.ptr, bytes.len) == 1);
    EVP_MD_CTX_free(context);
    if (out_der)
        *out_der = str_of(out, len);
    return is_ec(key) ? raw_of(str_of(out, len), width_of(key), arena) : str_of(out, len);
}

struct str jwt_hmac(struct str secret, struct str bytes, struct arena *arena)
{
    unsigned char *out = arena_alloc(arena, EVP_MAX_MD_SIZE);
    unsigned len = 0;

    ensure(HMAC(EVP_sha256(), secret.ptr, (int)secret.len, (const unsigned char *)bytes.ptr,
                bytes.len, out, &len));
    return str_of(out, len);
}

struct str jwt_sign(const struct jwt_key *key, const char *header, const char *payload,
                    struct arena *arena)
{
    struct str head = str_from(header);

    if (!header)
        head = key->kid ? arena_printf(arena, "{\"alg\":\"%s\",\"kid\":\"%s\"}", key->algorithm,
                                       key->kid)
                        : arena_printf(arena, "{\"alg\":\"%s\"}", key->algorithm);
    struct str first = jwt_base64url(head, arena);
    struct str second = jwt_base64url(str_from(payload), arena);
    struct str both = arena_printf(arena, "%.*s.%.*s", STR_ARG(first), STR_ARG(second));
    struct str third = jwt_base64url(jwt_signature(key, both, NULL, arena), arena);
    return arena_printf(arena, "%.*s.%.*s", STR_ARG(both), STR_ARG(third));
}

struct str jwt_key_pem(const struct jwt_key *key, struct arena *arena)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes;

    ensure(bio && PEM_write_bio_PUBKEY(bio, key->pkey) == 1);
    long len = BIO_get_mem_data(bio, &bytes);
    struct str pem = arena_str(arena, str_of(bytes, (size_t)len));
    BIO_free(bio);
    return pem;
}
