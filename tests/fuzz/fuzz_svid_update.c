/*
 * Any bytes as a message of the SPIFFE Workload or Broker API. What is accepted fits together:
 * every SVID is for a workload, has the key to its certificate and a bundle of its trust domain,
 * and the bundles and lists are such as a trust map takes.
 */
#include <openssl/err.h>

#include "certs/bundle.h"
#include "proxy/base/log.h"
#include "xds/svid_update.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_bundle(const struct svid_update *update, struct str trust_domain)
{
    for (size_t i = 0; i < update->n_bundles; i++)
        if (str_eq(update->bundles[i].trust_domain, trust_domain))
            return true;
    return false;
}

static void check_svids(const struct svid_update *update)
{
    ensure(update->n_svids > 0 && update->n_svids <= SVID_UPDATE_SVIDS_MAX);
    for (size_t i = 0; i < update->n_svids; i++) {
        const struct svid *svid = update->svids[i];

        ensure(svid->id.path.len > 0 && has_bundle(update, svid->id.trust_domain));
        ensure(X509_check_private_key(svid->leaf, svid->key) == 1);
        ensure(svid_update_find(update, svid->id.text));
    }
}

/* As the owner of the trust does: roots, then the lists against them, which may be refused. */
static void use_trust(const struct svid_update *update)
{
    struct trust *trust = trust_new(), *next = NULL;
    struct text why = {0};

    for (size_t i = 0; i < update->n_bundles; i++) {
        const struct svid_update_bundle *bundle = &update->bundles[i];

        ensure(trust_with(trust, bundle->trust_domain, bundle->pem, &next, &why) == 0);
        trust_unref(trust);
        trust = next;
        for (size_t k = 0; k < update->n_crls; k++)
            if (trust_with_crls(trust, bundle->trust_domain, update->crls[k], &next, &why) == 0) {
                trust_unref(trust);
                trust = next;
            }
    }
    trust_unref(trust);
    text_fini(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct svid_update update = {0};
    struct text why = {0};

    log_set_level(LOG_ERROR);
    if (size > SVID_UPDATE_MAX_BYTES)
        return 0;
    if (svid_update_read(str_of(data, size), &update, &why) == 0) {
        check_svids(&update);
        use_trust(&update);
        svid_update_fini(&update);
    } else {
        ensure(why.len > 0 && update.n_svids == 0);
    }
    text_fini(&why);
    ensure(ERR_peek_error() == 0);
    return 0;
}
