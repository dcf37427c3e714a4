/*
 * crl.c - OpenSSL parses the lists and looks numbers up in them; which list counts for whom is
 * decided here.
 *
 * The signature of a list is checked only when it names the certificate: a list that does not name
 * it changes nothing, signed or not. So a handshake that succeeds pays for a search in a sorted
 * array a list of its issuer, and only one that is to be refused pays for a signature.
 */
#include "certs/crl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "certs/cert.h"
#include "proxy/base/err.h"

static int fail(struct text *why, int err, const char *sentence)
{
    ERR_clear_error();
    text_addf(why, "%s", sentence);
    return err;
}

/* ---- reading ---- */

static const char *distribution_fault(const X509_CRL *crl)
{
    int critical = -1;
    ISSUING_DIST_POINT *point =
        X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &critical, NULL);
    const char *why = NULL;

    if (!point)
        return critical == -1 ? NULL : "a list's issuing distribution point is malformed";
    if (point->indirectCRL > 0)
        why = "a list is indirect: it speaks for other issuers than its own";
    else if (point->onlyattr > 0)
        why = "a list is of attribute certificates";
    ISSUING_DIST_POINT_free(point);
    return why;
}

/* RFC 5280 section 5.2: a list with a critical extension that is not understood must not be used.
 */
static const char *extensions_fault(const X509_CRL *crl)
{
    for (int i = 0; i < X509_CRL_get_ext_count(crl); i++) {
        X509_EXTENSION *extension = X509_CRL_get_ext(crl, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));

        if (nid == NID_delta_crl)
            return "a list is a delta: only whole lists are read";
        if (X509_EXTENSION_get_critical(extension) == 1 && nid != NID_issuing_distribution_point &&
            nid != NID_crl_number && nid != NID_authority_key_identifier)
            return "a list has an unknown critical extension";
    }
    return distribution_fault(crl);
}

/* Section 5.3: the same for an entry; certificateIssuer, the critical one, is of indirect lists. */
static const char *entries_fault(X509_CRL *crl)
{
    const STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl);

    for (int i = 0; i < sk_X509_REVOKED_num(entries); i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(entries, i);

        for (int k = 0; k < X509_REVOKED_get_ext_count(entry); k++)
            if (X509_EXTENSION_get_critical(X509_REVOKED_get_ext(entry, k)) == 1)
                return "an entry of a list has a critical extension";
    }
    return NULL;
}

/* OpenSSL sorts a list at the first search; that is done here, while one thread has it. */
static void sort(X509_CRL *crl)
{
    X509_REVOKED *entry = NULL;
    ASN1_INTEGER *number = ASN1_INTEGER_new();

    ensure(number && ASN1_INTEGER_set(number, 1) == 1);
    (void)X509_CRL_get0_by_serial(crl, &entry, number);
    ASN1_INTEGER_free(number);
}

/* Takes one list, or says what is wrong with it. */
static const char *take(STACK_OF(X509_CRL) * crls, X509_CRL *crl)
{
    const char *why = extensions_fault(crl);

    if (!why)
        why = entries_fault(crl);
    if (!why && sk_X509_CRL_num(crls) >= CRLS_MAX)
        why = "there are too many lists";
    if (why) {
        X509_CRL_free(crl);
        return why;
    }
    sort(crl);
    ensure(sk_X509_CRL_push(crls, crl) > 0);
    return NULL;
}

static const char *take_der(STACK_OF(X509_CRL) * crls, const unsigned char **at, long len)
{
    X509_CRL *crl = d2i_X509_CRL(NULL, at, len);

    return crl ? take(crls, crl) : "a list is malformed";
}

static const char *take_block(void *owner, const unsigned char *der, long len)
{
    const unsigned char *at = der;
    const char *why = take_der(owner, &at, len);

    return !why && at != der + len ? "a list has bytes behind it" : why;
}

static const char *read_lists(struct str bytes, STACK_OF(X509_CRL) * crls)
{
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    const unsigned char *end = at + bytes.len;
    const char *why = NULL;

    if (*at != (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED)) {
        if (cert_each_block(bytes, PEM_STRING_X509_CRL, take_block, crls, &why) < 0)
            return why;
        return sk_X509_CRL_num(crls) > 0 ? NULL : "there is no revocation list";
    }
    while (!why && at < end)
        why = take_der(crls, &at, end - at);
    return why;
}

int crl_read(struct str bytes, STACK_OF(X509_CRL) * *out_crls, struct text *why)
{
    if (str_is_empty(bytes))
        return fail(why, -ERR_INVALID, "there is no revocation list");
    if (bytes.len > CRL_MAX_BYTES * 3 / 2) /* PEM takes more room than DER */
        return fail(why, -ERR_LIMIT, "the revocation lists are too long");
    STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();

    ensure(crls);
    const char *fault = read_lists(bytes, crls);
    if (fault) {
        crl_list_free(crls);
        return fail(why, -ERR_INVALID, fault);
    }
    ERR_clear_error();
    *out_crls = crls;
    return 0;
}

STACK_OF(X509_CRL) * crl_list_ref(const STACK_OF(X509_CRL) * crls)
{
    STACK_OF(X509_CRL) *copy = sk_X509_CRL_dup(crls);

    ensure(copy);
    for (int i = 0; i < sk_X509_CRL_num(copy); i++)
        ensure(X509_CRL_up_ref(sk_X509_CRL_value(copy, i)) == 1);
    return copy;
}

void crl_list_free(STACK_OF(X509_CRL) * crls)
{
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
}

int crl_to_der(struct str bytes, struct text *out_der, struct text *why)
{
    STACK_OF(X509_CRL) *crls = NULL;
    struct text all = {.limit = CRL_MAX_BYTES};
    int err = crl_read(bytes, &crls, why);

    if (err < 0)
        return err;
    for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
        unsigned char *der = NULL;
        int len = i2d_X509_CRL(sk_X509_CRL_value(crls, i), &der);

        ensure(len > 0);
        text_add(&all, str_of(der, (size_t)len));
        OPENSSL_free(der);
    }
    crl_list_free(crls);
    if (all.truncated)
        err = fail(why, -ERR_LIMIT, "the revocation lists are too long");
    else
        text_add(out_der, text_str(&all));
    text_fini(&all);
    return err;
}

/* ---- what they say ---- */

static bool is_by(const X509_CRL *crl, const X509 *issuer)
{
    return X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(issuer)) == 0;
}

static bool is_signed_by(X509_CRL *crl, X509 *issuer)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    bool ok = key && X509_CRL_verify(crl, key) == 1;

    ERR_clear_error();
    return ok;
}

/* By key identifiers, which both may lack: then it cannot be told. */
static bool is_of_another_key(const X509_CRL *crl, const ASN1_OCTET_STRING *key_id)
{
    AUTHORITY_KEYID *authority =
        X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
    const bool is = authority && authority->keyid && key_id &&
                    ASN1_OCTET_STRING_cmp(authority->keyid, key_id) != 0;

    AUTHORITY_KEYID_free(authority);
    ERR_clear_error();
    return is;
}

/* Authorities of several trust domains may have one name, and their lists come together: who the
 * list says has signed it may be another one of that name. */
static bool passes_roots(X509_CRL *crl, const STACK_OF(X509) * roots)
{
    bool is_claimed = false;

    for (int i = 0; i < sk_X509_num(roots); i++) {
        X509 *root = sk_X509_value(roots, i);

        if (!is_by(crl, root))
            continue;
        if (is_signed_by(crl, root))
            return true;
        is_claimed = is_claimed || !is_of_another_key(crl, X509_get0_subject_key_id(root));
    }
    return !is_claimed;
}

int crl_check_roots(const STACK_OF(X509_CRL) * crls, const STACK_OF(X509) * roots, struct text *why)
{
    for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
        if (passes_roots(sk_X509_CRL_value(crls, i), roots))
            continue;
        text_addf(why, "list %d: ", i + 1);
        return fail(why, -ERR_INVALID, "it names a root of the bundle that did not sign it");
    }
    return 0;
}

static bool is_revoked(const STACK_OF(X509_CRL) * crls, X509 *cert, X509 *issuer)
{
    for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
        X509_CRL *crl = sk_X509_CRL_value(crls, i);
        X509_REVOKED *entry = NULL;

        if (is_by(crl, issuer) &&
            X509_CRL_get0_by_serial(crl, &entry, X509_get0_serialNumber(cert)) == 1 &&
            is_signed_by(crl, issuer))
            return true;
    }
    return false;
}

X509 *crl_find_revoked(const STACK_OF(X509_CRL) * crls, const STACK_OF(X509) * path)
{
    for (int i = 0; crls && i + 1 < sk_X509_num(path); i++)
        if (is_revoked(crls, sk_X509_value(path, i), sk_X509_value(path, i + 1)))
            return sk_X509_value(path, i);
    return NULL;
}

size_t crl_count(const STACK_OF(X509_CRL) * crls)
{
    return (size_t)sk_X509_CRL_num(crls);
}

static int64_t due_ns(const X509_CRL *crl)
{
    const ASN1_TIME *due = X509_CRL_get0_nextUpdate(crl);

    return due ? cert_time_ns(due) : INT64_MAX;
}

static bool have_one_issuer(const X509_CRL *a, const X509_CRL *b)
{
    if (X509_NAME_cmp(X509_CRL_get_issuer(a), X509_CRL_get_issuer(b)) != 0)
        return false;
    AUTHORITY_KEYID *authority = X509_CRL_get_ext_d2i(b, NID_authority_key_identifier, NULL, NULL);
    const bool is = !is_of_another_key(a, authority ? authority->keyid : NULL);

    AUTHORITY_KEYID_free(authority);
    ERR_clear_error();
    return is;
}

int64_t crl_next_update_ns(const STACK_OF(X509_CRL) * crls)
{
    int64_t first_ns = INT64_MAX;

    for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
        const X509_CRL *crl = sk_X509_CRL_value(crls, i);
        int64_t newest_ns = due_ns(crl);

        for (int k = 0; k < sk_X509_CRL_num(crls); k++) {
            const X509_CRL *other = sk_X509_CRL_value(crls, k);

            if (due_ns(other) > newest_ns && have_one_issuer(crl, other))
                newest_ns = due_ns(other);
        }
        first_ns = newest_ns < first_ns ? newest_ns : first_ns;
    }
    return first_ns;
}
