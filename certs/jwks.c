/*
 * jwks.c - jansson reads the JSON, strictly; what it has no bound for is measured before.
 *
 * A number that no 64-bit integer holds makes jansson refuse the text, but a refresh hint may be
 * any nonsense and is to be clamped: such a text is read once more with all numbers as reals, in
 * which a sequence is still taken when it is exact (below 2^53).
 */
#include "certs/jwks.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "certs/bundle.h"
#include "certs/cert.h"
#include "certs/json_strict.h"
#include "proxy/base/ascii.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define X5C_MAX_CHARS  ((size_t)64 * 1024)
#define EXACT_REAL_MAX 9007199254740992.0 /* 2^53 */
#define KEY_PART_MAX   1024               /* bytes of a modulus or a coordinate */
#define GROUP_NAME_MAX 64

static int invalid(struct text *why, const char *sentence)
{
    text_addf(why, "%s", sentence);
    return -ERR_INVALID;
}

/* ---- JSON ---- */

static json_t *load(struct str json, size_t max_depth, struct text *why)
{
    json_error_t error;

    if (json.len > JWKS_MAX_BYTES) {
        text_addf(why, "it is longer than %zu bytes", JWKS_MAX_BYTES);
        return NULL;
    }
    if (json_strict_depth(json) > max_depth) {
        text_addf(why, "it is nested deeper than %zu levels", max_depth);
        return NULL;
    }
    const char *bytes = json.ptr ? json.ptr : "";
    json_t *root = json_loadb(bytes, json.len, JSON_REJECT_DUPLICATES, &error);
    if (!root && json_error_code(&error) == json_error_numeric_overflow)
        root =
            json_loadb(bytes, json.len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    if (!root)
        text_addf(why, "line %d, column %d: %s", error.line, error.column, error.text);
    return root;
}

/* ---- reading a bundle ---- */

static bool is_text(const json_t *value, const char *wanted)
{
    return json_is_string(value) && strlen(wanted) == json_string_length(value) &&
           strcmp(json_string_value(value), wanted) == 0;
}

/* RFC 7517 section 5: keys of a kind or a use that is not known are to be ignored, whatever else is
 * wrong with them. */
static bool is_x509_authority(const json_t *key)
{
    const json_t *kind = json_object_get(key, "kty");

    return (is_text(kind, "EC") || is_text(kind, "RSA") || is_text(kind, "OKP")) &&
           is_text(json_object_get(key, "use"), "x509-svid");
}

static bool is_base64(struct str text)
{
    size_t n_pads = 0;

    while (n_pads < 2 && n_pads < text.len && text.ptr[text.len - 1 - n_pads] == '=')
        n_pads++;
    for (size_t i = 0; i < text.len - n_pads; i++) {
        char c = text.ptr[i];

        if (!ascii_is_alnum(c) && c != '+' && c != '/')
            return false;
    }
    return text.len > 0 && text.len % 4 == 0;
}

/* Appends the certificate of one x5c entry as PEM; NULL, or why not. */
static const char *add_certificate(struct str base64, struct text *pem)
{
    if (base64.len > X5C_MAX_CHARS)
        return "is longer than 64 KiB";
    if (!is_base64(base64))
        return "is not base64 (RFC 4648 section 4)";
    unsigned char *der = mem_alloc(base64.len / 4 * 3);
    int len = EVP_DecodeBlock(der, (const unsigned char *)base64.ptr, (int)base64.len);

    len -= base64.ptr[base64.len - 1] == '=';
    len -= base64.ptr[base64.len - 2] == '=';
    X509 *cert = len > 0 ? cert_from_der(der, len) : NULL;

    mem_free(der);
    ERR_clear_error();
    if (!cert)
        return "is not a certificate in DER";
    cert_add_pem(cert, pem);
    X509_free(cert);
    return NULL;
}

static int add_key(const json_t *key, size_t idx, struct jwks *jwks, struct text *why)
{
    const json_t *first = json_array_get(json_object_get(key, "x5c"), 0);

    if (!json_is_object(key)) {
        text_addf(why, "keys[%zu] is not an object", idx);
        return -ERR_INVALID;
    }
    if (!is_x509_authority(key) || !first)
        return 0;
    if (!json_is_string(first)) {
        text_addf(why, "keys[%zu].x5c[0] is not a string", idx);
        return -ERR_INVALID;
    }
    const char *fault =
        add_certificate(str_of(json_string_value(first), json_string_length(first)), &jwks->pem);

    if (fault) {
        text_addf(why, "keys[%zu].x5c[0] %s", idx, fault);
        return -ERR_INVALID;
    }
    if (++jwks->n_roots > BUNDLE_ROOTS_MAX) {
        text_addf(why, "it has more than %d X.509 authorities", BUNDLE_ROOTS_MAX);
        return -ERR_LIMIT;
    }
    return 0;
}

static int read_keys(const json_t *root, struct jwks *jwks, struct text *why)
{
    const json_t *keys = json_object_get(root, "keys");

    if (!keys)
        return invalid(why, "it has no \"keys\"");
    if (!json_is_array(keys))
        return invalid(why, "\"keys\" is not an array");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        int err = add_key(json_array_get(keys, i), i, jwks, why);

        if (err < 0)
            return err;
    }
    return jwks->n_roots > 0 ? bundle_check(text_str(&jwks->pem), why) : 0;
}

static int read_sequence(const json_t *root, struct jwks *jwks, struct text *why)
{
    const json_t *value = json_object_get(root, "spiffe_sequence");
    double real = json_is_real(value) ? json_real_value(value) : -1;

    if (!value)
        return 0;
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        jwks->sequence = (uint64_t)json_integer_value(value);
    else if (real >= 0 && real < EXACT_REAL_MAX && (double)(uint64_t)real >= real)
        jwks->sequence = (uint64_t)real;
    else
        return invalid(why, "\"spiffe_sequence\" is not an integer from 0 to 2^63-1");
    jwks->has_sequence = true;
    return 0;
}

static int read_hint(const json_t *root, struct jwks *jwks, struct text *why)
{
    const json_t *value = json_object_get(root, "spiffe_refresh_hint");
    double seconds = json_number_value(value);

    jwks->hint_s = JWKS_HINT_DEFAULT_S;
    if (!value)
        return 0;
    if (!json_is_number(value))
        return invalid(why, "\"spiffe_refresh_hint\" is not a number");
    if (seconds < JWKS_HINT_MIN_S)
        jwks->hint_s = JWKS_HINT_MIN_S;
    else if (seconds > JWKS_HINT_MAX_S)
        jwks->hint_s = JWKS_HINT_MAX_S;
    else
        jwks->hint_s = (unsigned)seconds;
    return 0;
}

static int read_bundle(const json_t *root, struct jwks *out_jwks, struct text *why)
{
    struct jwks jwks = {0};

    if (!json_is_object(root))
        return invalid(why, "it is not a JSON object");
    int err = read_sequence(root, &jwks, why);
    if (err == 0)
        err = read_hint(root, &jwks, why);
    if (err == 0)
        err = read_keys(root, &jwks, why);
    if (err < 0)
        jwks_fini(&jwks);
    else
        *out_jwks = jwks;
    return err;
}

int jwks_parse(struct str json, struct jwks *out_jwks, struct text *why)
{
    json_t *root = load(json, JWKS_DEPTH_MAX, why);

    if (!root)
        return -ERR_INVALID;
    int err = read_bundle(root, out_jwks, why);
    json_decref(root);
    return err;
}

void jwks_fini(struct jwks *jwks)
{
    text_fini(&jwks->pem);
    *jwks = (struct jwks){0};
}

bool jwks_is_older(const struct jwks *next, const struct jwks *held)
{
    return next->has_sequence && held->has_sequence && next->sequence < held->sequence;
}

/* ---- bundle maps ---- */

struct domain {
    struct str name;
    struct jwks jwks;
};

static int read_domain(const char *name, const json_t *bundle, struct domain *domain,
                       struct text *why)
{
    struct text reason = {0};

    domain->name = str_from(name);
    int err = spiffe_check_trust_domain(domain->name);
    if (err < 0)
        text_add(&reason, STR("the name of the trust domain is malformed"));
    else
        err = read_bundle(bundle, &domain->jwks, &reason);
    if (err < 0) {
        text_add(why, STR("trust_domains["));
        text_add_json_string(why, domain->name);
        text_addf(why, "]: %s", reason.ptr);
    }
    text_fini(&reason);
    return err;
}

static int read_map(json_t *map, struct domain *domains, size_t *n_domains, struct text *why)
{
    const char *name;
    json_t *bundle;

    json_object_foreach(map, name, bundle)
    {
        int err = read_domain(name, bundle, &domains[*n_domains], why);

        if (err < 0)
            return err;
        (*n_domains)++;
    }
    return 0;
}

static int check_map(const json_t *root, struct text *why)
{
    const json_t *map = json_object_get(root, "trust_domains");

    if (!json_is_object(map))
        return invalid(why, "it has no object \"trust_domains\"");
    if (json_object_size(map) <= JWKS_TRUST_DOMAINS_MAX)
        return 0;
    text_addf(why, "it has more than %d trust domains", JWKS_TRUST_DOMAINS_MAX);
    return -ERR_LIMIT;
}

int jwks_map_parse(struct str json,
                   void (*each)(void *owner, struct str trust_domain, const struct jwks *jwks),
                   void *owner, struct text *why)
{
    json_t *root = load(json, JWKS_DEPTH_MAX, why);
    int err = root ? check_map(root, why) : -ERR_INVALID;
    size_t n_domains = 0;

    if (err < 0) {
        json_decref(root);
        return err;
    }
    json_t *map = json_object_get(root, "trust_domains");
    struct domain *domains = mem_new_array(struct domain, json_object_size(map) + 1);

    err = read_map(map, domains, &n_domains, why);
    for (size_t i = 0; i < n_domains; i++) {
        if (err == 0)
            each(owner, domains[i].name, &domains[i].jwks);
        jwks_fini(&domains[i].jwks);
    }
    mem_free(domains);
    json_decref(root);
    return err;
}

/* ---- writing ---- */

static void add_base64(const unsigned char *bytes, size_t len, bool is_for_urls, struct text *out)
{
    size_t cap = len / 3 * 4 + 5;
    char *chars = mem_alloc(cap);
    size_t n = (size_t)EVP_EncodeBlock((unsigned char *)chars, bytes, (int)len);

    while (is_for_urls && n > 0 && chars[n - 1] == '=')
        n--;
    for (size_t i = 0; is_for_urls && i < n; i++)
        chars[i] = chars[i] == '+' ? '-' : chars[i] == '/' ? '_' : chars[i];
    text_add(out, str_of(chars, n));
    mem_free(chars);
}

/* One number of a public key as a member: "x": "...". */
static bool add_number(const EVP_PKEY *key, const char *param, const char *member, int width,
                       struct text *out)
{
    unsigned char bytes[KEY_PART_MAX];
    BIGNUM *number = NULL;
    int len = -1;

    if (EVP_PKEY_get_bn_param(key, param, &number) == 1)
        len = BN_bn2binpad(number, bytes, width > 0 ? width : BN_num_bytes(number));
    BN_free(number);
    if (len <= 0)
        return false;
    text_addf(out, ",\"%s\":\"", member);
    add_base64(bytes, (size_t)len, true, out);
    text_addc(out, '"');
    return true;
}

static bool add_ec_key(const EVP_PKEY *key, struct text *out)
{
    static const struct {
        const char *group, *curve;
        int width;
    } curves[] = {
        {"prime256v1", "P-256", 32}, {"secp384r1", "P-384", 48}, {"secp521r1", "P-521", 66}};

    char group[GROUP_NAME_MAX] = "";

    if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
        if (strcmp(group, curves[i].group) != 0)
            continue;
        text_addf(out, "\"kty\":\"EC\",\"crv\":\"%s\"", curves[i].curve);
        return add_number(key, OSSL_PKEY_PARAM_EC_PUB_X, "x", curves[i].width, out) &&
               add_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, "y", curves[i].width, out);
    }
    return false;
}

static bool add_ed25519_key(const EVP_PKEY *key, struct text *out)
{
    unsigned char bytes[64];
    size_t len = sizeof(bytes);

    if (EVP_PKEY_get_raw_public_key(key, bytes, &len) != 1)
        return false;
    text_add(out, STR("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\""));
    add_base64(bytes, len, true, out);
    text_addc(out, '"');
    return true;
}

static bool add_public_key(X509 *root, struct text *out)
{
    const EVP_PKEY *key = X509_get0_pubkey(root);

    if (!key || EVP_PKEY_get_bits(key) > KEY_PART_MAX * 8)
        return false;
    if (EVP_PKEY_is_a(key, "EC"))
        return add_ec_key(key, out);
    if (EVP_PKEY_is_a(key, "ED25519"))
        return add_ed25519_key(key, out);
    if (!EVP_PKEY_is_a(key, "RSA"))
        return false;
    text_add(out, STR("\"kty\":\"RSA\""));
    return add_number(key, OSSL_PKEY_PARAM_RSA_N, "n", 0, out) &&
           add_number(key, OSSL_PKEY_PARAM_RSA_E, "e", 0, out);
}

static bool add_root(X509 *root, struct text *out)
{
    unsigned char *der = NULL;

    text_addc(out, '{');
    if (!add_public_key(root, out))
        return false;
    int len = i2d_X509(root, &der);
    ensure(len > 0);
    text_add(out, STR(",\"use\":\"x509-svid\",\"x5c\":[\""));
    add_base64(der, (size_t)len, false, out);
    text_add(out, STR("\"]}"));
    OPENSSL_free(der);
    return true;
}

static int add_roots(struct str pem, struct text *out, struct text *why)
{
    STACK_OF(X509) *roots = NULL;
    const char *fault = NULL;
    int err = 0;

    if (str_is_empty(pem))
        return 0;
    if (cert_list_from_pem(pem, BUNDLE_ROOTS_MAX, &roots, &fault) < 0)
        return invalid(why, fault);
    for (int i = 0; i < sk_X509_num(roots) && err == 0; i++) {
        if (i > 0)
            text_addc(out, ',');
        if (!add_root(sk_X509_value(roots, i), out)) {
            text_addf(why, "certificate %d: its key is neither EC nor RSA nor Ed25519", i + 1);
            err = -ERR_INVALID;
        }
    }
    cert_list_free(roots);
    ERR_clear_error();
    return err;
}

int jwks_write(struct str pem, uint64_t sequence, unsigned hint_s, struct text *out_json,
               struct text *why)
{
    struct text keys = {0};
    int err = add_roots(pem, &keys, why);

    if (err == 0)
        text_addf(out_json, "{\"keys\":[%.*s],\"spiffe_sequence\":%llu,\"spiffe_refresh_hint\":%u}",
                  STR_ARG(text_str(&keys)), (unsigned long long)sequence, hint_s);
    text_fini(&keys);
    return err;
}
