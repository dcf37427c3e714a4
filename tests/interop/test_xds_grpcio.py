#!/usr/bin/env python3
"""Our control port, spoken to by gRPC C-core and Google's protobuf: neither of our codec, framing or TLS is in the client.

    test_xds_grpcio.py <xds_port> <folder of the .proto files>

Exits 77 (skipped) where grpcio, protobuf, cryptography or protoc are missing.
"""
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile

SKIPPED = 77
ADDRESS = "type.googleapis.com/istio.workload.Address"
POLICY = "type.googleapis.com/istio.security.Authorization"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
CLUSTER = "type.googleapis.com/envoy.config.listener.v3.Listener"
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
CART = "spiffe://west.example/ns/shop/sa/cart"
POD = "c1//v1/Pod/ns/pod-%d"
PODS = 5000

try:
    import grpc
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    import google.protobuf  # noqa: F401
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(SKIPPED)
if not shutil.which("protoc"):
    print("skipped: no protoc")
    sys.exit(SKIPPED)


def check(holds, what):
    if not holds:
        raise AssertionError(what)


class Stream:
    """One delta stream; what it asks and what it hears."""

    def __init__(self, channel, pb):
        self.pb = pb
        self.requests = queue.Queue()
        self.responses = queue.Queue()
        method = channel.stream_stream(
            DELTA, request_serializer=pb.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=pb.DeltaDiscoveryResponse.FromString)
        self.call = method(iter(self.requests.get, None))

    def ask(self, **fields):
        self.requests.put(self.pb.DeltaDiscoveryRequest(**fields))

    def take(self, acknowledge=True, **more):
        response = next(self.call)
        if acknowledge:
            self.ask(type_url=response.type_url, response_nonce=response.nonce, **more)
        return response

    def end(self):
        self.requests.put(None)
        for _ in self.call:
            raise AssertionError("a response after the end")
        return self.call.code()


def first_sync(stream, workload_pb2):
    """All addresses, piece by piece: name -> (version, Address)."""
    held = {}
    n_responses = 0
    stream.ask(type_url=ADDRESS, node={"id": "n1", "cluster": "west"})
    while len(held) < PODS + 1:
        response = stream.take()
        n_responses += 1
        check(response.ByteSize() <= 1 << 20, "a response of %d bytes" % response.ByteSize())
        check(response.type_url == ADDRESS and response.nonce, "type or nonce")
        for resource in response.resources:
            check(resource.resource.type_url == ADDRESS, "the type of a resource")
            check(re.fullmatch("[0-9a-f]{32}", resource.version), "version " + resource.version)
            check(resource.name not in held, resource.name + " came twice")
            held[resource.name] = (resource.version,
                                   workload_pb2.Address.FromString(resource.resource.value))
    print("%d addresses in %d responses" % (len(held), n_responses))
    return held


def test_resources(held):
    pod = held[POD % 258][1].workload
    check(pod.uid == POD % 258 and pod.namespace == "ns" and pod.service_account == "app", "names")
    check(list(pod.addresses) == [bytes([10, 0, 1, 2])], "addresses")
    check(not pod.HasField("capacity"), "a capacity of one is left out")
    service = held["ns/db.ns.svc.clusterset.local"][1].service
    check([len(a.address) for a in service.addresses] == [4, 16], "dual-stack")
    check([p.service_port for p in service.ports] == [443], "a UDP port is not among the ports")
    check(service.extensions[0].name == "isthmus.v1alpha1.ServiceDetails", "details")


def test_policy(stream, authorization_pb2):
    stream.ask(type_url=POLICY)
    response = stream.take()
    check([r.name for r in response.resources] == ["ns/rich"], "policies")
    policy = authorization_pb2.Authorization.FromString(response.resources[0].resource.value)
    match = policy.rules[0].clauses[0].matches[0]
    check(policy.action == authorization_pb2.DENY and policy.dry_run, "action")
    check(match.namespaces[1].prefix == "team-", "a prefix")
    check(match.not_principals[1].HasField("presence"), "presence")
    check(list(match.destination_ports) == [1, 65535], "ports")


def test_empty_types(stream):
    stream.ask(type_url=SECRET)
    check(not stream.take().resources, "there are no secrets")
    stream.ask(type_url=CLUSTER, resource_names_subscribe=["a"])
    check(list(stream.take().removed_resources) == ["a"], "nobody has clusters")


def test_update(stream, server, held):
    server.send_signal(signal.SIGUSR1)
    response = stream.take()
    check([r.name for r in response.resources] == [POD % 1], "what changed")
    check(list(response.removed_resources) == [POD % 0], "what is gone")
    held[POD % 1] = (response.resources[0].version, None)


def test_reconnect(channel, pb, server, held):
    """Lists everything, also what is gone: only that is answered. Then a refusal does not stop the stream."""
    stream = Stream(channel, pb)
    stream.ask(type_url=ADDRESS, node={"id": "n1"},
               initial_resource_versions={name: version for name, (version, _) in held.items()})
    response = stream.take(error_detail={"code": 13, "message": "not to my taste"})
    check(not response.resources, "equal versions are not sent again")
    check(list(response.removed_resources) == [POD % 0], "what is gone")
    server.send_signal(signal.SIGUSR1)
    response = stream.take()
    check(sorted(r.name for r in response.resources) == [POD % 0, POD % 1], "back again")
    check(stream.end() == grpc.StatusCode.OK, "the end")


def test_names(channel, pb):
    stream = Stream(channel, pb)
    stream.ask(type_url=ADDRESS, node={"id": "n1"}, resource_names_subscribe=[POD % 7, "no-such"])
    response = stream.take()
    check([r.name for r in response.resources] == [POD % 7], "the name that exists")
    check(list(response.removed_resources) == ["no-such"], "the one that does not")
    check(stream.end() == grpc.StatusCode.OK, "the end")


def make_request(ca_pb2, identity):
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
           .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), True)
           .sign(key, hashes.SHA256()))
    request = ca_pb2.IstioCertificateRequest(
        csr=csr.public_bytes(serialization.Encoding.PEM).decode(), validity_duration=3600)
    request.metadata["ImpersonatedIdentity"] = identity
    return request


def test_certificates(channel, ca_pb2):
    create = channel.unary_unary(
        CREATE, request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
        response_deserializer=ca_pb2.IstioCertificateResponse.FromString)
    request = make_request(ca_pb2, CART)
    response = create(request, metadata=[("authorization", "Bearer sesame")], timeout=30)
    check(len(response.cert_chain) == 2, "a leaf and the roots")
    leaf, root = [x509.load_pem_x509_certificate(pem.encode()) for pem in response.cert_chain]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    check(names.get_values_for_type(x509.UniformResourceIdentifier) == [CART], "the identity")
    root.public_key().verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(leaf.signature_hash_algorithm))
    expect(grpc.StatusCode.UNAUTHENTICATED, create, request, "the token is not right: 100 %")
    request.csr = "x" * 200000
    expect(grpc.StatusCode.RESOURCE_EXHAUSTED, create, request, "too large")


def expect(status, method, request, details):
    try:
        method(request, timeout=30)
    except grpc.RpcError as error:
        check(error.code() == status, "%s: %s" % (error.code(), error.details()))
        check(details in error.details(), error.details())
    else:
        raise AssertionError("the call was answered")


def test_refusals(channel, pb):
    stream = Stream(channel, pb)
    stream.ask(type_url=ADDRESS)
    try:
        next(stream.call)
        raise AssertionError("an anonymous stream was served")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.UNAUTHENTICATED, str(error.code()))
    stream.requests.put(None)
    method = channel.unary_unary("/no.such.Service/Method", request_serializer=bytes)
    expect(grpc.StatusCode.UNIMPLEMENTED, method, b"", "no such method")


def open_channel(directory, port, with_identity):
    def read(name):
        with open("%s/%s" % (directory, name), "rb") as file:
            return file.read()
    own = (read("node.key"), read("node.pem")) if with_identity else (None, None)
    credentials = grpc.ssl_channel_credentials(read("root.pem"), *own)
    # An SVID names a SPIFFE ID, for which C-core has no check; this server's holds a DNS name beside it.
    return grpc.secure_channel("127.0.0.1:%d" % port, credentials,
                               [("grpc.ssl_target_name_override", "host.example")])


def run(directory, server, port, modules):
    discovery_pb2, workload_pb2, authorization_pb2, ca_pb2 = modules
    with open_channel(directory, port, True) as channel:
        stream = Stream(channel, discovery_pb2)
        held = first_sync(stream, workload_pb2)
        test_resources(held)
        test_policy(stream, authorization_pb2)
        test_empty_types(stream)
        test_update(stream, server, held)
        check(stream.end() == grpc.StatusCode.OK, "the end")
        test_reconnect(channel, discovery_pb2, server, held)
        test_names(channel, discovery_pb2)
    with open_channel(directory, port, False) as channel:
        test_certificates(channel, ca_pb2)
        test_refusals(channel, discovery_pb2)


def main(binary, protos):
    with tempfile.TemporaryDirectory(prefix="isthmus-grpcio-") as directory:
        names = ["authorization", "base", "ca", "discovery", "percent", "status", "workload"]
        subprocess.run(["protoc", "--python_out=" + directory, "-I" + protos]
                       + [name + ".proto" for name in names], check=True)
        sys.path.insert(0, directory)
        modules = [__import__(name + "_pb2") for name in ("discovery", "workload", "authorization", "ca")]
        with subprocess.Popen([binary, directory], stdout=subprocess.PIPE, text=True) as server:
            try:
                run(directory, server, int(server.stdout.readline()), modules)
            finally:
                server.send_signal(signal.SIGTERM)
            check(server.wait(timeout=30) == 0, "the server ended with %d" % server.returncode)
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
