#!/usr/bin/env python3
"""Our client speaks HBONE to a server that shares none of our code: python-h2 over Python's ssl.

The server stands where a node of others would: manifests call its address a pod in the mesh, on a node that does not
run Isthmus. It behaves as ztunnel does, and then as ztunnel never would. What counts is what the calling application
sees, and the reason in our record.
"""

import errno
import os
import re
import socket
import sys
import threading
import types

import lab
import manifests
from net import Namespace, attach
from process import wait_until
from tcp_pattern import CHUNK, chunk
from town import TILL, TILL_POD_PORT, TILL_PORT, Story, await_address

try:
    import hyperframe.frame
    from h2.errors import ErrorCodes
    from h2.events import SettingsAcknowledged
    from h2.settings import SettingCodes, Settings
    from authority import TLS12, Authority, server_context, uris_of
    from hbone_peer import ZTUNNEL_SERVER, Server
except ModuleNotFoundError as missing:
    print("skipped:", missing)
    sys.exit(lab.EXIT_SKIPPED)

TIMEOUTS = {"handshake": "3s", "connect": "6s"}  # what a busy machine needs for a handshake in Python, too
BIG_BYTES = 6 << 20


class ForeignPod(Namespace):
    """A pod in the mesh by its manifests, on a node that is this test."""

    def __init__(self, cluster):
        super().__init__(f"{cluster.name}-foreign", os.path.join(cluster.folder, "foreign"))
        self.v4, self.v6 = f"10.{cluster.number}.9.10", f"fd00:{cluster.number}:9::10"
        self.pod_name, self.namespace, self.service_account = "foreign", "shop", "seller"
        self.labels, self.ready = {"app": "till"}, True
        self.node = types.SimpleNamespace(name=f"{cluster.name}-9", zone=f"{cluster.name}-a")
        attach(self, cluster.router, self.v4, self.v6)
        cluster.pods.append(self)
        cluster.apply(manifests.node(self.node.name, [f"10.{cluster.number}.0.109"], cluster.name, self.node.zone),
                      manifests.pod(self.pod_name, self.namespace, self.node.name, f"10.{cluster.number}.0.109",
                                    [self.v4, self.v6], self.service_account, self.labels))


def echo(peer):
    """What every stream gets: 200, its own bytes, its own end."""
    peer.on_request = lambda stream: stream.respond("200")
    peer.on_data = lambda stream, data: stream.send(data)
    peer.on_end = lambda stream: stream.end()


def answering(script):
    """An echo that has script(stream) in the place of the answer."""
    def prepare(peer):
        echo(peer)
        peer.on_request = script

    return prepare


class HboneServer(Story):
    n_nodes = 1

    @classmethod
    def build(cls, town):
        cls.node = town.west.nodes[0]
        cls.node.proxy.config["timeouts"] = TIMEOUTS
        cls.node.proxy.config["workers"] = 1  # each has tunnels of its own
        cls.buyer = town.add_client(cls.node, "client", "buyer")
        cls.foreign = ForeignPod(town.west)
        town.add_service(town.west)
        cls.raised.start_mesh()
        cls.vip = await_address(cls.buyer)
        town.await_endpoints(cls.node, 1)
        cls.west, cls.east = Authority.of(town.west), Authority.of(town.east)
        cls.trusted = [cls.west.root_path]
        wait_until("the roots of the other cluster", lambda: "east.example" in str(cls.node.proxy.ctl("certs")))
        cls.usual = server_context(cls.west.issue("spiffe://west.example/ns/shop/sa/seller"), cls.trusted)
        cls.server = Server(cls.foreign, cls.foreign.v4, cls.usual, echo)
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        wait_until("all tunnels to end", self.is_quiet)
        self.server.context, self.server.prepare, self.server.settings = self.usual, echo, None

    def is_quiet(self):
        self.server.hang_up()  # also those that were still in their handshake the last time
        return self.node.proxy.metrics()["isthmus_tunnels_open"] == 0

    # ---- the application ----

    def socket(self, host=None):
        """Not connected yet, with its address known: it is lost when the connection is reset."""
        host = host or self.foreign.v4
        self.n_old_records = len(self.node.access_log())  # port numbers come again
        with self.buyer.entered():
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.addCleanup(sock.close)
        sock.settimeout(30)
        sock.bind((self.buyer.v6 if ":" in host else self.buyer.v4, 0))
        return sock

    def app(self, host=None, port=TILL_POD_PORT):
        sock = self.socket(host)
        sock.connect((host or self.foreign.v4, port))
        return sock

    @staticmethod
    def receive(sock, n_bytes):
        data = b""
        while len(data) < n_bytes and (part := sock.recv(n_bytes - len(data))):
            data += part
        return data

    @staticmethod
    def to_the_end(sock):
        """What comes, and how it ends: "end" or "reset"."""
        parts = []
        try:
            while part := sock.recv(65536):
                parts.append(part)
            return b"".join(parts), "end"
        except ConnectionResetError:
            return b"".join(parts), "reset"

    def call(self, data=b"hello", host=None):
        """Sends, ends, and gives (what comes, how it ends, our record)."""
        sock = self.socket(host)
        source = sock.getsockname()
        try:
            sock.connect((host or self.foreign.v4, TILL_POD_PORT))
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            got, how = self.to_the_end(sock)
        except OSError as error:  # wherever in it the reset came
            if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                raise
            got, how = b"", "reset"
        sock.close()
        return got, how, self.record(source)

    def record(self, source):
        """Our record of the connection from there, once it has ended."""
        address = f"[{source[0]}]:{source[1]}" if ":" in source[0] else f"{source[0]}:{source[1]}"
        return wait_until(f"the record of {address}", lambda: [
            r for r in self.node.access_log()[self.n_old_records:] if r.get("src.addr") == address])[-1]

    def refused(self, why, error="", host=None):
        """The application sees a reset and no byte; our record says why."""
        got, how, record = self.call(host=host)
        self.assertEqual((got, how), (b"", "reset"))
        self.assertEqual((record["why"], record["direction"]), (why, "outbound"), record)
        self.assertIn(error, record["error"])
        return record

    def tunnels(self):
        """Those on which something was asked. Others may be left of a test before, that gave up in the handshake."""
        return [peer for peer in self.server.peers if peer.streams]

    def peer(self):
        return wait_until("the tunnel", self.tunnels)[0]

    def stream(self):
        return [*self.peer().streams.values()][0]

    # ---- what we say ----

    def test_the_handshake_is_that_of_ztunnel(self):
        self.assertEqual(self.call()[:2], (b"hello", "end"))
        sock, hello = self.peer().sock, self.server.hellos[-1]
        self.assertEqual(set(self.server.names), {None})  # no SNI
        self.assertIn(b"\0\x10\0\x05\0\x03\x02h2", hello)  # ALPN: h2 and nothing else
        self.assertNotIn(b"seller", hello)
        self.assertEqual((sock.version(), sock.selected_alpn_protocol()), ("TLSv1.3", "h2"))
        self.assertRegex(sock.cipher()[0], "TLS_AES_(128|256)_GCM")
        self.assertEqual(uris_of(sock.getpeercert(True)), [self.buyer.spiffe_id])

    def test_the_connect_is_that_of_ztunnel(self):
        sock = self.app()
        stream = self.stream()
        headers = stream.headers
        self.assertEqual([name for name, _ in stream.header_list],
                         [":method", ":authority", "baggage", "forwarded", "traceparent"])
        self.assertEqual(headers[":method"], "CONNECT")
        self.assertEqual(headers[":authority"], f"{self.foreign.v4}:{TILL_POD_PORT}")
        self.assertEqual(headers["forwarded"], 'for="%s:%d"' % sock.getsockname())
        self.assertRegex(headers["traceparent"], "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$")
        self.assertEqual(len(headers["traceparent"]), 55)
        baggage = dict(item.split("=") for item in headers["baggage"].split(","))
        self.assertEqual(baggage["k8s.cluster.name"], "west")
        self.assertEqual(baggage["k8s.namespace.name"], "shop")
        self.assertEqual((baggage["service.name"], baggage["service.version"]), ("client", "latest"))
        self.assertEqual([value for key, value in baggage.items()
                          if re.fullmatch(r"k8s\.(deployment|pod|job|cronjob)\.name", key)], ["client"])
        self.assertFalse(stream.has_ended)  # END_STREAM is not on the CONNECT
        self.assertEqual(self.peer().h2.remote_settings.enable_push, 0)

    def test_traces_differ(self):
        self.call(), self.call()
        first, second = (s.headers["traceparent"] for s in self.peer().streams.values())
        self.assertNotEqual(first, second)

    def test_a_service_is_named_in_forwarded_and_the_pod_in_the_authority(self):
        sock = self.app(self.vip, TILL_PORT)
        headers = self.stream().headers
        self.assertEqual(headers[":authority"], f"{self.foreign.v4}:{TILL_POD_PORT}")
        self.assertEqual(headers["forwarded"], 'for="%s:%d";host=' % sock.getsockname() + TILL)
        sock.sendall(b"hello")
        self.assertEqual(self.receive(sock, 5), b"hello")

    def test_ipv6_stands_in_brackets(self):
        server = Server(self.foreign, self.foreign.v6, self.usual, echo)
        self.addCleanup(server.close)
        with self.app(self.foreign.v6) as sock:
            headers = wait_until("the stream", lambda: server.peers and server.peers[0].streams)[1].headers
            self.assertEqual(headers[":authority"], f"[{self.foreign.v6}]:{TILL_POD_PORT}")
            self.assertEqual(headers["forwarded"], 'for="[%s]:%d"' % sock.getsockname()[:2])
            sock.sendall(b"six")
            self.assertEqual(self.receive(sock, 3), b"six")

    def test_calls_share_a_tunnel(self):
        for _ in range(5):
            self.assertEqual(self.call()[:2], (b"hello", "end"))
        self.assertEqual((len(self.tunnels()), len(self.peer().streams)), (1, 5))

    # ---- what a server may do ----

    def test_nothing_is_sent_before_the_200(self):
        self.server.prepare = answering(lambda stream: None)
        sock = self.app()
        sock.sendall(b"early bird")
        stream = self.stream()
        self.assertRaises(TimeoutError, self.receive, with_timeout(sock, 0.5), 1)
        self.assertEqual(bytes(stream.data), b"")
        stream.peer.do(lambda: stream.respond("200"))
        self.assertEqual(self.receive(with_timeout(sock, 30), 10), b"early bird")

    def test_each_direction_ends_by_itself(self):
        self.server.prepare = self.first_end
        sock = self.app()
        self.assertEqual(self.to_the_end(sock), (b"bye", "end"))
        sock.sendall(b"still here")
        sock.shutdown(socket.SHUT_WR)
        stream = self.stream()
        wait_until("the rest", lambda: stream.has_ended)
        self.assertEqual(bytes(stream.data), b"still here")
        self.assertEqual(self.record(sock.getsockname())["why"], "ok")

    @staticmethod
    def first_end(peer):
        def answer(stream):
            stream.respond("200")
            stream.send(b"bye", end=True)

        peer.on_request = answer

    def test_an_answer_that_ends_at_once_is_an_end_and_no_reset(self):
        self.server.prepare = answering(lambda stream: stream.respond("200", end=True))
        got, how, record = self.call()
        self.assertEqual((got, how, record["why"]), (b"", "end", "ok"))

    def test_big_bodies_in_big_frames(self):
        self.server.prepare = echo
        sent = b"".join(chunk(5, i) for i in range(BIG_BYTES // CHUNK))
        self.assertEqual(self.echoed(sent), sent)
        stream = self.stream()
        self.assertLessEqual(stream.largest_frame, ZTUNNEL_SERVER[SettingCodes.MAX_FRAME_SIZE])
        self.assertLessEqual(stream.peer.h2.max_outbound_frame_size, 1 << 20)

    def echoed(self, data):
        sock = self.app()
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        got, how = self.to_the_end(sock)
        sender.join()
        self.assertEqual(how, "end")
        return got

    def test_windows_of_a_byte(self):
        self.server.settings = {**ZTUNNEL_SERVER, SettingCodes.INITIAL_WINDOW_SIZE: 1}
        self.server.prepare = self.stingy
        self.assertEqual(self.echoed(b"a byte at a time" * 20), b"a byte at a time" * 20)
        self.assertEqual(self.stream().largest_frame, 1)

    @staticmethod
    def stingy(peer):
        echo(peer)
        peer.grants_bytes = 1

    def test_two_streams_a_tunnel(self):
        self.server.settings = {**ZTUNNEL_SERVER, SettingCodes.MAX_CONCURRENT_STREAMS: 2}
        self.server.prepare = self.prepare_two_streams
        socks = [self.app() for _ in range(7)]
        for number, sock in enumerate(socks):
            sock.sendall(b"%d" % number)
        self.assertEqual([self.receive(sock, 1) for sock in socks], [b"%d" % n for n in range(7)])
        self.assertEqual(sorted(sum(not s.is_over for s in peer.streams.values()) for peer in self.tunnels()),
                         [1, 2, 2, 2])
        self.assertFalse([peer for peer in self.tunnels() if peer.was_overrun])

    @staticmethod
    def prepare_two_streams(peer):
        """Refuses the streams beyond two. Only those may come that left before our limit was known."""
        echo(peer)
        peer.was_overrun = False
        # What was announced stays; python-h2 itself would end the connection.
        peer.h2.local_settings = Settings(client=False, initial_values={
            **ZTUNNEL_SERVER, SettingCodes.MAX_CONCURRENT_STREAMS: 1000})

        def answer(stream):
            if sum(not s.is_over for s in peer.streams.values()) <= 2:
                stream.respond("200")
                return
            peer.was_overrun |= any(isinstance(event, SettingsAcknowledged) for event in peer.events)
            stream.abort(ErrorCodes.REFUSED_STREAM)
            stream.reset = ErrorCodes.REFUSED_STREAM

        peer.on_request = answer

    def test_interim_answers_are_passed_over(self):
        def script(stream):
            stream.peer.h2.send_headers(stream.number, [(":status", "103"), ("link", "</>")])
            stream.respond("200", baggage="k8s.cluster.name=west")

        self.server.prepare = answering(script)
        self.assertEqual(self.call()[:2], (b"hello", "end"))

    def test_a_ping_of_the_server_is_answered(self):
        sock = self.app()
        peer = self.stream().peer
        peer.do(lambda: peer.h2.ping(b"interop!"))
        wait_until("the answer", lambda: peer.n_pings_answered)
        sock.sendall(b"hello")
        self.assertEqual(self.receive(sock, 5), b"hello")

    # ---- refusals ----

    def test_each_status_has_its_reason(self):
        for status, why, error in (("503", "tunnel_unavailable", "503 Service Unavailable"),
                                   ("401", "tunnel_denied", "401 Unauthorized"),
                                   ("400", "tunnel_bad_request", "400 Bad Request"),
                                   ("500", "tunnel_status", "500"), ("204", "tunnel_status", "204"),
                                   ("302", "tunnel_status", "302")):
            with self.subTest(status=status):
                self.setUp()
                self.server.prepare = answering(lambda stream, status=status: stream.respond(status, end=True))
                self.refused(why, error)
                self.assertEqual(len(self.peer().streams), 1)  # a refusal is not asked for again

    def test_a_refusal_with_a_body_is_one_as_well(self):
        def script(stream):
            stream.respond("503")
            stream.send(b"sorry", end=True)

        self.server.prepare = answering(script)
        self.refused("tunnel_unavailable")

    def test_a_refused_stream_is_tried_again(self):
        refusals = iter([True, True, False])
        self.server.prepare = answering(
            lambda stream: stream.abort(ErrorCodes.REFUSED_STREAM) if next(refusals) else stream.respond("200"))
        got, how, record = self.call()
        self.assertEqual((got, how, record["why"]), (b"hello", "end", "ok"))
        self.assertEqual(record["attempts"], 3)

    def test_a_stream_that_is_always_refused_ends(self):
        self.server.prepare = answering(lambda stream: stream.abort(ErrorCodes.REFUSED_STREAM))
        record = self.refused("h2_refused")
        self.assertEqual(record["attempts"], sum(len(peer.streams) for peer in self.tunnels()))

    def test_a_reset_in_the_place_of_an_answer(self):
        for code in (ErrorCodes.INTERNAL_ERROR, ErrorCodes.CANCEL):
            with self.subTest(code=code):
                self.setUp()
                self.server.prepare = answering(lambda stream, code=code: stream.abort(code))
                self.refused("reset")

    def test_a_reset_in_mid_flight_is_a_reset_for_the_application(self):
        sock = self.app()
        source = sock.getsockname()
        sock.sendall(b"hello")
        self.assertEqual(self.receive(sock, 5), b"hello")
        stream = self.stream()
        stream.peer.do(lambda: stream.abort(ErrorCodes.INTERNAL_ERROR))
        self.assertEqual(self.to_the_end(sock), (b"", "reset"))
        self.assertEqual(self.record(source)["why"], "upstream_reset")

    def test_a_tunnel_that_breaks_is_a_reset_for_the_application_and_no_end(self):
        sock = self.app()
        source = sock.getsockname()
        sock.sendall(b"hello")
        self.assertEqual(self.receive(sock, 5), b"hello")
        peer = self.peer()
        peer.do(peer.die)
        self.assertEqual(self.to_the_end(sock), (b"", "reset"))
        self.assertEqual(self.record(source)["why"], "upstream_reset")
        self.assertEqual(self.call()[:2], (b"hello", "end"))  # on another tunnel

    def test_goaway_lets_streams_end_and_has_new_ones_on_another_tunnel(self):
        old = self.app()
        old.sendall(b"old")
        self.assertEqual(self.receive(old, 3), b"old")
        peer, stream = self.peer(), self.stream()
        peer.do(lambda: peer.say_goaway(stream.number))
        self.await_news(peer)
        self.assertEqual(self.call()[:2], (b"hello", "end"))
        self.assertEqual((len(self.tunnels()), len(peer.streams)), (2, 1))
        old.sendall(b" and new")
        old.shutdown(socket.SHUT_WR)
        self.assertEqual(self.to_the_end(old), (b" and new", "end"))
        wait_until("the old tunnel to be closed", lambda: not peer.is_alive)

    @staticmethod
    def await_news(peer):
        """Until the other side has handled what was said before."""
        before = peer.n_pings_answered
        peer.do(lambda: peer.h2.ping(b"are read"))
        wait_until("the answer to a PING", lambda: peer.n_pings_answered > before)

    def test_goaway_before_the_answer_has_the_call_on_another_tunnel(self):
        answers = iter([lambda stream: stream.peer.say_goaway(0), lambda stream: stream.respond("200")])
        self.server.prepare = answering(lambda stream: next(answers)(stream))
        got, how, record = self.call()
        self.assertEqual((got, how, record["why"]), (b"hello", "end", "ok"))
        self.assertEqual((len(self.tunnels()), record["attempts"]), (2, 2))

    def test_a_call_without_an_answer_ends_in_time_and_holds_up_no_other(self):
        """The pod behind the server is slow; the server itself is well, and so is the tunnel."""
        answers = iter([lambda stream: None, lambda stream: stream.respond("200")])
        self.server.prepare = answering(lambda stream: next(answers)(stream))
        self.refused("connect_timeout")
        self.assertEqual(self.call()[:2], (b"hello", "end"))
        self.assertEqual((len(self.tunnels()), len(self.peer().streams)), (1, 2))

    def test_calls_leave_a_tunnel_whose_server_has_frozen(self):
        self.assertEqual(self.call()[:2], (b"hello", "end"))
        peer, is_frozen, thaws = self.peer(), threading.Event(), threading.Event()
        self.addCleanup(thaws.set)
        peer.do(lambda: (is_frozen.set(), thaws.wait(60)))
        is_frozen.wait(30)
        self.refused("connect_timeout")
        self.assertEqual(self.call()[:2], (b"hello", "end"))
        self.assertEqual(len(self.tunnels()), 2)

    def test_a_frame_larger_than_we_allow_ends_the_tunnel(self):
        sock = self.app()
        stream = self.stream()
        size = stream.peer.h2.max_outbound_frame_size + 1
        stream.peer.do(lambda: stream.peer.say_raw(hyperframe.frame.DataFrame(stream.number, b"z" * size)))
        self.assertEqual(self.to_the_end(sock), (b"", "reset"))
        wait_until("the tunnel to end", lambda: not stream.peer.is_alive)
        self.assertEqual(stream.peer.goaway.error_code, ErrorCodes.FRAME_SIZE_ERROR)

    def test_nobody_listens(self):
        self.refused("refused", host=self.foreign.v6)

    def test_a_server_that_says_nothing_in_the_handshake(self):
        with self.foreign.entered():
            silent = socket.create_server((self.foreign.v6, 15008), family=socket.AF_INET6)
        with silent:
            self.refused("handshake_timeout", host=self.foreign.v6)

    # ---- whom we do not trust ----

    def distrusted(self, why, credentials, error="", roots=None, **options):
        self.server.context = server_context(credentials, roots or self.trusted, **options)
        record = self.refused(why, error)
        self.assertEqual(self.tunnels(), [])  # nothing was asked
        return record

    def test_the_identity_of_somebody_else(self):
        self.distrusted("tls_identity", self.west.issue("spiffe://west.example/ns/shop/sa/buyer"),
                        "it is spiffe://west.example/ns/shop/sa/buyer, expected was "
                        "spiffe://west.example/ns/shop/sa/seller")
        self.assertTrue(wait_until("the server to hear of it", lambda: self.server.failures or [
            peer.error for peer in self.server.peers if peer.error]))

    def test_the_same_name_in_another_trust_domain(self):
        self.distrusted("tls_identity", self.east.issue("spiffe://east.example/ns/shop/sa/seller"))

    def test_the_right_name_from_a_peers_root(self):
        self.distrusted("tls_chain", self.east.issue("spiffe://west.example/ns/shop/sa/seller"))

    def test_the_right_name_from_a_strangers_root(self):
        stranger = Authority.stranger(self.raised.folder, "west.example")
        self.distrusted("tls_chain", stranger.issue("spiffe://west.example/ns/shop/sa/seller"))

    def test_a_trust_domain_nobody_knows(self):
        stranger = Authority.stranger(self.raised.folder, "stranger.example")
        self.distrusted("tls_trust_domain", stranger.issue("spiffe://stranger.example/ns/shop/sa/seller"))

    def test_a_certificate_that_has_ended(self):
        self.distrusted("tls_chain", self.west.issue("spiffe://west.example/ns/shop/sa/seller", age_s=7200,
                                                     life_s=-60), "expired")

    def test_two_names(self):
        self.distrusted("tls_svid", self.west.issue("spiffe://west.example/ns/shop/sa/seller",
                                                    "spiffe://west.example/ns/shop/sa/other"))

    def test_tls12(self):
        self.distrusted("tls", self.west.issue("spiffe://west.example/ns/shop/sa/seller"), versions=TLS12)

    def test_no_h2(self):
        for alpn in ((), ("http/1.1",)):
            with self.subTest(alpn=alpn):
                self.setUp()
                self.distrusted("tls_alpn", self.west.issue("spiffe://west.example/ns/shop/sa/seller"), alpn=alpn)

    def test_a_server_that_does_not_trust_us(self):
        self.server.context = server_context(self.west.issue("spiffe://west.example/ns/shop/sa/seller"),
                                             [self.east.root_path])
        got, how, record = self.call()
        self.assertEqual((got, how), (b"", "reset"))
        # Its alert comes after our handshake, and is lost when it closes before it has read what we said meanwhile.
        self.assertIn(record["why"], ("tls", "reset"))


def with_timeout(sock, timeout_s):
    sock.settimeout(timeout_s)
    return sock


if __name__ == "__main__":
    lab.main()
