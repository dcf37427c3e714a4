/* Unpacked with protobuf-c, checked field by field, and turned into objects of certs/. */
#include "xds/svid_update.h"

#include <spiffe_workload.pb-c.h>
#include <string.h>

#include "certs/bundle.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/wire.h"

static bool is_absent(const ProtobufCBinaryData *data)
{
    return data->len == 0;
}

static const char *absent_field(const X509SVID *from)
{
    if (!from->spiffe_id || from->spiffe_id[0] == '\0')
        return "spiffe_id";
    if (is_absent(&from->x509_svid))
        return "x509_svid";
    if (is_absent(&from->x509_svid_key))
        return "x509_svid_key";
    return is_absent(&from->bundle) ? "bundle" : NULL;
}

static int refuse(struct text *why, size_t idx, const char *id, const char *reason)
{
    struct text detail = {0};

    text_add(&detail, text_str(why));
    text_clear(why);
    text_addf(why, "svids[%zu] (%s): %s%.*s", idx, id ? id : "", reason,
              STR_ARG(text_str(&detail)));
    text_fini(&detail);
    return -ERR_INVALID;
}

static bool has_bundle(const struct svid_update *update, struct str trust_domain)
{
    for (size_t i = 0; i < update->n_bundles; i++)
        if (str_eq(update->bundles[i].trust_domain, trust_domain))
            return true;
    return false;
}

/* 0 also when the domain has its bundle already. */
static int add_bundle(struct svid_update *update, struct str trust_domain,
                      const ProtobufCBinaryData *der, struct text *why)
{
    struct text pem = {0};

    if (has_bundle(update, trust_domain))
        return 0;
    int err = bundle_pem_from_der(wire_bytes(der), &pem, why);

    if (err == 0)
        update->bundles[update->n_bundles++] = (struct svid_update_bundle){
            arena_str(&update->arena, trust_domain), arena_str(&update->arena, text_str(&pem))};
    text_fini(&pem);
    return err;
}

/* Of several with one hint the first counts (Workload API section 5.2.1). */
static bool is_hint_taken(const X509SVIDResponse *response, size_t idx)
{
    const char *hint = response->svids[idx]->hint;

    for (size_t i = 0; hint && hint[0] != '\0' && i < idx; i++)
        if (response->svids[i]->hint && strcmp(response->svids[i]->hint, hint) == 0)
            return true;
    return false;
}

static int add_svid(struct svid_update *update, const X509SVID *from, size_t idx, struct text *why)
{
    const char *absent = absent_field(from);
    struct svid *svid = NULL;

    if (absent) {
        text_addf(why, "%s", absent);
        return refuse(why, idx, from->spiffe_id, "a mandatory field is absent: ");
    }
    if (svid_from_der(wire_bytes(&from->x509_svid), wire_bytes(&from->x509_svid_key), &svid, why) <
        0)
        return refuse(why, idx, from->spiffe_id, "");
    if (!str_eq(svid->id.text, str_from(from->spiffe_id))) {
        text_add(why, svid->id.text);
        svid_unref(svid);
        return refuse(why, idx, from->spiffe_id, "the certificate names another identity: ");
    }
    update->svids[update->n_svids++] = svid;
    if (add_bundle(update, svid->id.trust_domain, &from->bundle, why) < 0)
        return refuse(why, idx, from->spiffe_id, "the bundle: ");
    return 0;
}

/* The key is the SPIFFE ID of the trust domain. One that is none, or whose bundle is none, harms
 * only itself. */
static void add_federated(struct svid_update *update,
                          const X509SVIDResponse__FederatedBundlesEntry *entry)
{
    struct spiffe_id id;
    struct text why = {0};
    const char *fault = NULL;

    if (spiffe_parse(str_from(entry->key), &id, &fault) < 0)
        text_addf(&why, "%s", fault);
    else if (id.path.len > 0)
        text_addf(&why, "the key names a workload, not a trust domain");
    else if (update->n_bundles >= TRUST_DOMAINS_MAX)
        text_addf(&why, "there are too many trust domains");
    else
        (void)add_bundle(update, id.trust_domain, &entry->value, &why);
    if (why.len > 0) {
        update->n_skipped++;
        log_warn("a federated bundle was skipped", log_cstr("key", entry->key),
                 log_str("why", text_str(&why)));
    }
    text_fini(&why);
}

static int check_counts(const X509SVIDResponse *response, struct text *why)
{
    if (response->n_svids == 0) {
        text_addf(why, "the message holds no SVID");
        return -ERR_INVALID;
    }
    if (response->n_svids > SVID_UPDATE_SVIDS_MAX || response->n_crl > SVID_UPDATE_CRLS_MAX) {
        text_addf(why, "the message holds more than %d SVIDs or %d CRLs", SVID_UPDATE_SVIDS_MAX,
                  SVID_UPDATE_CRLS_MAX);
        return -ERR_LIMIT;
    }
    return 0;
}

static int fill(struct svid_update *update, const X509SVIDResponse *response, struct text *why)
{
    int err = check_counts(response, why);

    if (err < 0)
        return err;
    update->svids = arena_new_array(&update->arena, struct svid *, response->n_svids);
    update->bundles = arena_new_array(&update->arena, struct svid_update_bundle,
                                      response->n_svids + TRUST_DOMAINS_MAX);
    update->crls = arena_new_array(&update->arena, struct str, response->n_crl + 1);
    for (size_t i = 0; i < response->n_svids && err == 0; i++)
        if (!is_hint_taken(response, i))
            err = add_svid(update, response->svids[i], i, why);
    for (size_t i = 0; i < response->n_federated_bundles && err == 0; i++)
        add_federated(update, response->federated_bundles[i]);
    for (size_t i = 0; i < response->n_crl && err == 0; i++)
        update->crls[update->n_crls++] = arena_str(&update->arena, wire_bytes(&response->crl[i]));
    return err;
}

int svid_update_read(struct str bytes, struct svid_update *out_update, struct text *why)
{
    struct arena scratch = {0};
    struct svid_update update = {0};
    const X509SVIDResponse *response =
        (const void *)wire_unpack(&x509_svidresponse__descriptor, bytes, &scratch, why);
    int err = response ? fill(&update, response, why) : -ERR_INVALID;

    arena_wipe(&scratch); /* also what was unpacked of a message that is none */
    if (err < 0)
        svid_update_fini(&update);
    else
        *out_update = update;
    return err;
}

struct svid *svid_update_find(const struct svid_update *update, struct str id)
{
    for (size_t i = 0; i < update->n_svids; i++)
        if (str_is_empty(id) || str_eq(update->svids[i]->id.text, id))
            return update->svids[i];
    return NULL;
}

void svid_update_fini(struct svid_update *update)
{
    for (size_t i = 0; i < update->n_svids; i++)
        svid_unref(update->svids[i]);
    arena_fini(&update->arena);
    *update = (struct svid_update){0};
}
