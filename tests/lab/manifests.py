"""Kubernetes objects as dictionaries, and their YAML.

Each function gives one object with the fields that a cluster would have filled in. to_yaml() writes block style, as
people do; strings are double-quoted wherever they could be taken for something else.
"""

import json
import re

# Words that YAML 1.1 reads as true, false or null when they stand unquoted.
_PLAIN = re.compile(r"^[A-Za-z][A-Za-z0-9._/-]*$")
_NOT_PLAIN = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

MESH_LABEL = {"isthmus.io/mesh": "enabled"}


def to_yaml(value, indent=0):
    """A dictionary or list as YAML text."""
    pad = "  " * indent
    lines = []
    if isinstance(value, dict):
        for key, item in value.items():
            lines.append(_entry(f"{pad}{_scalar(key)}:", item, indent + 1))
    else:
        for item in value:
            if _is_block(item):
                body = to_yaml(item, indent + 1)
                lines.append(f"{pad}- {body.lstrip().rstrip()}")
            else:
                lines.append(f"{pad}- {_flow(item)}")
    return "\n".join(lines) + "\n"


def _is_block(item):
    return isinstance(item, (dict, list)) and len(item) > 0


def _entry(head, item, indent):
    if _is_block(item):
        return head + "\n" + to_yaml(item, indent).rstrip("\n")
    return f"{head} {_flow(item)}"


def _flow(item):
    if isinstance(item, (dict, list)):
        return "{}" if isinstance(item, dict) else "[]"
    return _scalar(item)


def _scalar(value):
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _NOT_PLAIN:
        return value
    return json.dumps(value)


def _object(api_version, kind, name, namespace=None, labels=None, annotations=None, **rest):
    metadata = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = dict(labels)
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def namespace(name, enrolled=True, labels=None):
    """enrolled: its pods are in the mesh."""
    return _object("v1", "Namespace", name, labels={**(labels or {}), **(MESH_LABEL if enrolled else {})})


def node(name, addresses, region=None, zone=None):
    labels = {"kubernetes.io/hostname": name}
    if region:
        labels["topology.kubernetes.io/region"] = region
    if zone:
        labels["topology.kubernetes.io/zone"] = zone
    return _object("v1", "Node", name, labels=labels,
                   status={"addresses": [{"type": "InternalIP", "address": a} for a in addresses]})


def pod(name, namespace, node_name, host_ip, ips, service_account, labels=None, ready=True, uid=None):
    made = _object(
        "v1", "Pod", name, namespace, labels,
        spec={"nodeName": node_name, "serviceAccountName": service_account,
              "containers": [{"name": "main", "image": "lab"}]},
        status={"phase": "Running", "hostIP": host_ip, "podIP": ips[0],
                "podIPs": [{"ip": ip} for ip in ips],
                "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]})
    if uid:
        made["metadata"]["uid"] = uid
    return made


def port(number, name=None, target=None, app_protocol=None):
    """A port of a service; target is the port of the pods (default: the same)."""
    entry = {"name": name or f"tcp-{number}", "port": number, "targetPort": target or number, "protocol": "TCP"}
    if app_protocol:
        entry["appProtocol"] = app_protocol
    return entry


def service(name, namespace, ports, selector, cluster_ips, labels=None, annotations=None):
    """cluster_ips: one a family, or None for a headless service."""
    ips = cluster_ips or ["None"]
    spec = {"type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": ips}
    families = ["IPv6" if ":" in ip else "IPv4" for ip in cluster_ips or ["", ":"]]
    spec.update(ipFamilies=families, ipFamilyPolicy="PreferDualStack", ports=ports, selector=dict(selector))
    return _object("v1", "Service", name, namespace, labels, annotations, spec=spec)


def endpoint_slice(service_name, namespace, family, ports, endpoints, headless=False):
    """family: IPv4 or IPv6. endpoints: from endpoint()."""
    labels = {"kubernetes.io/service-name": service_name,
              "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
    if headless:
        labels["service.kubernetes.io/headless"] = ""
    return _object(
        "discovery.k8s.io/v1", "EndpointSlice", f"{service_name}-{family.lower()}", namespace, labels,
        addressType=family, endpoints=endpoints,
        ports=[{"name": p["name"], "port": p["targetPort"], "protocol": p["protocol"],
                **({"appProtocol": p["appProtocol"]} if "appProtocol" in p else {})} for p in ports])


def endpoint(address, pod_name, namespace, node_name, zone, ready, hostname=None):
    entry = {"addresses": [address],
             "conditions": {"ready": ready, "serving": ready, "terminating": False},
             "nodeName": node_name, "zone": zone,
             "targetRef": {"kind": "Pod", "name": pod_name, "namespace": namespace}}
    if hostname:
        entry["hostname"] = hostname
    return entry


def service_export(name, namespace, version="v1beta1"):
    return _object(f"multicluster.x-k8s.io/{version}", "ServiceExport", name, namespace)


def authorization_policy(name, namespace, spec, annotations=None):
    return _object("security.istio.io/v1", "AuthorizationPolicy", name, namespace,
                   annotations=annotations, spec=spec)


def request_authentication(name, namespace, spec):
    return _object("security.istio.io/v1", "RequestAuthentication", name, namespace, spec=spec)


def allow_principals(principals, selector=None, ports=None):
    """The spec of a policy that lets only these principals in ("trust.domain/ns/x/sa/y")."""
    rule = {"from": [{"source": {"principals": list(principals)}}]}
    if ports:
        rule["to"] = [{"operation": {"ports": [str(p) for p in ports]}}]
    spec = {"action": "ALLOW", "rules": [rule]}
    return {"selector": {"matchLabels": dict(selector)}, **spec} if selector else spec


def traffic_policy(name, namespace, import_name, spec):
    """How this cluster's nodes use the clusterset service import_name."""
    target = {"group": "multicluster.x-k8s.io", "kind": "ServiceImport", "name": import_name}
    return _object("isthmus.io/v1alpha1", "TrafficPolicy", name, namespace, spec={"targetRef": target, **spec})


def peer_authentication(name, namespace, mode, selector=None, ports=None):
    """ports: {port of the workload: mode}; with a selector only."""
    spec = {"mtls": {"mode": mode}}
    if ports:
        spec["portLevelMtls"] = {str(number): {"mode": its} for number, its in ports.items()}
    if selector:
        spec = {"selector": {"matchLabels": dict(selector)}, **spec}
    return _object("security.istio.io/v1", "PeerAuthentication", name, namespace, spec=spec)


def http_route(name, namespace, spec):
    return _object("gateway.networking.k8s.io/v1", "HTTPRoute", name, namespace, spec=spec)
