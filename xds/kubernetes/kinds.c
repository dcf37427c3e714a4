#include "xds/kubernetes/kinds.h"

#include "proxy/base/ensure.h"

static const struct kube_kind kinds[KUBE_KINDS] = {
    {"Namespace", {"/api/v1/namespaces"}, false},
    {"Node", {"/api/v1/nodes"}, false},
    {"Pod", {"/api/v1/pods"}, false},
    {"Service", {"/api/v1/services"}, false},
    {"EndpointSlice", {"/apis/discovery.k8s.io/v1/endpointslices"}, false},
    {"ServiceExport",
     {"/apis/multicluster.x-k8s.io/v1beta1/serviceexports",
      "/apis/multicluster.x-k8s.io/v1alpha1/serviceexports",
      "/apis/multicluster.k8s.io/v1beta1/serviceexports",
      "/apis/multicluster.k8s.io/v1alpha1/serviceexports"},
     true},
    {"ServiceImport",
     {"/apis/multicluster.x-k8s.io/v1beta1/serviceimports",
      "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports",
      "/apis/multicluster.k8s.io/v1beta1/serviceimports",
      "/apis/multicluster.k8s.io/v1alpha1/serviceimports"},
     true},
    {"AuthorizationPolicy",
     {"/apis/security.istio.io/v1/authorizationpolicies",
      "/apis/security.istio.io/v1beta1/authorizationpolicies"},
     true},
    {"PeerAuthentication",
     {"/apis/security.istio.io/v1/peerauthentications",
      "/apis/security.istio.io/v1beta1/peerauthentications"},
     true},
    {"RequestAuthentication",
     {"/apis/security.istio.io/v1/requestauthentications",
      "/apis/security.istio.io/v1beta1/requestauthentications"},
     true},
    {"HTTPRoute",
     {"/apis/gateway.networking.k8s.io/v1/httproutes",
      "/apis/gateway.networking.k8s.io/v1beta1/httproutes"},
     true},
    {"GRPCRoute", {"/apis/gateway.networking.k8s.io/v1/grpcroutes"}, true},
    {"TrafficPolicy", {"/apis/isthmus.io/v1alpha1/trafficpolicies"}, true},
};

const struct kube_kind *kube_kind(unsigned idx)
{
    ensure(idx < KUBE_KINDS);
    return &kinds[idx];
}

struct str kube_resource(struct str place)
{
    struct str rest, resource;

    return str_rsplit(place, '/', &rest, &resource) ? resource : place;
}

struct str kube_group(struct str place)
{
    const struct str apis = STR("/apis/");
    struct str group, rest;

    if (!str_starts_with(place, apis) ||
        !str_split(str_sub(place, apis.len, place.len), '/', &group, &rest))
        return (struct str){0};
    return group;
}
