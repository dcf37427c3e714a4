#include "xds/codec.h"

#include <secret.pb-c.h>

#include "certs/bundle.h"
#include "certs/crl.h"
#include "proxy/base/err.h"
#include "xds/codec_parts.h"

#define TYPE_URL_PREFIX "type.googleapis.com/"
#define SPIFFE_PREFIX   "spiffe://"

static const char *const type_urls[XDS_TYPES] = {
    [XDS_ADDRESS] = TYPE_URL_PREFIX "istio.workload.Address",
    [XDS_AUTHORIZATION] = TYPE_URL_PREFIX "istio.security.Authorization",
    [XDS_SECRET] = TYPE_URL_PREFIX "envoy.extensions.transport_sockets.tls.v3.Secret",
    [XDS_CLUSTER] = TYPE_URL_PREFIX "envoy.config.cluster.v3.Cluster",
    [XDS_ROUTE] = TYPE_URL_PREFIX "envoy.config.route.v3.RouteConfiguration",
    [XDS_REQUEST_AUTH] = TYPE_URL_PREFIX "isthmus.v1alpha1.RequestAuthentication",
};

const char *xds_type_url(enum xds_type type)
{
    ensure(type < XDS_TYPES);
    return type_urls[type];
}

bool xds_type_of_url(struct str url, enum xds_type *out_type)
{
    for (unsigned type = 0; type < XDS_TYPES; type++) {
        if (str_eq(url, str_from(type_urls[type]))) {
            *out_type = (enum xds_type)type;
            return true;
        }
    }
    return false;
}

enum xds_type xds_type_of_kind(enum model_kind kind)
{
    switch (kind) {
    case MODEL_WORKLOAD:
    case MODEL_SERVICE: return XDS_ADDRESS;
    case MODEL_POLICY: return XDS_AUTHORIZATION;
    case MODEL_BUNDLE: return XDS_SECRET;
    case MODEL_TRAFFIC: return XDS_CLUSTER;
    case MODEL_ROUTES: return XDS_ROUTE;
    case MODEL_REQUEST_AUTH: return XDS_REQUEST_AUTH;
    case MODEL_KINDS: break;
    }
    ensure_failed("a kind of model", __FILE__, __LINE__);
}

/* ---- bundles ---- */

static Envoy__Config__Core__V3__DataSource *source_encode(struct str bytes, struct arena *arena)
{
    Envoy__Config__Core__V3__DataSource *source =
        arena_new(arena, Envoy__Config__Core__V3__DataSource);

    envoy__config__core__v3__data_source__init(source);
    source->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES;
    source->inline_bytes.len = bytes.len;
    source->inline_bytes.data = (uint8_t *)wire_text(arena, bytes);
    return source;
}

static void bundle_encode(const struct model_bundle *bundle, struct str name, struct arena *arena,
                          struct text *out)
{
    Envoy__Extensions__TransportSockets__Tls__V3__Secret secret;
    Envoy__Extensions__TransportSockets__Tls__V3__CertificateValidationContext context;

    envoy__extensions__transport_sockets__tls__v3__secret__init(&secret);
    envoy__extensions__transport_sockets__tls__v3__certificate_validation_context__init(&context);
    context.trusted_ca = source_encode(bundle->pem, arena);
    if (!str_is_empty(bundle->crls))
        context.crl = source_encode(bundle->crls, arena);
    secret.name = wire_text(arena, name);
    secret.type_case =
        ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__TYPE_VALIDATION_CONTEXT;
    secret.validation_context = &context;
    wire_pack(&secret.base, out);
}

/* What a secret carries in itself, {0} when it carries nothing. */
static struct str source_bytes(const Envoy__Config__Core__V3__DataSource *source)
{
    if (!source)
        return (struct str){0};
    if (source->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES)
        return wire_bytes(&source->inline_bytes);
    if (source->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING)
        return str_from(source->inline_string);
    return (struct str){0};
}

/* The lists in DER. A source that is no inline one says nothing that we could hold it to, so it is
 * refused: to go on without its lists would let in whom they take back. */
static int crls_decode(const Envoy__Config__Core__V3__DataSource *source, struct arena *arena,
                       struct str *out_crls, struct text *why)
{
    struct text der = {0};
    int err = 0;

    if (!source)
        return 0;
    if (str_is_empty(source_bytes(source)))
        return codec_refuse(why, "Secret: no lists in validation_context.crl.inline_bytes");
    text_add(why, STR("Secret: validation_context.crl: "));
    err = crl_to_der(source_bytes(source), &der, why);
    if (!err) {
        text_clear(why);
        *out_crls = arena_str(arena, text_str(&der));
    }
    text_fini(&der);
    return err;
}

static int secret_decode(const Envoy__Extensions__TransportSockets__Tls__V3__Secret *secret,
                         struct str name, struct arena *arena, struct model_bundle *bundle,
                         struct text *why)
{
    const Envoy__Extensions__TransportSockets__Tls__V3__CertificateValidationContext *context =
        secret->type_case ==
                ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__SECRET__TYPE_VALIDATION_CONTEXT
            ? secret->validation_context
            : NULL;
    struct str roots = context ? source_bytes(context->trusted_ca) : (struct str){0};
    struct str trust_domain = str_sub(name, sizeof(SPIFFE_PREFIX) - 1, name.len);
    int err = codec_check_name(name, str_from(secret->name), why);

    if (err)
        return err;
    if (!str_starts_with(name, STR(SPIFFE_PREFIX)) || spiffe_check_trust_domain(trust_domain))
        return codec_refuse(why, "Secret.name: \"%.*s\" is not spiffe://<trust domain>",
                            STR_ARG(name));
    if (str_is_empty(roots))
        return codec_refuse(why, "Secret: no roots in validation_context.trusted_ca.inline_bytes");
    if (bundle_check(roots, why) || crls_decode(context->crl, arena, &bundle->crls, why))
        return -ERR_INVALID;
    bundle->trust_domain = arena_str(arena, trust_domain);
    bundle->pem = arena_str(arena, roots);
    return 0;
}

static int bundle_decode(struct str bytes, struct str name, struct arena *arena,
                         struct model_bundle **out_bundle, struct text *why)
{
    struct model_bundle *bundle = arena_new(arena, struct model_bundle);
    struct arena scratch = {0};
    const Envoy__Extensions__TransportSockets__Tls__V3__Secret *secret = (const void *)wire_unpack(
        &envoy__extensions__transport_sockets__tls__v3__secret__descriptor, bytes, &scratch, why);
    int err = secret ? secret_decode(secret, name, arena, bundle, why) : -ERR_INVALID;

    arena_fini(&scratch);
    if (!err)
        *out_bundle = bundle;
    return err;
}

/* ---- all kinds ---- */

static struct str resource_name(const struct model_resource *resource, struct arena *arena)
{
    switch (resource->kind) {
    case MODEL_WORKLOAD: return arena_str(arena, resource->of.workload->uid);
    case MODEL_SERVICE:
        return arena_printf(arena, "%.*s/%.*s", STR_ARG(resource->of.service->namespace_),
                            STR_ARG(resource->of.service->hostname));
    case MODEL_POLICY:
        return arena_printf(arena, "%.*s/%.*s", STR_ARG(resource->of.policy->namespace_),
                            STR_ARG(resource->of.policy->name));
    case MODEL_BUNDLE:
        return arena_printf(arena, SPIFFE_PREFIX "%.*s",
                            STR_ARG(resource->of.bundle->trust_domain));
    case MODEL_TRAFFIC: return arena_str(arena, resource->of.traffic->service);
    case MODEL_ROUTES: return routes_name(resource->of.routes, arena);
    case MODEL_REQUEST_AUTH:
        return arena_printf(arena, "%.*s/%.*s", STR_ARG(resource->of.request_auth->namespace_),
                            STR_ARG(resource->of.request_auth->name));
    case MODEL_KINDS: break;
    }
    ensure_failed("a kind of model", __FILE__, __LINE__);
}

struct str xds_encode(const struct model_resource *resource, struct arena *arena, struct text *out)
{
    struct str name = resource_name(resource, arena);
    struct arena scratch = {0};

    switch (resource->kind) {
    case MODEL_WORKLOAD: codec_workload_encode(resource->of.workload, &scratch, out); break;
    case MODEL_SERVICE: codec_service_encode(resource->of.service, &scratch, out); break;
    case MODEL_POLICY: codec_policy_encode(resource->of.policy, &scratch, out); break;
    case MODEL_BUNDLE: bundle_encode(resource->of.bundle, name, &scratch, out); break;
    case MODEL_TRAFFIC: codec_traffic_encode(resource->of.traffic, &scratch, out); break;
    case MODEL_ROUTES: codec_routes_encode(resource->of.routes, name, &scratch, out); break;
    case MODEL_REQUEST_AUTH: codec_token_encode(resource->of.request_auth, &scratch, out); break;
    case MODEL_KINDS: break;
    }
    arena_fini(&scratch);
    return name;
}

static int address_decode(struct str bytes, struct str name, struct arena *arena,
                          struct model_resource *resource, struct text *why)
{
    struct arena scratch = {0};
    const Istio__Workload__Address *address =
        (const void *)wire_unpack(&istio__workload__address__descriptor, bytes, &scratch, why);
    int err = -ERR_INVALID;

    if (address && address->type_case == ISTIO__WORKLOAD__ADDRESS__TYPE_WORKLOAD) {
        resource->kind = MODEL_WORKLOAD;
        err = codec_workload_decode(address->workload, name, arena, &resource->of.workload, why);
    } else if (address && address->type_case == ISTIO__WORKLOAD__ADDRESS__TYPE_SERVICE) {
        resource->kind = MODEL_SERVICE;
        err = codec_service_decode(address->service, name, arena, &resource->of.service, why);
    } else if (address) {
        text_add(why, STR("Address: neither workload nor service is set"));
    }
    arena_fini(&scratch);
    return err;
}

int xds_decode(enum xds_type type, struct str name, struct str bytes, struct arena *arena,
               struct model_resource *out_resource, struct text *why)
{
    struct model_resource resource = {.name = name};
    int err = -ERR_INVALID;

    if (bytes.len > XDS_RESOURCE_MAX_BYTES || name.len > XDS_NAME_MAX_BYTES)
        return codec_refuse(why, "a resource of %zu bytes with a name of %zu (at most %zu and %d)",
                            bytes.len, name.len, XDS_RESOURCE_MAX_BYTES, XDS_NAME_MAX_BYTES);
    switch (type) {
    case XDS_ADDRESS: err = address_decode(bytes, name, arena, &resource, why); break;
    case XDS_AUTHORIZATION:
        resource.kind = MODEL_POLICY;
        err = codec_policy_decode(bytes, name, arena, &resource.of.policy, why);
        break;
    case XDS_SECRET:
        resource.kind = MODEL_BUNDLE;
        err = bundle_decode(bytes, name, arena, &resource.of.bundle, why);
        break;
    case XDS_CLUSTER:
        resource.kind = MODEL_TRAFFIC;
        err = codec_traffic_decode(bytes, name, arena, &resource.of.traffic, why);
        break;
    case XDS_ROUTE:
        resource.kind = MODEL_ROUTES;
        err = codec_routes_decode(bytes, name, arena, &resource.of.routes, why);
        break;
    case XDS_REQUEST_AUTH:
        resource.kind = MODEL_REQUEST_AUTH;
        err = codec_token_decode(bytes, name, arena, &resource.of.request_auth, why);
        break;
    case XDS_TYPES: ensure_failed("a type of resource", __FILE__, __LINE__);
    }
    if (err)
        return err;
    resource.name = arena_str(arena, name);
    *out_resource = resource;
    return 0;
}
