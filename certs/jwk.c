/* jwk.c - members by name out of jansson, keys out of OpenSSL; what does not fit is passed over. */
#include "certs/jwk.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "certs/json_strict.h"
#include "proxy/base/base64url.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define RSA_BITS_MIN     2048
#define RSA_BITS_MAX     8192
#define RSA_BYTES_MAX    ((size_t)RSA_BITS_MAX / 8 + 1)
#define EXPONENT_MAX     5 /* bytes: verifying costs as many squarings as it has bits */
#define COORDINATE_MAX   66
#define ED25519_KEY_SIZE 32
#define OPERATIONS_MAX   16

struct jwk_set {
    struct jwk keys[JWK_SET_KEYS_MAX];
    size_t n_keys;
    json_t *root; /* in which the kids are */
};

static const struct algorithm_row {
    const char *name;
    enum jwk_kind kind;
} algorithm_rows[JWS_ALGORITHMS] = {
    [JWS_RS256] = {"RS256", JWK_RSA},  [JWS_RS384] = {"RS384", JWK_RSA},
    [JWS_RS512] = {"RS512", JWK_RSA},  [JWS_PS256] = {"PS256", JWK_RSA},
    [JWS_PS384] = {"PS384", JWK_RSA},  [JWS_PS512] = {"PS512", JWK_RSA},
    [JWS_ES256] = {"ES256", JWK_P256}, [JWS_ES384] = {"ES384", JWK_P384},
    [JWS_ES512] = {"ES512", JWK_P521}, [JWS_EDDSA] = {"EdDSA", JWK_ED25519},
};

static const struct curve_row {
    const char *name, *group;
    enum jwk_kind kind;
    size_t width;
} curve_rows[] = {
    {"P-256", "P-256", JWK_P256, 32},
    {"P-384", "P-384", JWK_P384, 48},
    {"P-521", "P-521", JWK_P521, 66},
};

bool jws_algorithm_of(struct str name, enum jws_algorithm *out_algorithm)
{
    for (unsigned i = 0; i < JWS_ALGORITHMS; i++) {
        if (str_eq(name, str_from(algorithm_rows[i].name))) {
            *out_algorithm = (enum jws_algorithm)i;
            return true;
        }
    }
    return false;
}

bool jwk_fits(const struct jwk *key, enum jws_algorithm algorithm)
{
    return key->kind == algorithm_rows[algorithm].kind &&
           (key->algorithm == JWS_ALGORITHMS || key->algorithm == algorithm);
}

/* ---- key material ---- */

/* The bytes of a member in base64url; false when it is not there, not that, or too long. */
static bool member_bytes(const json_t *object, const char *name, unsigned char *out, size_t max,
                         size_t *out_len)
{
    const struct str text = json_strict_text(json_object_get(object, name));

    return text.len > 0 && BASE64URL_BYTES(text.len) <= BASE64URL_BYTES((max * 4 + 2) / 3) &&
           base64url_decode(text, out, out_len) && *out_len <= max;
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;

    ensure(params && context);
    if (EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(const json_t *object)
{
    unsigned char modulus[BASE64URL_BYTES(RSA_BYTES_MAX * 2)], exponent[BASE64URL_BYTES(16)];
    size_t n_modulus, n_exponent;

    if (!member_bytes(object, "n", modulus, RSA_BYTES_MAX, &n_modulus) ||
        !member_bytes(object, "e", exponent, EXPONENT_MAX, &n_exponent))
        return NULL;
    BIGNUM *n = BN_bin2bn(modulus, (int)n_modulus, NULL);
    BIGNUM *e = BN_bin2bn(exponent, (int)n_exponent, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;

    ensure(n && e && build);
    if (BN_num_bits(n) >= RSA_BITS_MIN && BN_num_bits(n) <= RSA_BITS_MAX && BN_is_odd(n) &&
        BN_is_odd(e) && !BN_is_one(e) && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
        key = key_from("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    BN_free(e);
    return key;
}

/* OpenSSL takes no point that is not on the curve. */
static EVP_PKEY *ec_key(const json_t *object, const struct curve_row *curve)
{
    unsigned char x[BASE64URL_BYTES(COORDINATE_MAX * 2)], y[sizeof(x)];
    unsigned char point[1 + 2 * COORDINATE_MAX] = {4};
    size_t n_x, n_y;

    if (!member_bytes(object, "x", x, curve->width, &n_x) || n_x != curve->width ||
        !member_bytes(object, "y", y, curve->width, &n_y) || n_y != curve->width)
        return NULL;
    for (size_t i = 0; i < curve->width; i++) {
        point[1 + i] = x[i];
        point[1 + curve->width + i] = y[i];
    }
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;

    ensure(build);
    if (OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0) &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
                                         1 + 2 * curve->width))
        key = key_from("EC", build);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static EVP_PKEY *ed25519_key(const json_t *object)
{
    unsigned char x[BASE64URL_BYTES(ED25519_KEY_SIZE * 2)];
    size_t len;

    if (!member_bytes(object, "x", x, ED25519_KEY_SIZE, &len) || len != ED25519_KEY_SIZE)
        return NULL;
    return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, x, len);
}

static EVP_PKEY *read_material(const json_t *object, enum jwk_kind *out_kind)
{
    const struct str type = json_strict_text(json_object_get(object, "kty"));
    const struct str curve = json_strict_text(json_object_get(object, "crv"));

    if (str_eq(type, STR("RSA"))) {
        *out_kind = JWK_RSA;
        return rsa_key(object);
    }
    if (str_eq(type, STR("OKP")) && str_eq(curve, STR("Ed25519"))) {
        *out_kind = JWK_ED25519;
        return ed25519_key(object);
    }
    for (size_t i = 0; i < ARRAY_LEN(curve_rows) && str_eq(type, STR("EC")); i++) {
        if (str_eq(curve, str_from(curve_rows[i].name))) {
            *out_kind = curve_rows[i].kind;
            return ec_key(object, &curve_rows[i]);
        }
    }
    return NULL;
}

/* ---- one key ---- */

static bool may_verify(const json_t *object)
{
    const json_t *use = json_object_get(object, "use");
    const json_t *operations = json_object_get(object, "key_ops");

    if (use && !str_eq(json_strict_text(use), STR("sig")))
        return false;
    if (!operations)
        return true;
    for (size_t i = 0; i < json_array_size(operations) && i < OPERATIONS_MAX; i++)
        if (str_eq(json_strict_text(json_array_get(operations, i)), STR("verify")))
            return true;
    return false;
}

/* False when it is not one for us. */
static bool read_key(const json_t *object, struct jwk *key)
{
    const json_t *kid = json_object_get(object, "kid");
    const json_t *algorithm = json_object_get(object, "alg");

    *key = (struct jwk){.kid = json_strict_text(kid), .algorithm = JWS_ALGORITHMS};
    if (!may_verify(object) || (kid && (!json_is_string(kid) || key->kid.len > JWK_KID_MAX)) ||
        (algorithm && !jws_algorithm_of(json_strict_text(algorithm), &key->algorithm)))
        return false;
    key->key = read_material(object, &key->kind);
    ERR_clear_error();
    if (!key->key)
        return false;
    if (key->algorithm == JWS_ALGORITHMS || jwk_fits(key, key->algorithm))
        return true;
    EVP_PKEY_free(key->key);
    return false;
}

/* ---- sets ---- */

static int read_keys(struct jwk_set *set, json_t **objects, struct text *why)
{
    const json_t *keys = json_object_get(set->root, "keys");

    if (!json_is_array(keys)) {
        text_add(why, STR("it has no array \"keys\""));
        return -ERR_INVALID;
    }
    for (size_t i = 0; i < json_array_size(keys); i++) {
        json_t *object = json_array_get(keys, i);
        struct jwk key;

        if (!read_key(object, &key))
            continue;
        if (set->n_keys == JWK_SET_KEYS_MAX) {
            EVP_PKEY_free(key.key);
            text_addf(why, "it has more than %d keys", JWK_SET_KEYS_MAX);
            return -ERR_LIMIT;
        }
        objects[set->n_keys] = object;
        set->keys[set->n_keys++] = key;
    }
    if (set->n_keys > 0)
        return 0;
    if (json_array_size(keys) == 0)
        text_add(why, STR("it has no keys"));
    else
        text_addf(why,
                  "none of its %zu keys is one that verifies tokens (RSA of %d to %d bits, EC on "
                  "P-256, P-384 or P-521, Ed25519; with alg, use and key_ops that fit, where it "
                  "has them)",
                  json_array_size(keys), RSA_BITS_MIN, RSA_BITS_MAX);
    return -ERR_INVALID;
}

static int parse(struct str json, struct jwk_set **out_set, json_t **objects, struct text *why)
{
    static const struct json_bounds bounds = {JWK_SET_MAX_BYTES, JWK_SET_DEPTH_MAX};
    json_t *root = json_strict_load(json, bounds, why);

    if (!root)
        return -ERR_INVALID;
    struct jwk_set *set = mem_new(struct jwk_set);

    set->root = root;
    int err = read_keys(set, objects, why);
    if (err < 0)
        jwk_set_free(set);
    else
        *out_set = set;
    return err;
}

int jwk_set_parse(struct str json, struct jwk_set **out_set, struct text *why)
{
    json_t *objects[JWK_SET_KEYS_MAX];

    return parse(json, out_set, objects, why);
}

void jwk_set_free(struct jwk_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->n_keys; i++)
        EVP_PKEY_free(set->keys[i].key);
    json_decref(set->root);
    mem_free(set);
}

const struct jwk *jwk_set_keys(const struct jwk_set *set, size_t *out_n)
{
    *out_n = set->n_keys;
    return set->keys;
}

/* ---- writing ---- */

int jwk_set_normalize(struct str json, struct text *out_json, struct text *why)
{
    static const char *const members[] = {"alg", "crv", "e", "kid", "kty", "n", "x", "y"};
    json_t *objects[JWK_SET_KEYS_MAX] = {0};
    struct jwk_set *set;
    int err = parse(json, &set, objects, why);

    if (err < 0)
        return err;
    text_add(out_json, STR("{\"keys\":["));
    for (size_t i = 0; i < set->n_keys; i++) {
        size_t n = 0;

        text_add(out_json, i > 0 ? STR(",{") : STR("{"));
        for (size_t m = 0; m < ARRAY_LEN(members); m++) {
            const json_t *value = json_object_get(objects[i], members[m]);

            if (!json_is_string(value))
                continue;
            text_addf(out_json, "%s\"%s\":", n++ > 0 ? "," : "", members[m]);
            text_add_json_string(out_json, json_strict_text(value));
        }
        text_addc(out_json, '}');
    }
    text_add(out_json, STR("]}"));
    jwk_set_free(set);
    return 0;
}
