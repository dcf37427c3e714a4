#!/usr/bin/env python3
"""`isthmus control` itself, spoken to by gRPC C-core and Google's protobuf in the place of a node, a peer, or neither.

The node begins as every node does: with its bootstrap token it asks for its certificate, and with that it opens its
stream. test_xds_grpcio.py looks at the wire of our gRPC and xDS; this is about what control tells whom, and whom not.
"""

import datetime
import json
import os
import queue
import select
import shutil
import socket
import ssl
import sys
import tempfile
import threading

import lab
import manifests
from cluster import ADMIN_PORT, http_get
from process import wait_until
from protos import compile_protos
from town import Story

try:
    import grpc
    import google.protobuf  # noqa: F401
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from authority import Authority, client_context, make_csr, uris_of
except ModuleNotFoundError as missing:
    print("skipped:", missing)
    sys.exit(lab.EXIT_SKIPPED)

if not shutil.which("protoc"):
    print("skipped: no protoc")
    sys.exit(lab.EXIT_SKIPPED)

ADDRESS = "type.googleapis.com/istio.workload.Address"
POLICY = "type.googleapis.com/istio.security.Authorization"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
WHOLE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
REFUSED_TOTAL = "isthmus_certificates_refused_total"
Status = grpc.StatusCode


class Bridge:
    """A Unix socket, and behind it a TLS connection to a control port for each that calls.

    C-core insists on comparing host names, of which a SPIFFE certificate has none; here Python's ssl stands in.
    """

    def __init__(self, folder, cluster, credentials, roots):
        self.path = tempfile.mktemp(dir=folder, suffix=".sock")
        self.shown, self.errors = [], []  # the server's certificates; why there was no connection
        self._cluster, self._context = cluster, client_context(credentials, roots)
        self._ending = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._listener.settimeout(0.05)
        self._threads = []
        self._start(self._accept)

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._ending:
            try:
                plain, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._start(self._serve, plain)

    def _serve(self, plain):
        with plain:
            try:
                raw = self._cluster.nodes[0].connect(self._cluster.control_v4, 15012, 20)
                with self._context.wrap_socket(raw) as tls:
                    self.shown.append(tls.getpeercert(True))
                    self._relay(plain, tls)
            except OSError as error:
                self.errors.append(error)

    def _relay(self, plain, tls):
        plain.setblocking(False)
        tls.setblocking(False)
        ways = [(plain, tls, bytearray()), (tls, plain, bytearray())]
        while not self._ending:
            writers = [to for _, to, data in ways if data]
            if not tls.pending():
                select.select([plain, tls], writers, [], 0.05)
            for source, to, data in ways:
                if not self._read(source, data):
                    return
                self._write(to, data)

    @staticmethod
    def _read(source, data):
        try:
            part = source.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        data += part
        return bool(part)

    @staticmethod
    def _write(to, data):
        try:
            while data:
                del data[:to.send(data[:65536])]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass

    def close(self):
        self._ending = True
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
        os.unlink(self.path)


class Stream:
    """A delta stream of somebody: asks, and remembers what it holds as a node does."""

    def __init__(self, channel, pb, node_id="test"):
        self.pb, self.held = pb, {}
        self._requests, self._responses = queue.Queue(), queue.Queue()
        self._node = {"id": node_id, "cluster": "west"}
        self.call = channel.stream_stream(
            DELTA, request_serializer=bytes, response_deserializer=pb.DeltaDiscoveryResponse.FromString)(
                iter(self._requests.get, None))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        try:
            for response in self.call:
                self._responses.put(response)
        except grpc.RpcError:
            pass
        self._responses.put(None)

    def say(self, **fields):
        self.say_bytes(self.pb.DeltaDiscoveryRequest(node=self._node, **fields).SerializeToString())

    def say_bytes(self, message):
        self._requests.put(message)

    def hear(self, timeout_s=30):
        """The next response, or None at the end of the stream."""
        return self._responses.get(timeout=timeout_s)

    def is_silent(self, timeout_s=0.4):
        try:
            raise AssertionError(f"came unasked: {self._responses.get(timeout=timeout_s)}")
        except queue.Empty:
            return True

    def take(self, error=None):
        """The next response, kept and acknowledged; with error: refused."""
        response = self.hear()
        if response is None:
            raise AssertionError(f"the stream ended: {self.call.code()} {self.call.details()}")
        for resource in response.resources:
            self.held[resource.name] = resource
        for name in response.removed_resources:
            self.held.pop(name, None)
        detail = {"error_detail": {"code": 3, "message": error}} if error else {}
        self.say(type_url=response.type_url, response_nonce=response.nonce, **detail)
        return response

    def subscribe(self, type_url, **fields):
        """The first response of a type."""
        self.say(type_url=type_url, **fields)
        return self.take()

    def until(self, what, condition):
        """Takes responses until the condition holds; gives all of them."""
        taken = []
        while not condition():
            taken.append(self.take())
            if len(taken) > 50:
                raise AssertionError(f"no {what} in 50 responses")
        return taken

    def versions(self):
        return {name: resource.version for name, resource in self.held.items()}

    def end(self):
        self._requests.put(None)
        while self.hear() is not None:
            pass
        return self.call.code()


class ControlGrpcio(Story):
    @classmethod
    def build(cls, town):
        cls.pb = compile_protos(cls.raised.folder)
        cls.west, cls.east = town.west, town.east
        cls.node = cls.west.nodes[0]
        cls.web = cls.node.add_pod("web", "shop", "web", {"app": "web"})
        cls.west.nodes[1].add_pod("db", "shop", "db", {"app": "till"})
        cls.west.add_namespace("outside", enrolled=False)
        cls.node.add_pod("loner", "outside", "loner")
        town.add_service(cls.west)
        cls.west.apply(manifests.authorization_policy("only", "shop", manifests.allow_principals(
            ["west.example/ns/shop/sa/web"])))
        cls.raised.start_controls()
        cls.authority, cls.peers = Authority.of(cls.west), Authority.of(cls.east)
        cls.credentials = cls.bootstrap()

    @classmethod
    def node_id(cls, name):
        return f"spiffe://west.example/isthmus/node/{name}"

    # ---- who we are ----

    @classmethod
    def open(cls, credentials, add_cleanup, cluster=None, roots=None):
        cluster = cluster or cls.west
        bridge = Bridge(cls.raised.folder, cluster, credentials, roots or [cluster.root_path])
        channel = grpc.insecure_channel(f"unix:{bridge.path}", [("grpc.enable_retries", 0)])
        add_cleanup(bridge.close)
        add_cleanup(channel.close)
        channel.bridge = bridge
        return channel

    def channel(self, credentials, **options):
        return self.open(credentials, self.addCleanup, **options)

    def stream(self, channel=None, **options):
        stream = Stream(channel or self.channel(self.credentials), self.pb["discovery_pb2"], **options)
        self.addCleanup(stream.call.cancel)
        return stream

    # ---- certificates ----

    @classmethod
    def create(cls, channel, identity, token=None, csr=None, wanted=None, validity_s=3600):
        """(key, chain as PEM texts) for an identity, or grpc.RpcError."""
        module = cls.pb["ca_pb2"]
        key, made = make_csr(identity)
        request = module.IstioCertificateRequest(csr=csr or made, validity_duration=validity_s)
        request.metadata["ImpersonatedIdentity"] = wanted or identity
        call = channel.unary_unary(CREATE, request_serializer=module.IstioCertificateRequest.SerializeToString,
                                   response_deserializer=module.IstioCertificateResponse.FromString)
        metadata = [("clusterid", "west")] + ([("authorization", f"Bearer {token}")] if token else [])
        return key, list(call(request, metadata=metadata, timeout=30).cert_chain)

    @staticmethod
    def token(node):
        with open(os.path.join(node.log_dir, "token"), encoding="ascii") as file:
            return file.read().strip()

    @classmethod
    def bootstrap(cls):
        """The node's own certificate, by its token: the path of the PEM file."""
        key, chain = cls.create(cls.open(None, cls.addClassCleanup), cls.node_id("west-1"), cls.token(cls.node))
        return cls.authority.keep(key, "".join(chain[:-1]))

    def refused(self, status, why, *arguments, **options):
        before = self.west.control.metrics()[REFUSED_TOTAL]
        with self.assertRaises(grpc.RpcError) as caught:
            self.create(*arguments, **options)
        self.assertEqual(caught.exception.code(), status, caught.exception.details())
        self.assertIn(why, caught.exception.details())
        self.assertEqual(self.west.control.metrics()[REFUSED_TOTAL], before + 1)

    def test_a_token_gives_the_node_its_certificate(self):
        channel = self.channel(None)
        key, chain = self.create(channel, self.node_id("west-1"), self.token(self.node), validity_s=600)
        leaf = x509.load_pem_x509_certificate(chain[0].encode())
        with open(self.west.root_path, encoding="ascii") as file:
            self.assertEqual(chain[-1].strip(), file.read().strip())
        root = x509.load_pem_x509_certificate(chain[-1].encode())
        root.public_key().verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(leaf.signature_hash_algorithm))
        self.assertEqual(leaf.public_key().public_numbers(), key.public_key().public_numbers())
        self.assertEqual(uris_of(leaf.public_bytes(serialization.Encoding.DER)), [self.node_id("west-1")])
        self.assertLess(leaf.not_valid_after - datetime.datetime.utcnow(), datetime.timedelta(seconds=601))
        self.assertEqual(uris_of(channel.bridge.shown[0]), ["spiffe://west.example/isthmus/control"])

    def test_a_token_is_good_for_its_own_node_only(self):
        channel, own = self.channel(None), self.token(self.node)
        for status, why, identity, token in (
                (Status.UNAUTHENTICATED, "neither a client certificate nor", self.node_id("west-1"), None),
                (Status.UNAUTHENTICATED, "not that of node west-1", self.node_id("west-1"), "x" * 48),
                (Status.UNAUTHENTICATED, "not that of node west-1", self.node_id("west-1"), own[:-1]),
                (Status.UNAUTHENTICATED, "not that of node west-2", self.node_id("west-2"), own),
                (Status.PERMISSION_DENIED, "no such Node", self.node_id("west-3"), own),
                (Status.PERMISSION_DENIED, "a node's own identity only", self.web.spiffe_id, own),
                (Status.PERMISSION_DENIED, "a node's own identity only", "spiffe://west.example/isthmus/control", own),
                (Status.PERMISSION_DENIED, "another trust domain", "spiffe://east.example/isthmus/node/west-1", own)):
            with self.subTest(identity=identity, token=token):
                self.refused(status, why, channel, identity, token)

    def test_a_malformed_request_is_an_invalid_argument(self):
        channel, own = self.channel(None), self.token(self.node)
        _, csr = make_csr(self.node_id("west-1"))
        lines = csr.splitlines()
        lines[-2] = ("B" if lines[-2][0] == "A" else "A") + lines[-2][1:]  # the signature is of something else now
        for name, options in {"no request": {"csr": "hello"}, "signature": {"csr": "\n".join(lines) + "\n"},
                              "another identity": {"csr": make_csr(self.node_id("west-2"))[1]},
                              "no identity": {"csr": nameless_csr()}}.items():
            with self.subTest(name):
                self.refused(Status.INVALID_ARGUMENT, "", channel, self.node_id("west-1"), own, **options)

    def test_a_node_has_certificates_for_its_own_pods_only(self):
        channel = self.channel(self.credentials)
        for identity in (self.web.spiffe_id, self.node_id("west-1")):
            _, chain = self.create(channel, identity)
            der = x509.load_pem_x509_certificate(chain[0].encode()).public_bytes(serialization.Encoding.DER)
            self.assertEqual(uris_of(der), [identity])
        for identity, why in (("spiffe://west.example/ns/shop/sa/db", "no pod in the mesh"),
                              ("spiffe://west.example/ns/outside/sa/loner", "no pod in the mesh"),
                              ("spiffe://west.example/ns/shop/sa/nobody", "no pod in the mesh"),
                              (self.node_id("west-2"), "its own identity and those of its pods"),
                              ("spiffe://west.example/isthmus/control", "its own identity and those of its pods"),
                              ("spiffe://east.example/ns/shop/sa/web", "another trust domain")):
            with self.subTest(identity=identity):
                self.refused(Status.PERMISSION_DENIED, why, channel, identity)
                # A token beside the certificate makes no difference.
                self.refused(Status.PERMISSION_DENIED, why, channel, identity, self.token(self.node))

    def test_a_refused_certificate_is_logged_with_who_asked_and_what_for(self):
        channel, identity = self.channel(self.credentials), "spiffe://west.example/ns/shop/sa/logged"

        def logged():  # more than twenty a second are left out, and other tests have been refused just before
            self.status_of(channel, identity)
            return [e for e in self.west.control.log() if e.get("wanted") == identity]

        event = wait_until("the event", logged, every_s=0.1)[0]
        self.assertEqual((event["level"], event["message"], event["who"]),
                         ("warn", "a certificate was refused", self.node_id("west-1")))
        self.assertIn("no pod in the mesh", event["why"])

    def test_a_pod_that_comes_and_goes_takes_its_certificates_along(self):
        channel, identity = self.channel(self.credentials), "spiffe://west.example/ns/shop/sa/guest"
        self.refused(Status.PERMISSION_DENIED, "no pod", channel, identity)
        guest = self.node.add_pod("guest", "shop", "guest")
        wait_until("a certificate for the guest", lambda: self.status_of(channel, identity) is Status.OK)
        guest.delete()
        wait_until("no certificate for it", lambda: self.status_of(channel, identity) is Status.PERMISSION_DENIED)

    def status_of(self, channel, identity):
        try:
            self.create(channel, identity)
            return Status.OK
        except grpc.RpcError as error:
            return error.code()

    def test_only_nodes_are_given_certificates(self):
        for identity, authority in ((self.web.spiffe_id, self.authority),
                                    ("spiffe://west.example/isthmus/node/ghost", self.authority),
                                    ("spiffe://east.example/isthmus/node/west-1", self.peers),
                                    ("spiffe://east.example/isthmus/control", self.peers)):
            with self.subTest(identity=identity):
                self.refused(Status.PERMISSION_DENIED, "", self.channel(authority.issue(identity)),
                             self.web.spiffe_id)

    # ---- what a node is told ----

    def test_a_node_is_told_of_workloads_services_policies_and_roots(self):
        stream = self.stream()
        addresses = {r.name: self.pb["workload_pb2"].Address.FromString(r.resource.value)
                     for r in stream.subscribe(ADDRESS).resources}
        web = addresses["west//v1/Pod/shop/web"].workload
        self.assertEqual((web.namespace, web.service_account, web.trust_domain, web.node, web.cluster_id),
                         ("shop", "web", "west.example", "west-1", "west"))
        self.assertEqual([socket.inet_ntop(socket.AF_INET if len(a) == 4 else socket.AF_INET6, a)
                          for a in web.addresses], [self.web.v4, self.web.v6])
        self.assertEqual(web.tunnel_protocol, self.pb["workload_pb2"].HBONE)
        self.assertEqual(addresses["west//v1/Pod/outside/loner"].workload.tunnel_protocol, 0)
        till = addresses["shop/till.shop.svc.clusterset.local"].service
        self.assertEqual(sorted(len(a.address) for a in till.addresses), [4, 16])
        self.assertEqual([p.service_port for p in till.ports], [7000])
        db = addresses["west//v1/Pod/shop/db"].workload
        self.assertEqual([p.target_port for p in db.services["shop/till.shop.svc.clusterset.local"].ports], [7070])
        policy = self.pb["authorization_pb2"].Authorization.FromString(
            stream.subscribe(POLICY).resources[0].resource.value)
        self.assertEqual((policy.namespace, policy.name), ("shop", "only"))
        self.assertEqual(policy.rules[0].clauses[0].matches[0].principals[0].exact, "west.example/ns/shop/sa/web")
        self.check_roots(stream)
        self.assertEqual(stream.end(), Status.OK)

    def check_roots(self, stream):
        stream.subscribe(SECRET)
        stream.until("roots of both clusters", lambda: len(
            [name for name in stream.held if name.startswith("spiffe://")]) == 2)
        for cluster in (self.west, self.east):
            resource = stream.held[f"spiffe://{cluster.trust_domain}"]
            secret = self.pb["secret_pb2"].Secret.FromString(resource.resource.value)
            with open(cluster.root_path, "rb") as file:
                self.assertEqual(secret.validation_context.trusted_ca.inline_bytes.strip(), file.read().strip())

    def test_a_change_is_told_and_nothing_else(self):
        stream = self.stream()
        stream.subscribe(ADDRESS)
        self.assertTrue(stream.is_silent())
        extra = self.node.add_pod("extra", "shop", "web")
        name = "west//v1/Pod/shop/extra"
        taken = stream.until("the new pod", lambda: name in stream.held)
        self.assertEqual({r.name for response in taken for r in response.resources}, {name})
        extra.set_ready(False)
        self.assertEqual([r.name for r in stream.take().resources], [name])
        workload = self.pb["workload_pb2"].Address.FromString(stream.held[name].resource.value).workload
        self.assertEqual(workload.status, self.pb["workload_pb2"].UNHEALTHY)
        extra.delete()
        response = stream.take()
        self.assertEqual((list(response.resources), list(response.removed_resources)), ([], [name]))
        self.assertTrue(stream.is_silent())

    def test_a_refusal_is_survived_and_told(self):
        before = self.west.control.metrics()["isthmus_xds_nacks_total"]
        stream = self.stream(node_id="fussy")
        stream.say(type_url=ADDRESS)
        stream.take(error="not to my taste")
        event = wait_until("the event", lambda: [
            e for e in self.west.control.log() if "not to my taste" in e.get("why", "")])[-1]
        self.assertEqual((event["level"], event["node"]), ("warn", "fussy"))
        self.assertEqual(self.west.control.metrics()["isthmus_xds_nacks_total"], before + 1)

        def nacks():
            status = json.loads(http_get(self.west.control_namespace, ADMIN_PORT, "/status")[1])
            return [n["nacks"] for n in status["nodes"] if n["name"] == "west-1"]

        wait_until("its stream alone to be there, with one refusal", lambda: nacks() == [1])
        self.assertTrue(stream.is_silent())  # it is not sent again and again
        extra = self.node.add_pod("extra", "shop", "web")
        stream.until("the next change", lambda: "west//v1/Pod/shop/extra" in stream.held)
        extra.delete()
        stream.until("the one after", lambda: "west//v1/Pod/shop/extra" not in stream.held)

    def test_who_comes_back_is_told_what_differs(self):
        extra = self.node.add_pod("extra", "shop", "web")
        first = self.stream()
        first.subscribe(ADDRESS)
        first.until("the pod", lambda: "west//v1/Pod/shop/extra" in first.held)
        self.assertEqual(first.end(), Status.OK)
        extra.delete()
        other = self.node.add_pod("other", "shop", "web")
        second = self.stream()
        second.say(type_url=ADDRESS, initial_resource_versions=first.versions())
        second.until("the other pod", lambda: "west//v1/Pod/shop/other" in second.held)
        self.assertEqual(list(second.held), ["west//v1/Pod/shop/other"])
        other.delete()

    def test_versions_outlive_control(self):
        first = self.stream()
        first.subscribe(ADDRESS)
        first.until("what other tests left to go", lambda: not any(
            name.rpartition("/")[2] in ("extra", "other", "guest") for name in first.held))
        self.west.control.restart()
        self.assertEqual(first.end(), Status.UNAVAILABLE)
        second = self.stream()
        second.say(type_url=ADDRESS, initial_resource_versions=first.versions())
        self.assertTrue(second.is_silent(1))
        second.say(type_url=POLICY)
        self.assertEqual([r.name for r in second.take().resources], ["shop/only"])

    def test_broken_manifests_change_nothing(self):
        stream = self.stream()
        stream.subscribe(ADDRESS)
        path = os.path.join(self.west.manifests_dir, "broken.yaml")
        with open(path, "w", encoding="ascii") as file:
            file.write("apiVersion: v1\nkind: Pod\nmetadata: [")
        wait_until("control to say so", lambda: [e for e in self.west.control.log() if e["level"] == "error"
                                                 and "broken.yaml" in e.get("file", "")])
        self.assertTrue(stream.is_silent())
        os.unlink(path)
        extra = self.node.add_pod("extra", "shop", "web")
        stream.until("the next change", lambda: "west//v1/Pod/shop/extra" in stream.held)
        extra.delete()

    def test_two_streams_of_a_connection_are_told_alike(self):
        channel = self.channel(self.credentials)
        streams = [self.stream(channel) for _ in range(2)]
        for stream in streams:
            stream.subscribe(ADDRESS)
        extra = self.node.add_pod("extra", "shop", "web")
        for stream in streams:
            stream.until("the new pod", lambda stream=stream: "west//v1/Pod/shop/extra" in stream.held)
        self.assertEqual(streams[0].versions(), streams[1].versions())
        extra.delete()

    def test_names_and_types_that_do_not_exist(self):
        stream = self.stream()
        response = stream.subscribe(ADDRESS, resource_names_subscribe=["west//v1/Pod/shop/web", "no/such"])
        self.assertEqual([r.name for r in response.resources], ["west//v1/Pod/shop/web"])
        self.assertEqual(list(response.removed_resources), ["no/such"])
        response = stream.subscribe("type.googleapis.com/no.such.Type", resource_names_subscribe=["a"])
        self.assertEqual(list(response.removed_resources), ["a"])

    def test_a_message_that_is_none_ends_the_stream(self):
        stream = self.stream()
        stream.say_bytes(b"\xff\xff\xff")
        self.assertIsNone(stream.hear())
        self.assertEqual(stream.call.code(), Status.INVALID_ARGUMENT)

    def test_the_other_half_of_the_protocol_is_not_there(self):
        method = self.channel(self.credentials).unary_unary(WHOLE)
        with self.assertRaises(grpc.RpcError) as caught:
            method(b"", timeout=30)
        self.assertEqual(caught.exception.code(), Status.UNIMPLEMENTED)

    # ---- who is told what ----

    def ended(self, credentials, status, **options):
        stream = self.stream(self.channel(credentials, **options))
        stream.say(type_url=ADDRESS)
        self.assertIsNone(stream.hear(), "it was answered")
        self.assertEqual(stream.call.code(), status, stream.call.details())
        return stream

    def test_nobody_is_told_without_a_certificate(self):
        self.ended(None, Status.UNAUTHENTICATED)

    def test_neither_a_pod_nor_a_strange_node_is_told(self):
        for identity, authority in ((self.web.spiffe_id, self.authority),
                                    (self.node_id("ghost"), self.authority),
                                    (self.node_id("west-1") + "/x", self.authority),
                                    ("spiffe://west.example/isthmus/control", self.authority),
                                    ("spiffe://east.example/isthmus/node/west-1", self.peers),
                                    ("spiffe://east.example/ns/shop/sa/web", self.peers)):
            with self.subTest(identity=identity):
                self.ended(authority.issue(identity), Status.PERMISSION_DENIED)

    def test_who_proves_nothing_gets_no_connection(self):
        stranger = Authority.stranger(self.raised.folder, "west.example")
        for name, credentials in {
                "a stranger's root": stranger.issue(self.node_id("west-1")),
                "a peer's root": self.peers.issue(self.node_id("west-1")),
                "expired": self.authority.issue(self.node_id("west-1"), age_s=7200, life_s=-60),
                "two names": self.authority.issue(self.node_id("west-1"), self.node_id("west-2")),
                "a CA": self.authority.issue(self.node_id("west-1"), is_ca=True)}.items():
            with self.subTest(name):
                self.ended(credentials, Status.UNAVAILABLE)
        wait_until("it to be in the log", lambda: [
            e for e in self.west.control.log() if e["message"] == "a handshake at the control port failed"])

    def test_a_node_cannot_be_a_peer_and_a_peer_sees_only_exports(self):
        node = self.stream(node_id="spiffe://east.example/isthmus/control")
        node.subscribe(ADDRESS)
        self.assertIn("west//v1/Pod/shop/web", node.held)  # the certificate counts, not what is said
        peer = self.stream(self.channel(self.peers.issue("spiffe://east.example/isthmus/control")),
                           node_id="west-1")
        peer.subscribe(ADDRESS)
        self.assertEqual(sorted(peer.held), ["shop/till.shop.svc.clusterset.local", "west//v1/Pod/shop/db"])
        db = self.pb["workload_pb2"].Address.FromString(peer.held["west//v1/Pod/shop/db"].resource.value).workload
        self.assertEqual((db.node, list(db.authorization_policies)), ("", []))
        self.assertEqual(list(db.services), ["shop/till.shop.svc.clusterset.local"])
        self.assertEqual(list(peer.subscribe(POLICY).resources), [])
        self.assertEqual([r.name for r in peer.subscribe(SECRET).resources], ["spiffe://west.example"])

    def test_a_node_that_is_no_more_is_told_no_more(self):
        self.west.apply(manifests.node("west-7", ["10.1.0.107"]))
        credentials = self.authority.issue(self.node_id("west-7"))
        wait_until("the node to be known", lambda: self.is_told(credentials))
        stream = self.stream(self.channel(credentials))
        stream.subscribe(ADDRESS)
        self.west.remove("Node", "west-7")
        while stream.hear() is not None:
            pass
        self.assertFalse(self.is_told(credentials))

    def is_told(self, credentials):
        stream = self.stream(self.channel(credentials))
        stream.say(type_url=ADDRESS)
        return stream.hear() is not None


def nameless_csr():
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


if __name__ == "__main__":
    lab.main()
