/*
 * Any bytes as revocation lists: what is accepted reads back from its DER as the same, and takes
 * back nothing of a root that did not sign it.
 */
#include <openssl/err.h>

#include "certs/crl.h"
#include "tests/kit/test_ca.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static STACK_OF(X509) * path_of_a_stranger(void)
{
    static STACK_OF(X509) * path;
    static struct test_ca *ca; /* kept, as the path is, for the life of the process */

    if (!path) {
        ca = test_ca_new("west.example");
        struct test_cert spec = {.uris = {STR("spiffe://west.example/x")}};

        path = sk_X509_new_null();
        ensure(path && sk_X509_push(path, test_ca_mint(ca, &spec, NULL)) > 0);
        ensure(sk_X509_push(path, ca->cert) > 0);
        EVP_PKEY_free(ca->key);
    }
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text once = {0}, twice = {0}, why = {0};
    STACK_OF(X509_CRL) *crls = NULL;

    if (size > CRL_MAX_BYTES)
        return 0;
    if (crl_read(str_of(data, size), &crls, &why) == 0) {
        ensure(sk_X509_CRL_num(crls) > 0 && sk_X509_CRL_num(crls) <= CRLS_MAX);
        ensure(!crl_find_revoked(crls, path_of_a_stranger()));
        (void)crl_next_update_ns(crls);
        (void)!crl_check_roots(crls, path_of_a_stranger(), &why);
        crl_list_free(crls);
        ensure(crl_to_der(str_of(data, size), &once, &why) == 0);
        ensure(crl_to_der(text_str(&once), &twice, &why) == 0);
        ensure(str_eq(text_str(&once), text_str(&twice)));
    } else {
        ensure(why.len > 0);
    }
    text_fini(&once);
    text_fini(&twice);
    text_fini(&why);
    ensure(ERR_peek_error() == 0);
    return 0;
}
