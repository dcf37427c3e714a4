/*
 * cert.c - OpenSSL's parsers behind bounds and whole-input checks: they skip what they do not know
 * and stop at the end of the first value, and a reader of certificates from strangers may do
 * neither.
 */
#include "certs/cert.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "certs/spiffe.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

static int invalid(const char *why, const char **out_why)
{
    ERR_clear_error();
    *out_why = why;
    return -ERR_INVALID;
}

/* OpenSSL skips a malformed BEGIN line as if it were a comment, so the blocks are counted by us as
 * well. */
static int count_blocks(struct str pem)
{
    static const struct str begin = {"-----BEGIN", 10};
    int count = 0;
    const char *at = pem.ptr;
    const char *end = pem.ptr + pem.len;

    while ((at = memmem(at, (size_t)(end - at), begin.ptr, begin.len))) {
        count++;
        at += begin.len;
    }
    return count;
}

static BIO *open_pem(struct str pem, const char **out_why)
{
    if (str_is_empty(pem)) {
        *out_why = "the PEM text is empty";
        return NULL;
    }
    if (pem.len > INT_MAX) {
        *out_why = "the PEM text is too long";
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    ensure(bio);
    return bio;
}

/* The next block's DER if it has the name, no headers and is whole; NULL with *out_why, which is
 * NULL at the end. */
static unsigned char *next_block(BIO *bio, const char *wanted, long *out_len, const char **out_why)
{
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;

    *out_why = NULL;
    if (PEM_read_bio(bio, &name, &header, &der, &len) != 1) {
        if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
            *out_why = "the PEM text is malformed";
        ERR_clear_error();
        return NULL;
    }
    if (strcmp(name, wanted) != 0)
        *out_why = "the PEM text holds a block of another kind";
    else if (header[0] != '\0')
        *out_why = "the PEM text is encrypted or has headers";
    OPENSSL_free(name);
    OPENSSL_free(header);
    if (!*out_why) {
        *out_len = len;
        return der;
    }
    OPENSSL_clear_free(der, (size_t)len);
    return NULL;
}

X509 *cert_from_der(const unsigned char *der, long len)
{
    const unsigned char *at = der;
    X509 *cert = d2i_X509(NULL, &at, len);

    if (cert && at != der + len) {
        X509_free(cert);
        cert = NULL;
    }
    ERR_clear_error();
    return cert;
}

int cert_each_block(struct str pem, const char *name, cert_take_block *take, void *owner,
                    const char **out_why)
{
    const char *why = NULL;
    unsigned char *der;
    long len = 0;
    int n_blocks = 0;
    BIO *bio = open_pem(pem, &why);

    if (!bio)
        return invalid(why, out_why);
    while ((der = next_block(bio, name, &len, &why))) {
        n_blocks++;
        why = take(owner, der, len);
        OPENSSL_clear_free(der, (size_t)len);
        if (why)
            break;
    }
    BIO_free(bio);
    if (!why && n_blocks != count_blocks(pem))
        why = "the PEM text has a block that cannot be read";
    return why ? invalid(why, out_why) : 0;
}

struct cert_list {
    STACK_OF(X509) * certs;
    int max;
};

static const char *take_cert(void *owner, const unsigned char *der, long len)
{
    struct cert_list *list = owner;
    X509 *cert = cert_from_der(der, len);

    if (!cert)
        return "a certificate is malformed";
    ensure(sk_X509_push(list->certs, cert) > 0);
    return sk_X509_num(list->certs) > list->max ? "there are too many certificates" : NULL;
}

int cert_list_from_pem(struct str pem, int max, STACK_OF(X509) * *out_certs, const char **out_why)
{
    const char *why = NULL;
    struct cert_list list = {sk_X509_new_null(), max};

    ensure(list.certs);
    if (pem.len > CERT_PEM_MAX_BYTES)
        why = "the PEM text is longer than 1 MiB";
    else if (cert_each_block(pem, PEM_STRING_X509, take_cert, &list, &why) == 0 &&
             sk_X509_num(list.certs) == 0)
        why = "there is no certificate";
    if (why) {
        cert_list_free(list.certs);
        return invalid(why, out_why);
    }
    *out_certs = list.certs;
    return 0;
}

int cert_list_from_der(struct str der, int max, STACK_OF(X509) * *out_certs, const char **out_why)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    const unsigned char *at = (const unsigned char *)der.ptr;
    const unsigned char *end = der.len ? at + der.len : at;
    const char *why = der.len > CERT_DER_MAX_BYTES ? "the certificates are longer than 1 MiB"
                      : der.len == 0               ? "there is no certificate"
                                                   : NULL;

    ensure(certs);
    while (!why && at < end) {
        X509 *cert = d2i_X509(NULL, &at, (long)(end - at));

        if (cert)
            ensure(sk_X509_push(certs, cert) > 0);
        if (!cert)
            why = "a certificate is malformed";
        else if (sk_X509_num(certs) > max)
            why = "there are too many certificates";
    }
    if (why) {
        cert_list_free(certs);
        return invalid(why, out_why);
    }
    *out_certs = certs;
    return 0;
}

void cert_list_free(STACK_OF(X509) * certs)
{
    sk_X509_pop_free(certs, X509_free);
}

int cert_block_from_pem(struct str pem, const char *name, unsigned char **out_der, long *out_len,
                        const char **out_why)
{
    const char *why = NULL;
    long len = 0;

    if (pem.len > CERT_PEM_MAX_BYTES)
        return invalid("the PEM text is longer than 1 MiB", out_why);
    BIO *bio = open_pem(pem, &why);
    if (!bio)
        return invalid(why, out_why);
    unsigned char *der = next_block(bio, name, &len, &why);
    BIO_free(bio);
    if (!der)
        return invalid(why ? why : "the PEM text has no block", out_why);
    if (count_blocks(pem) != 1) {
        OPENSSL_clear_free(der, (size_t)len);
        return invalid("the PEM text has more than one block", out_why);
    }
    *out_der = der;
    *out_len = len;
    return 0;
}

void cert_take_bio(BIO *bio, struct text *out)
{
    char *ptr = NULL;
    long len = BIO_get_mem_data(bio, &ptr);

    text_add(out, str_of(ptr, (size_t)len));
    BIO_free(bio); /* the memory behind it is cleared by OpenSSL */
}

void cert_add_pem(X509 *cert, struct text *out)
{
    BIO *bio = BIO_new(BIO_s_mem());

    ensure(bio && PEM_write_bio_X509(bio, cert) == 1);
    cert_take_bio(bio, out);
}

int64_t cert_time_ns(const ASN1_TIME *time)
{
    struct tm tm = {0};

    if (ASN1_TIME_to_tm(time, &tm) != 1) {
        ERR_clear_error();
        return 0;
    }
    int64_t seconds = timegm(&tm);
    int64_t ns;

    if (__builtin_mul_overflow(seconds, (int64_t)NS_PER_SEC, &ns))
        return seconds < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

void cert_serial_hex(const X509 *cert, char *out_hex, size_t cap)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *hex = number ? BN_bn2hex(number) : NULL;

    (void)snprintf(out_hex, cap, "%s", hex ? hex : "");
    OPENSSL_free(hex);
    BN_free(number);
    ERR_clear_error();
}

static X509_EXTENSION *only_extension(const STACK_OF(X509_EXTENSION) * extensions, int nid,
                                      const char **out_why)
{
    int idx = X509v3_get_ext_by_NID(extensions, nid, -1);

    *out_why = NULL;
    if (idx < 0)
        return NULL;
    if (X509v3_get_ext_by_NID(extensions, nid, idx) >= 0) {
        *out_why = "it has the subject alternative name twice";
        return NULL;
    }
    return X509v3_get_ext(extensions, idx);
}

static GENERAL_NAMES *names_of(X509_EXTENSION *extension)
{
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);
    const unsigned char *start = ASN1_STRING_get0_data(value);
    const unsigned char *at = start;
    int len = ASN1_STRING_length(value);
    GENERAL_NAMES *names = d2i_GENERAL_NAMES(NULL, &at, len);

    if (names && at != start + len) {
        GENERAL_NAMES_free(names);
        names = NULL;
    }
    return names;
}

int cert_san_read(const STACK_OF(X509_EXTENSION) * extensions, struct cert_san *out_san,
                  const char **out_why)
{
    const char *why = NULL;
    struct cert_san san = {0};
    X509_EXTENSION *extension = only_extension(extensions, NID_subject_alt_name, &why);

    if (why)
        return invalid(why, out_why);
    if (extension) {
        san.names = names_of(extension);
        san.is_critical = X509_EXTENSION_get_critical(extension) == 1;
        if (!san.names)
            return invalid("its subject alternative name is malformed", out_why);
    }
    int idx = 0;
    struct str uri;

    while (cert_san_next_uri(&san, &idx, &uri))
        san.n_uris++;
    *out_san = san;
    return 0;
}

bool cert_san_next_uri(const struct cert_san *san, int *idx, struct str *out_uri)
{
    while (san->names && *idx < sk_GENERAL_NAME_num(san->names)) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(san->names, (*idx)++);

        if (name->type != GEN_URI)
            continue;
        const ASN1_STRING *uri = name->d.uniformResourceIdentifier;
        *out_uri = str_of(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri));
        return true;
    }
    return false;
}

void cert_san_fini(struct cert_san *san)
{
    GENERAL_NAMES_free(san->names);
    *san = (struct cert_san){0};
}

X509_EXTENSION *cert_san_make(struct str uri)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();

    ensure(names && name && value && uri.len <= SPIFFE_ID_MAX);
    /* By bytes and not through the text form of OpenSSL's configuration, in which a comma starts
     * another name. */
    ensure(ASN1_STRING_set(value, uri.ptr, (int)uri.len) == 1);
    GENERAL_NAME_set0_value(name, GEN_URI, value);
    ensure(sk_GENERAL_NAME_push(names, name) > 0);
    X509_EXTENSION *extension = X509V3_EXT_i2d(NID_subject_alt_name, 1, names);
    GENERAL_NAMES_free(names);
    return extension;
}

/* A CA may have other URIs (it need not be an SVID at all), but what looks like a SPIFFE ID must be
 * a right one. */
static const char *signer_id_fault(const struct cert_san *san)
{
    int idx = 0;
    bool has_id = false;
    struct str uri;

    while (cert_san_next_uri(san, &idx, &uri)) {
        struct spiffe_id id;
        const char *why = NULL;

        if (!str_eq_ci(str_sub(uri, 0, 7), STR("spiffe:")))
            continue;
        if (spiffe_parse(uri, &id, &why) < 0)
            return why;
        if (id.path.len > 0)
            return "a signing certificate has a path in its SPIFFE ID";
        if (has_id)
            return "a signing certificate has two SPIFFE IDs";
        has_id = true;
    }
    return NULL;
}

int cert_check_signer(X509 *cert, const char **out_why)
{
    uint32_t flags = X509_get_extension_flags(cert);
    struct cert_san san;

    if (flags & EXFLAG_INVALID)
        return invalid("a signing certificate has a malformed extension", out_why);
    if (!(flags & EXFLAG_CA))
        return invalid("a signing certificate is not a CA", out_why);
    if (!(flags & EXFLAG_KUSAGE) || !(X509_get_key_usage(cert) & KU_KEY_CERT_SIGN))
        return invalid("a signing certificate lacks the key usage keyCertSign", out_why);
    if (cert_san_read(X509_get0_extensions(cert), &san, out_why) < 0)
        return -ERR_INVALID;
    const char *fault = signer_id_fault(&san);
    cert_san_fini(&san);
    return fault ? invalid(fault, out_why) : 0;
}
