#!/usr/bin/env python3
"""A client that shares none of our code speaks HBONE to the tunnel port of a node: python-h2 over Python's ssl.

The client stands in a pod outside the mesh, whose traffic nobody captures, and has certificates that were minted with
the clusters' own CA keys. It behaves as ztunnel does, and then as ztunnel never would.
"""

import signal
import socket
import ssl
import sys

import lab
import manifests
from process import LabTimeout, wait_until
from tcp_pattern import CHUNK, chunk
from town import TILL, TILL_POD_PORT, TILL_PORT, Story, await_address

try:
    import h2.errors
    from authority import TLS12, Authority, client_context, uris_of
    from hbone_peer import Peer, dial
except ModuleNotFoundError as missing:
    print("skipped:", missing)
    sys.exit(lab.EXIT_SKIPPED)

HANDSHAKES_FAILED = "isthmus_tls_handshakes_failed_total"
BIG_BYTES = 8 << 20


def pattern_bytes(seed, n_bytes):
    return b"".join(chunk(seed, i) for i in range(-(-n_bytes // CHUNK)))[:n_bytes]


def failures(metrics):
    """How many connections the node reports as failed, by all labels together."""
    return sum(value for series, value in metrics.items()
               if series.startswith("istio_tcp_connections_failed_total"))


class HboneClient(Story):
    @classmethod
    def build(cls, town):
        cls.node = town.east.nodes[0]
        town.east.add_namespace("outside", enrolled=False)
        cls.foreign = town.east.nodes[1].add_pod("foreign", "outside")
        cls.asker = town.add_client(town.east.nodes[1])
        cls.till = town.add_till(cls.node)
        town.add_service(town.east)
        town.east.apply(manifests.authorization_policy("only", "shop", manifests.allow_principals(
            [f"{cluster}.example/ns/shop/sa/buyer" for cluster in ("west", "east")])))
        cls.raised.start_mesh()
        await_address(cls.asker)
        town.await_endpoints(cls.node, 1)
        cls.east, cls.west = Authority.of(town.east), Authority.of(town.west)
        cls.buyer = cls.east.issue("spiffe://east.example/ns/shop/sa/buyer")
        cls.target = f"{cls.till.v4}:{TILL_POD_PORT}"
        # The till's SVID and the roots of the other cluster come when the node is ready already.
        for credentials in (cls.buyer, cls.west.issue("spiffe://west.example/ns/shop/sa/buyer")):
            wait_until("a tunnel", lambda credentials=credentials: cls.lets_in(credentials))

    @classmethod
    def lets_in(cls, credentials):
        try:
            cls.open(credentials).close()
            return True
        except (OSError, LabTimeout):
            return False

    @classmethod
    def open(cls, credentials, host=None, settings=None, **context):
        """A tunnel to the till, up to the server's SETTINGS: a TLS 1.3 client learns by reading that it is refused."""
        peer = Peer(dial(cls.foreign, host or cls.till.v4,
                         client_context(credentials, [cls.east.root_path], **context)), True, settings)
        peer.wait("SETTINGS", lambda: peer.remote_settings)
        return peer

    def tunnel(self, *arguments, **options):
        peer = self.open(*(arguments or (self.buyer,)), **options)
        self.addCleanup(peer.close)
        return peer

    def record(self, peer, error="", **wanted):
        """The last access record of a connection on a tunnel that is as wanted."""
        source = text_of_address(peer.local)
        return wait_until(f"the record of {source}, {error}, {wanted}", lambda: [
            r for r in self.node.access_log() if r.get("src.addr") == source and error in r.get("error", "")
            and all(r.get(k) == v for k, v in wanted.items())])[-1]

    # ---- what works ----

    def test_bytes_go_both_ways_after_200(self):
        peer = self.tunnel()
        stream = peer.connect(self.target)
        self.assertEqual(stream.status, "200")
        stream.send(b"echo\nhello")
        peer.wait("the echo", lambda: stream.data == b"hello")
        self.assertEqual(peer.exchange(stream, b", world"), b"hello, world")
        self.assertTrue(stream.has_ended, stream.reset)
        record = self.record(peer)
        self.assertEqual((record["why"], record["direction"]), ("ok", "inbound"))
        self.assertEqual(record["src.identity"], "spiffe://east.example/ns/shop/sa/buyer")
        self.assertEqual(record["dst.identity"], self.till.spiffe_id)
        self.assertEqual(record["dst.hbone_addr"], self.target)
        self.assertEqual((record["bytes_sent"], record["bytes_recv"]), (12, 17))

    def test_the_server_shows_the_identity_of_the_pod_and_speaks_h2_on_tls13(self):
        peer = self.tunnel()
        self.assertEqual(uris_of(peer.sock.getpeercert(True)), [self.till.spiffe_id])
        self.assertEqual((peer.sock.version(), peer.sock.selected_alpn_protocol()), ("TLSv1.3", "h2"))

    def test_the_clients_end_is_kept_apart_from_the_servers(self):
        peer = self.tunnel()
        stream = peer.connect(self.target)
        self.assertEqual(peer.exchange(stream, b"count\n" + b"x" * 12345), b"12345\n")

    def test_the_servers_end_is_kept_apart_from_the_clients(self):
        peer = self.tunnel()
        stream = peer.connect(self.target)
        stream.send(b"first_end\n")
        peer.wait("the server's end", lambda: stream.has_ended)
        self.assertEqual(bytes(stream.data), b"hello\n")
        stream.send(b"y" * 54321, end=True)
        peer.wait("all of it to leave", lambda: stream.is_sent)
        process = self.till.processes[-1]
        self.turn_until(peer, "the server to count", lambda: "first_end 54321" in process.out())

    def turn_until(self, peer, what, condition):
        def turned():
            peer.turn(0.02)
            return condition()

        return wait_until(what, turned)

    def test_big_bodies_go_both_ways_at_once_through_the_windows(self):
        for settings in (None, {}):  # ztunnel's, and the protocol's own: 64 KiB windows, 16 KiB frames
            with self.subTest(settings=settings):
                peer = self.tunnel(settings=settings)
                stream = peer.connect(self.target)
                stream.send(f"duplex 7 {BIG_BYTES}\n".encode())
                got = peer.exchange(stream, pattern_bytes(7, BIG_BYTES), 60)
                self.assertEqual(len(got), BIG_BYTES + 3)
                self.assertTrue(got == pattern_bytes(8, BIG_BYTES) + b"ok\n", "bytes differ")

    def test_a_reader_that_stops_holds_the_server_back_and_not_its_neighbours(self):
        peer = self.tunnel(settings={4: 100_000})
        slow, quick = peer.connect(self.target), peer.connect(self.target)
        peer.reads = False
        slow.send(b"source 3 4000000\n", end=True)
        peer.wait("the window of the slow one to fill", lambda: len(slow.data) == 100_000)
        peer.reads = True
        self.assertEqual(peer.exchange(quick, b"echo\nquick"), b"quick")
        self.assertEqual(len(slow.data), 100_000)
        peer.h2.acknowledge_received_data(100_000, slow.number)
        peer.wait("the rest", lambda: slow.is_over, 30)
        self.assertTrue(slow.data == pattern_bytes(3, 4_000_000), "bytes differ")

    def test_many_streams_share_a_tunnel(self):
        peer = self.tunnel()
        streams = [peer.connect(self.target) for _ in range(40)]
        for number, stream in enumerate(streams):
            stream.send(f"echo\nthis is {number}".encode(), end=True)
        peer.wait("all ends", lambda: all(stream.is_over for stream in streams))
        self.assertEqual([bytes(s.data).decode() for s in streams], [f"this is {n}" for n in range(40)])

    def test_a_reset_stream_takes_nothing_else_with_it(self):
        peer = self.tunnel()
        gone, left = peer.connect(self.target), peer.connect(self.target)
        gone.send(b"echo\nx")
        peer.wait("the echo", lambda: gone.data)
        gone.abort()
        self.assertEqual(peer.exchange(left, b"echo\nleft"), b"left")
        self.record(peer, why="client_reset")

    def test_ipv6(self):
        peer = self.tunnel(self.buyer, host=self.till.v6)
        stream = peer.connect(f"[{self.till.v6}]:{TILL_POD_PORT}")
        self.assertEqual(stream.status, "200")
        self.assertEqual(peer.exchange(stream, b"echo\nsix"), b"six")

    def test_a_service_may_be_named_in_place_of_the_address(self):
        peer = self.tunnel()
        for host in ("till.shop.svc.cluster.local", TILL):
            with self.subTest(host=host):
                stream = peer.connect(f"{host}:{TILL_PORT}")
                self.assertEqual(stream.status, "200")
                self.assertEqual(peer.exchange(stream, b"echo\nby name"), b"by name")
                self.record(peer, **{"dst.service": host, "dst.hbone_addr": self.target})

    def test_a_client_of_another_cluster_is_known_by_its_own_roots(self):
        peer = self.tunnel(self.west.issue("spiffe://west.example/ns/shop/sa/buyer"))
        self.assertEqual(peer.connect(self.target).status, "200")

    def test_headers_nobody_knows_are_passed_over(self):
        peer = self.tunnel()
        stream = peer.connect(self.target, ("istio-l7-policies-applied", "yes"), ("x-forwarded-network", "n1"),
                              ("forwarded", "by=_x;for=\"[2001:db8::1]:9\";proto=hbone"), ("baggage", "a,=,b=c=d,,"),
                              ("traceparent", "00-zz"))
        self.assertEqual(stream.status, "200")
        self.assertEqual(peer.exchange(stream, b"echo\nall the same"), b"all the same")

    def test_baggage_and_forwarded_tell_who_called_and_prove_nothing(self):
        peer = self.tunnel()
        stream = peer.connect(self.target, ("baggage", "k8s.cluster.name=moon,k8s.namespace.name=base,"
                                            "k8s.deployment.name=rover,service.name=drill,service.version=v7"),
                              ("forwarded", f'for="10.9.9.9:1234";host={TILL}'))
        peer.exchange(stream, b"who\n")
        record = self.record(peer)
        self.assertEqual((record["src.workload"], record["src.namespace"], record["src.cluster"]),
                         ("rover", "base", "moon"))
        self.assertEqual(record["src.identity"], "spiffe://east.example/ns/shop/sa/buyer")
        self.assertEqual(record["dst.service"], TILL)
        self.assertNotIn(b"10.9.9.9", stream.data)  # the address that is said is not the one that is used

    def test_a_ping_is_answered(self):
        self.tunnel().ping()

    # ---- what is refused with a status ----

    def refused(self, peer, status, why, stream, error=""):
        self.assertEqual(stream.status, status)
        peer.wait("the end", lambda: stream.is_over)
        self.assertEqual(bytes(stream.data), b"")
        return self.record(peer, error, why=why)

    def test_another_method_than_connect_is_a_bad_request(self):
        peer = self.tunnel()
        for method in ("GET", "POST", "OPTIONS"):
            with self.subTest(method=method):
                stream = peer.request([(":method", method), (":scheme", "https"), (":path", "/"),
                                       (":authority", self.target)], end=True)
                peer.wait("an answer", lambda: stream.status or stream.is_over)
                self.refused(peer, "400", "bad_method", stream, f"expected method CONNECT, got {method}")

    def test_an_authority_that_names_no_port_or_host_is_a_bad_request(self):
        peer = self.tunnel()
        for authority in (self.till.v4, f"{self.till.v4}:", f"{self.till.v4}:0", f"{self.till.v4}:65536",
                          f"{self.till.v4}:7070x", f"{self.till.v4}:-1", ":7070", "till", f"[{self.till.v6}:80",
                          f"{self.till.v6}:7070", "a" * 300 + ":80", "user@host:80"):
            with self.subTest(authority=authority):
                self.refused(peer, "400", "bad_authority", peer.connect(authority), f": {authority}")

    def test_the_address_of_somebody_else_is_a_bad_request(self):
        peer = self.tunnel()
        for authority in (f"{self.asker.v4}:{TILL_POD_PORT}", f"[{self.till.v6}]:{TILL_POD_PORT}",
                          f"127.0.0.1:{TILL_POD_PORT}", f"{self.node.v4}:{TILL_POD_PORT}"):
            with self.subTest(authority=authority):
                self.refused(peer, "400", "ip_mismatch", peer.connect(authority), authority)

    def test_an_identity_that_policy_denies_is_unauthorized(self):
        before = failures(self.node.proxy.metrics())
        peer = self.tunnel(self.east.issue("spiffe://east.example/ns/shop/sa/thief"))
        record = self.refused(peer, "401", "denied", peer.connect(self.target))
        self.assertEqual(record["error"],
                         "connection closed due to policy rejection: allow policies exist, but none allowed")
        self.assertEqual(record["src.identity"], "spiffe://east.example/ns/shop/sa/thief")
        self.assertGreater(failures(self.node.proxy.metrics()), before)

    def test_an_identity_without_namespace_is_a_stranger_to_the_policy(self):
        peer = self.tunnel(self.east.issue("spiffe://east.example/somebody"))
        self.refused(peer, "401", "denied", peer.connect(self.target))

    def test_what_cannot_be_reached_is_unavailable(self):
        peer = self.tunnel()
        for authority, why in ((f"{self.till.v4}:9", "refused"),
                               ("nobody.shop.svc.cluster.local:7000", "unknown_destination"),
                               (f"{TILL}:7001", "no_such_port"),
                               (f"{self.till.v4}:15008", "self_call"), (f"{self.till.v4}:15001", "self_call"),
                               (f"{self.till.v4}:15006", "self_call")):
            with self.subTest(authority=authority):
                self.refused(peer, "503", why, peer.connect(authority))
        self.assertEqual(peer.exchange(peer.connect(self.target), b"echo\nalive"), b"alive")

    # ---- who is refused at the door ----

    def told(self, source, why, error, before):
        """One event about that client, with the reason, and one more failed handshake."""
        event = wait_until(f"the event about {source}", lambda: [
            e for e in self.node.proxy.log() if e.get("src.addr") == source])[-1]
        self.assertEqual((event["why"], event["direction"]), (why, "inbound"), event)
        self.assertIn(error, event["error"])
        wait_until("the failure to be counted", lambda: self.handshakes_failed() == before + 1)

    def handshakes_failed(self):
        return self.node.proxy.metrics()[HANDSHAKES_FAILED]

    def refused_at_the_door(self, why, credentials, error="", **context):
        """A tunnel that does not come up: the client sees an alert, our log says why, and it is counted."""
        before = self.handshakes_failed()
        raw = self.foreign.connect(self.till.v4, 15008, 20)
        source = text_of_address(raw.getsockname())
        context = client_context(credentials, [self.east.root_path], **context)
        with self.assertRaises(OSError) as caught:
            with raw, context.wrap_socket(raw) as sock:
                while sock.recv(1000):  # with TLS 1.3 the client is done before the server has judged it
                    pass
                raise EOFError("an end without an alert")
        self.told(source, why, error, before)
        return caught.exception

    def test_refused_without_a_certificate(self):
        error = self.refused_at_the_door("tls_no_certificate", None)
        self.assertIn("CERTIFICATE REQUIRED", str(error).upper().replace("_", " "))

    def test_refused_with_a_certificate_of_a_trust_domain_nobody_knows(self):
        stranger = Authority.stranger(self.raised.folder, "stranger.example")
        self.refused_at_the_door("tls_trust_domain", stranger.issue("spiffe://stranger.example/ns/shop/sa/buyer"),
                                 "stranger.example")

    def test_refused_with_our_trust_domain_from_a_strangers_root(self):
        stranger = Authority.stranger(self.raised.folder, "east.example")
        error = self.refused_at_the_door("tls_chain", stranger.issue("spiffe://east.example/ns/shop/sa/buyer"))
        self.assertIn("UNKNOWN CA", str(error).upper().replace("_", " "))

    def test_refused_with_our_trust_domain_from_a_peers_root(self):
        self.refused_at_the_door("tls_chain", self.west.issue("spiffe://east.example/ns/shop/sa/buyer"))

    def test_refused_with_a_certificate_that_has_ended(self):
        self.refused_at_the_door("tls_chain", self.east.issue("spiffe://east.example/ns/shop/sa/buyer", age_s=7200,
                                                              life_s=-60), "expired")

    def test_refused_with_a_certificate_that_has_not_begun(self):
        self.refused_at_the_door("tls_chain", self.east.issue("spiffe://east.example/ns/shop/sa/buyer", age_s=-600),
                                 "not yet valid")

    def test_refused_with_a_certificate_of_a_ca(self):
        self.refused_at_the_door("tls_svid", self.east.issue("spiffe://east.example/ns/shop/sa/buyer", is_ca=True),
                                 "is a CA")

    def test_refused_with_two_names(self):
        self.refused_at_the_door("tls_svid", self.east.issue(
            "spiffe://east.example/ns/shop/sa/buyer", "spiffe://east.example/ns/shop/sa/admin"), "more than one URI")

    def test_refused_with_no_name(self):
        self.refused_at_the_door("tls_svid", self.east.issue(), "")

    def test_refused_with_the_name_of_a_trust_domain(self):
        self.refused_at_the_door("tls_svid", self.east.issue("spiffe://east.example"), "no path")

    def test_refused_with_a_name_of_another_scheme(self):
        self.refused_at_the_door("tls_svid", self.east.issue("https://east.example/ns/shop/sa/buyer"))

    def test_refused_with_tls12(self):
        self.refused_at_the_door("tls", self.buyer, versions=TLS12)

    def test_refused_with_http1_alone(self):
        error = self.refused_at_the_door("tls_alpn", self.buyer, alpn=("http/1.1",))
        self.assertIn("NO APPLICATION PROTOCOL", str(error).upper().replace("_", " "))

    def test_refused_without_alpn(self):
        self.refused_at_the_door("tls_alpn", self.buyer, alpn=())

    def test_refused_without_tls(self):
        before = self.handshakes_failed()
        with self.foreign.connect(self.till.v4, 15008, 20) as sock:
            source = text_of_address(sock.getsockname())
            sock.sendall(b"GET / HTTP/1.1\r\nHost: till\r\n\r\n")
            answer = read_to_end(sock)
        self.assertNotIn(b"HTTP", answer)
        self.told(source, "tls", "", before)

    def test_http1_inside_tls_ends_the_connection(self):
        sock = dial(self.foreign, self.till.v4, client_context(self.buyer, [self.east.root_path]))
        source = text_of_address(sock.getsockname())
        with sock:
            sock.sendall(b"CONNECT 10.2.1.10:7070 HTTP/1.1\r\nHost: till\r\n\r\n")
            read_to_end(sock)
        event = wait_until("the event", lambda: [e for e in self.node.proxy.log() if e.get("src.addr") == source])[-1]
        self.assertEqual(event["why"], "h2", event)

    def test_a_frame_larger_than_was_allowed_ends_the_connection(self):
        peer = self.tunnel()
        stream = peer.connect(self.target)
        n_bytes = peer.h2.max_outbound_frame_size + 1
        head = n_bytes.to_bytes(3, "big") + b"\0\0" + stream.number.to_bytes(4, "big")
        peer.sock.setblocking(True)
        try:
            peer.sock.sendall(head + b"z" * n_bytes)
        except OSError:
            pass  # it did not wait for all of it
        peer.sock.setblocking(False)
        self.assertRaises(LabTimeout, peer.wait, "the end", lambda: False)
        if peer.goaway:
            self.assertEqual(peer.goaway.error_code, h2.errors.ErrorCodes.FRAME_SIZE_ERROR)
        self.assertFalse(peer.is_alive)

    def test_what_others_send_through_a_node_to_our_port_numbers_is_left_alone(self):
        stranger = self.town.west.dns_namespace  # outside the mesh, beyond the client's node
        for port in (15001, 15006, 15008):
            with self.subTest(port=port), stranger.entered(), socket.create_server(("10.1.0.53", port)) as listener:
                listener.settimeout(20)
                with self.foreign.connect("10.1.0.53", port, 20) as client, listener.accept()[0] as server:
                    client.sendall(b"not for the mesh")
                    self.assertEqual(server.recv(100), b"not for the mesh")
                    server.sendall(b"nor back")
                    self.assertEqual(client.recv(100), b"nor back")

    def test_nobody_is_let_in_by_the_address_of_a_pod_outside_the_mesh(self):
        with self.assertRaises(OSError):
            dial(self.asker, self.foreign.v4, client_context(self.buyer, [self.east.root_path]))

    # ---- the end ----

    def test_z_draining_lets_the_streams_end_and_takes_no_new_ones(self):
        peer = self.tunnel()
        stream = peer.connect(self.target)
        stream.send(b"echo\nbefore")
        peer.wait("the echo", lambda: stream.data == b"before")
        self.node.proxy.process.signal(signal.SIGTERM)
        peer.wait("GOAWAY", lambda: peer.goaway)
        self.assertEqual(peer.goaway.error_code, h2.errors.ErrorCodes.NO_ERROR)
        stream.send(b" and after")
        peer.wait("the rest", lambda: stream.data == b"before and after")
        late = dial_is_refused(self.foreign, self.till.v4)
        self.assertTrue(late, "a draining node took a new connection")
        stream.end()
        peer.wait("the end", lambda: stream.is_over)
        self.assertEqual(bytes(stream.data), b"before and after")
        # The doors close when a tenth of the time is left, which a machine that stands still may need.
        self.assertTrue(stream.has_ended or "the drain time is over" in self.node.proxy.process.err())
        self.turn_until(peer, "the node to end", lambda: not self.node.proxy.process.is_running())
        self.assertEqual(self.node.proxy.process.wait(), 0)
        self.node.proxy.restart()


def text_of_address(address):
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_to_end(sock):
    """What comes until the other side ends or resets."""
    sock.settimeout(20)
    parts = []
    try:
        while data := sock.recv(4096):
            parts.append(data)
    except (ConnectionError, ssl.SSLError):
        pass
    return b"".join(parts)


def dial_is_refused(namespace, host):
    def refused():
        try:
            namespace.connect(host, 15008, 1).close()
            return False
        except OSError:
            return True

    return wait_until("a new connection to be refused", refused)


if __name__ == "__main__":
    lab.main()
