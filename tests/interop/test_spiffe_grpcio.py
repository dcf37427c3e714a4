#!/usr/bin/env python3
"""Our clients of the SPIFFE Workload and Broker APIs, against servers by gRPC C-core and protobuf by hand.

    test_spiffe_grpcio.py <spiffe_node>

Each test is named after the item of docs/conformance-spiffe.md that it holds. Exits 77 (skipped) where grpcio or
cryptography are missing.
"""
import os
import queue
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

SKIPPED = 77
NODE = "spiffe://west.example/isthmus/node/n1"
AGENT = "spiffe://west.example/spire/agent"
CART = "spiffe://west.example/ns/shop/sa/cart"
POD_1 = CART + " west//v1/Pod/shop/cart-1"
POD_2 = CART + " west//v1/Pod/shop/cart-2"

try:
    import grpc
    from spiffe_server import (Authority, broker_server, fields, fresh, response, svid_message, workload_server)
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(SKIPPED)


def check(holds, what):
    if not holds:
        raise AssertionError(what)


class Node:
    """The driver, and the lines it prints."""

    def __init__(self, workload_api, *broker):
        self.process = subprocess.Popen([BINARY, workload_api, NODE, *broker], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.lines = queue.Queue()
        self.seen = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self, start, timeout=40):
        """The next line that begins so; others are passed over."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                line = self.lines.get(timeout=max(left, 0.01))
            except queue.Empty:
                raise AssertionError("no line %r; there were: %s" % (start, "; ".join(self.seen[-8:]))) from None
            self.seen.append(line)
            if line.startswith(start):
                return line

    def quiet(self, start, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                line = self.lines.get(timeout=0.05)
            except queue.Empty:
                continue
            self.seen.append(line)
            check(not line.startswith(start), "a line that should not be: " + line)

    def stop(self):
        self.process.stdin.close()
        status = self.process.wait(timeout=60)
        check(status == 0, "the driver ended with %d" % status)


class Bench:
    """A Workload API, with what a test needs beside it."""

    def __init__(self, folder, broker=None):
        self.path = os.path.join(folder, "api.sock")
        self.authority = Authority("west.example")
        self.east = Authority("east.example")
        self.server = workload_server("unix:" + self.path)
        self.node = None
        self.broker = None
        if broker is not None:
            self.broker_path = os.path.join(folder, "broker.sock")
            address = broker or "unix:" + self.broker_path
            self.broker = broker_server(address, self.authority, AGENT)

    def start(self, *broker):
        self.node = Node("unix://" + self.path, *broker)
        return self.server.call()

    def start_broker(self, expected=AGENT, address=None):
        """A node with its own SVID, and a connection to the Broker API."""
        call = self.start(address or "unix://" + self.broker_path, expected)
        message, serial = fresh(self.authority, NODE)
        call.say(message)
        self.node.line("svid %s %s" % (NODE, serial))
        return call

    def stop(self):
        if self.node:
            self.node.stop()
        self.server.stop()
        if self.broker:
            self.broker.stop()


# ---- the Workload API ----

def test_w1_every_call_says_workload_spiffe_io_true(bench):
    call = bench.start()
    check(call.metadata.get("workload.spiffe.io") == "true", call.metadata)
    check(call.request == b"", "the request is an empty message")


def test_w2_the_address_may_be_tcp(bench):
    server = workload_server("127.0.0.1:0")
    bench.node = Node("tcp://127.0.0.1:%d" % server.port)
    message, serial = fresh(bench.authority, NODE)
    server.call().say(message)
    bench.node.line("svid %s %s" % (NODE, serial))
    server.stop()


def test_w4_bundles_come_with_the_svid_and_federated_ones_are_trusted(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE, federated=[("spiffe://east.example", bench.east.der())])[0])
    check(bench.node.line("trust") == "trust west.example=1 east.example=1 crls=0", bench.node.seen)


def test_w5_intermediates_and_roots_stand_behind_one_another(bench):
    call = bench.start()
    cert, key = bench.authority.issue(NODE)
    both = bench.authority.der() + bench.east.der()
    call.say(response(svid_message(NODE, cert, key, both)))
    check("west.example=2" in bench.node.line("trust"), bench.node.seen)
    bench.node.line("svid " + NODE)


def test_w6_what_a_message_leaves_out_is_taken_back(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE, federated=[("spiffe://east.example", bench.east.der())])[0])
    bench.node.line("svid " + NODE)
    call.say(fresh(bench.authority, CART)[0])
    check("east.example" not in bench.node.line("trust"), "the federated bundle is gone")
    check("not this identity" in bench.node.line("failed " + NODE), bench.node.seen)
    bench.node.line("gone " + NODE)


def test_w7_a_message_without_crls_takes_the_crls_back(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE, crls=[b"one", b"two"])[0])
    check("crls=2" in bench.node.line("trust"), bench.node.seen)
    call.say(fresh(bench.authority, NODE)[0])
    check("crls=0" in bench.node.line("trust"), bench.node.seen)


def test_w8_a_message_that_is_not_whole_is_told_and_the_one_before_stays(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE)[0])
    bench.node.line("svid " + NODE)
    cert, key = bench.authority.issue(NODE)
    call.say(response(svid_message(NODE, cert, key, b"")))
    check("mandatory field is absent" in bench.node.line("failed " + NODE), bench.node.seen)
    message, serial = fresh(bench.authority, NODE)
    call.say(message)
    bench.node.line("svid %s %s" % (NODE, serial))
    check(not any(line.startswith("gone") for line in bench.node.seen), "the SVID was dropped")


def test_w11_permission_denied_withdraws_the_svid_and_is_asked_again(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE)[0])
    bench.node.line("svid " + NODE)
    call.end(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    check(bench.node.line("trust") == "trust crls=0", "the bundles are withdrawn, too")
    bench.node.line("gone " + NODE)
    message, serial = fresh(bench.authority, NODE)
    bench.server.call().say(message)
    bench.node.line("svid %s %s" % (NODE, serial))


def test_w12_unavailable_is_asked_again_after_a_growing_rest(bench):
    call = bench.start()
    times = []
    for _ in range(3):
        before = time.monotonic()
        call.end(grpc.StatusCode.UNAVAILABLE, "starting")
        call = bench.server.call()
        times.append(time.monotonic() - before)
    check(0.4 < times[0] < 20 and 0.9 < times[1] < 20 and 1.4 < times[2] < 20, times)
    call.say(fresh(bench.authority, NODE)[0])
    bench.node.line("svid " + NODE)


def test_w13_invalid_argument_and_unimplemented_are_not_asked_again(bench):
    call = bench.start()
    call.end(grpc.StatusCode.INVALID_ARGUMENT, "a fault of the client's")
    check("INVALID_ARGUMENT" in bench.node.line("failed " + NODE), bench.node.seen)
    bench.server.no_call(4)
    bench.node.stop()
    call = bench.start()
    call.end(grpc.StatusCode.UNIMPLEMENTED, "no such thing")
    bench.node.line("failed " + NODE)
    bench.server.no_call(4)


def test_w14_a_call_that_ends_is_made_again_at_once_and_the_svid_stays(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE)[0])
    bench.node.line("svid " + NODE)
    took_s = []
    for _ in range(5):  # the machine may be busy, but not always
        before = time.monotonic()
        call.end()
        call = bench.server.call()
        took_s.append(time.monotonic() - before)
        call.say(fresh(bench.authority, NODE)[0])
        bench.node.line("svid " + NODE)
        if took_s[-1] < 0.9:
            break
        time.sleep(1.5)  # at once is what it does once a second
    check(min(took_s) < 0.9, "it rested: %s" % took_s)
    bench.server.stop()
    os.path.exists(bench.path) and os.unlink(bench.path)
    bench.node.line("failed " + NODE)
    bench.server = workload_server("unix:" + bench.path)
    bench.server.call(timeout=60).say(fresh(bench.authority, NODE)[0])
    bench.node.line("svid " + NODE)
    check(not any(line.startswith("gone") for line in bench.node.seen), "the SVID was dropped")


def test_w15_the_first_answer_is_used_at_once(bench):
    call = bench.start()
    before = time.monotonic()
    call.say(fresh(bench.authority, NODE)[0])
    bench.node.line("svid " + NODE)
    check(time.monotonic() - before < 15, "it waited")


def test_w17_a_certificate_of_another_identity_is_refused(bench):
    call = bench.start()
    cert, key = bench.authority.issue(CART)
    call.say(response(svid_message(NODE, cert, key, bench.authority.der())))
    check("names another identity" in bench.node.line("failed " + NODE), bench.node.seen)


def test_w18_a_federated_bundle_under_a_bad_key_harms_nobody(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE, federated=[("east.example", bench.east.der()),
                                                     ("spiffe://east.example", bench.east.der())])[0])
    check(bench.node.line("trust") == "trust west.example=1 east.example=1 crls=0", bench.node.seen)
    bench.node.line("svid " + NODE)


def test_w19_a_message_larger_than_4_mib_is_refused_and_a_large_one_in_pieces_is_read(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE, crls=[b"x" * (3 << 20)])[0])
    check("crls=1" in bench.node.line("trust"), "3 MiB, in many frames")
    bench.node.line("svid " + NODE)
    call.say(fresh(bench.authority, NODE, crls=[b"x" * (4 << 20)])[0])
    check("too large" in bench.node.line("failed " + NODE), bench.node.seen)
    bench.server.call().say(fresh(bench.authority, NODE)[0])
    bench.node.line("svid " + NODE)
    check(not any(line.startswith("gone") for line in bench.node.seen), "the SVID was dropped")


def h2_frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def until_request(peer):
    """Reads until the head of the first call is there."""
    got = b""
    while True:
        piece = peer.recv(65536)
        check(piece, "no call: %r" % got)
        got += piece
        frames = got[len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):]
        while len(frames) >= 9:
            size, kind = int.from_bytes(frames[:3], "big"), frames[3]
            if kind == 1 and len(frames) >= 9 + size:
                return
            frames = frames[9 + size:]


def test_w19_a_compressed_message_is_refused(bench):
    """C-core compresses nothing that is small, so this server is bytes by hand."""
    path = bench.path + ".raw"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        bench.node = Node("unix://" + path)
        peer, _ = listener.accept()
        with peer:
            peer.sendall(h2_frame(4, 0, 0))
            until_request(peer)
            # :status 200 (indexed 8), content-type application/grpc
            head = b"\x88\x40\x0ccontent-type\x10application/grpc"
            peer.sendall(h2_frame(1, 4, 1, head) + h2_frame(0, 0, 1, b"\x01\x00\x00\x00\x02hi"))
            check("compressed" in bench.node.line("failed " + NODE), bench.node.seen)


def test_r7_rotation_by_the_server_replaces_the_svid(bench):
    call = bench.start()
    for _ in range(3):
        message, serial = fresh(bench.authority, NODE, life_s=30)
        call.say(message)
        bench.node.line("svid %s %s" % (NODE, serial))


def hostile_socket(path, answers):
    """A listener at the path that treats the connections as told, one after another, and then is no more."""
    listener = socket.socket(socket.AF_UNIX)
    if os.path.exists(path):
        os.unlink(path)
    listener.bind(path)
    listener.listen()

    def serve():
        for answer in answers:
            connection, _ = listener.accept()
            if answer is not None:
                connection.sendall(answer)
            connection.close()  # what was not read makes it a reset
        listener.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_w_resets_and_nonsense_are_survived_and_the_svid_stays(bench):
    call = bench.start()
    message, serial = fresh(bench.authority, NODE)
    call.say(message)
    bench.node.line("svid %s %s" % (NODE, serial))
    bench.server.stop()
    settings = b"\0\0\0\4\0\0\0\0\0"
    thread = hostile_socket(bench.path, [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", settings + b"\xff" * 64, settings])
    thread.join(60)
    check(not thread.is_alive(), "it does not come back: %r" % bench.node.seen[-4:])
    check(not any(line.startswith("gone") for line in bench.node.seen), "the SVID was dropped")
    os.unlink(bench.path)
    bench.server = workload_server("unix:" + bench.path)
    message, serial = fresh(bench.authority, NODE)
    bench.server.call(timeout=60).say(message)
    bench.node.line("svid %s %s" % (NODE, serial))


def test_w8_an_empty_list_is_told_and_the_svid_stays(bench):
    call = bench.start()
    call.say(fresh(bench.authority, NODE)[0])
    bench.node.line("svid " + NODE)
    call.say(response())
    check("holds no SVID" in bench.node.line("failed " + NODE), bench.node.seen)
    bench.node.quiet("gone", 0.3)


# ---- the Broker API ----

def answer(bench, key, spiffe_id=CART, life_s=3600):
    call = bench.broker.call()
    message, serial = fresh(bench.authority, spiffe_id, life_s)
    call.say(message)
    if spiffe_id == CART:
        bench.node.line("svid %s %s" % (key, serial))
    return call


def pod_of(call):
    """Type URL, plural, group, namespace, name and uid, where it is there, of the one reference."""
    reference = fields(fields(fields(call.request)[1][0])[1][0])
    thing = fields(reference[2][0])
    kind, key = fields(thing[1][0]), fields(thing[2][0])
    return tuple(part.decode() for part in
                 (reference[1][0], kind[1][0], kind[2][0], key[1][0], key[2][0], *thing.get(3, [])))


def test_k1_k2_k6_k7_a_call_names_its_pod_and_says_broker_spiffe_io_true(bench):
    bench.start_broker()
    bench.node.tell("want " + POD_1)
    call = answer(bench, POD_1)
    check(call.metadata.get("broker.spiffe.io") == "true", call.metadata)
    check(pod_of(call) == ("type.googleapis.com/spiffe.broker.KubernetesObjectReference", "pods", "core", "shop",
                           "cart-1"), pod_of(call))


def test_k7_the_uid_goes_along_and_a_pod_made_anew_is_asked_for_anew(bench):
    bench.start_broker()
    bench.node.tell("want " + POD_1 + " u-1")
    first = answer(bench, POD_1 + " u-1")
    check(pod_of(first)[3:] == ("shop", "cart-1", "u-1"), pod_of(first))
    bench.node.tell("want " + POD_1 + " u-2")
    bench.node.tell("unwant " + POD_1 + " u-1")
    second = answer(bench, POD_1 + " u-2")
    check(pod_of(second)[3:] == ("shop", "cart-1", "u-2"), pod_of(second))
    check(first.gone.wait(30), "the call for the pod that is gone goes on")


def test_k3_the_client_shows_its_own_svid(bench):
    bench.start_broker()
    bench.node.tell("want " + POD_1)
    call = answer(bench, POD_1)
    names = call.context.auth_context().get("x509_subject_alternative_name", [])
    check(NODE.encode() in names or NODE.encode() in call.peer_ids, (names, call.peer_ids))


def test_k3_a_server_of_another_identity_gets_no_call(bench):
    bench.start_broker(expected="spiffe://west.example/spire/server")
    bench.node.tell("want " + POD_1)
    check("expected was spiffe://west.example/spire/server" in bench.node.line("failed " + POD_1 + " the Broker API "
                                                                               "cannot be reached"), bench.node.seen)
    bench.broker.no_call(1)


def test_k4_over_tcp_by_address_and_by_name(bench):
    bench.start_broker(address="tcp://localhost:%d" % bench.broker.port)
    bench.node.tell("want " + POD_1)
    answer(bench, POD_1)


def test_k5_every_pod_has_a_call_and_an_svid_of_its_own(bench):
    bench.start_broker()
    serials = {}
    bench.node.tell("want " + POD_1)
    bench.node.tell("want " + POD_2)
    names = set()
    for _ in range(2):
        call = bench.broker.call()
        name = pod_of(call)[4]
        names.add(name)
        message, serials[name] = fresh(bench.authority, CART)
        call.say(message)
    check(names == {"cart-1", "cart-2"}, names)
    seen = {bench.node.line("svid " + CART) for _ in range(2)}
    found = {(line.split()[2].rsplit("/", 1)[1], line.split()[3]) for line in seen}
    check(found == set(serials.items()), (found, serials))


def test_k9_not_found_is_asked_again_and_invalid_argument_is_not(bench):
    bench.start_broker()
    bench.node.tell("want " + POD_1)
    bench.broker.call().end(grpc.StatusCode.NOT_FOUND, "WORKLOAD_NOT_FOUND")
    check("NOT_FOUND" in bench.node.line("failed " + POD_1 + " the Broker API: the call"), bench.node.seen)
    call = answer(bench, POD_1)
    call.end(grpc.StatusCode.INVALID_ARGUMENT, "WORKLOAD_REFERENCE_INVALID")
    bench.node.line("failed " + POD_1 + " the Broker API: the call ended with INVALID")
    bench.broker.no_call(4)


def test_k9_permission_denied_withdraws_the_svid_of_that_pod_alone(bench):
    bench.start_broker()
    bench.node.tell("want " + POD_1)
    first = answer(bench, POD_1)
    bench.node.tell("want " + POD_2)
    answer(bench, POD_2)
    first.end(grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ENTITLED")
    bench.node.line("gone " + POD_1)
    bench.node.quiet("gone " + POD_2, 0.5)
    answer(bench, POD_1)


def test_k9_unauthenticated_brings_a_new_connection_after_a_rest(bench):
    bench.start_broker()
    bench.node.tell("want " + POD_1)
    begun = time.monotonic()
    n_calls = 0
    while time.monotonic() - begun < 3 or n_calls < 2:
        bench.broker.call().end(grpc.StatusCode.UNAUTHENTICATED, "who are you")
        n_calls += 1
    took_s = time.monotonic() - begun
    check(n_calls <= 8 * took_s / 3, "%d calls in %.1f s" % (n_calls, took_s))
    bench.node.line("failed " + POD_1 + " the Broker API cannot be reached: the channel is dialed anew")
    answer(bench, POD_1)


def test_k10_the_call_and_the_key_of_a_pod_go_with_the_pod(bench):
    bench.start_broker()
    bench.node.tell("want " + POD_1)
    call = answer(bench, POD_1)
    before = time.monotonic()
    bench.node.tell("unwant " + POD_1)
    bench.node.line("gone " + POD_1)
    check(call.gone.wait(30), "the call goes on")
    check(time.monotonic() - before < 10, "it took long")


def test_k11_another_identity_than_the_pods_is_refused_and_withdraws(bench):
    bench.start_broker()
    bench.node.tell("want " + POD_1)
    call = answer(bench, POD_1)
    call.say(fresh(bench.authority, "spiffe://west.example/other")[0])
    check("gives the pod another identity" in bench.node.line("failed " + POD_1), bench.node.seen)
    bench.node.line("gone " + POD_1)


def test_k12_pods_ask_again_spread_over_time(bench):
    bench.start_broker()
    keys = [CART + " west//v1/Pod/shop/cart-%d" % i for i in range(12)]
    for key in keys:
        bench.node.tell("want " + key)
    calls = [bench.broker.call() for _ in keys]
    spreads_s = []
    while len(spreads_s) < 5 and max(spreads_s, default=0) <= 0.1:  # the machine may pause, but not always
        for call in calls:
            call.end(grpc.StatusCode.UNAVAILABLE, "starting")
        calls, times = [], []
        for _ in keys:
            calls.append(bench.broker.call())
            times.append(time.monotonic())
        spreads_s.append(times[-1] - times[0])
    check(max(spreads_s) > 0.1, "all at once: %s" % spreads_s)


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    wanted = sys.argv[2:]
    failed = 0
    for name, test in tests:
        if wanted and name not in wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="isthmus-spiffe-") as folder:
            broker = None
            if name.startswith("test_k"):
                broker = "localhost:0" if "over_tcp" in name else ""
            bench = Bench(folder, broker)
            begun = time.monotonic()
            try:
                test(bench)
                bench.stop()
                print("ok   %s (%.1f s)" % (name, time.monotonic() - begun), flush=True)
            except Exception as fault:  # noqa: BLE001
                failed += 1
                print("FAIL %s: %s: %s" % (name, type(fault).__name__, fault), flush=True)
                if bench.node:
                    print("     " + "\n     ".join(bench.node.seen[-8:]))
                    bench.node.process.kill()
                    bench.node = None
                try:
                    bench.stop()
                except Exception as second:  # noqa: BLE001
                    print("     and at its end: %s" % second)
    print("%d failed" % failed)
    sys.stdout.flush()
    os._exit(1 if failed else 0)


BINARY = os.path.abspath(sys.argv[1])
main()
