#!/usr/bin/env python3
"""gRPC C-core on both sides of our HTTP/2 ends: client -> http2_server -> http2_client -> server, in http_port --relay."""
import subprocess
import sys
import threading
from concurrent import futures

try:
    import grpc
except ImportError:
    print("python3-grpcio is not installed")
    sys.exit(77)

PATIENCE_S = 30
begun, gone = threading.Event(), threading.Event()  # the server has a call; it has learnt that it was cancelled


def unary(request, context):
    context.send_initial_metadata((("early", "1"),))
    context.set_trailing_metadata((("late", "2"), ("bytes-bin", b"\0\xff")))
    return request * 2


def not_found(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ö %")


def until_gone(request, context):
    context.add_callback(gone.set)
    begun.set()
    gone.wait(PATIENCE_S)
    return request


class Methods(grpc.GenericRpcHandler):
    handlers = {
        "/t.T/Unary": grpc.unary_unary_rpc_method_handler(unary),
        "/t.T/Server": grpc.unary_stream_rpc_method_handler(lambda r, c: (r + bytes([i]) for i in range(200))),
        "/t.T/Client": grpc.stream_unary_rpc_method_handler(lambda it, c: b"".join(it)),
        "/t.T/Both": grpc.stream_stream_rpc_method_handler(lambda it, c: (each + each for each in it)),
        "/t.T/NotFound": grpc.unary_unary_rpc_method_handler(not_found),
        "/t.T/UntilGone": grpc.unary_unary_rpc_method_handler(until_gone),
    }

    def service(self, details):
        return self.handlers.get(details.method)


def fails(call, code):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError("expected %s" % code)


def test_unary(channel):
    answer, call = channel.unary_unary("/t.T/Unary").with_call(b"ab", timeout=PATIENCE_S)
    assert answer == b"abab"
    assert ("early", "1") in list(call.initial_metadata())
    assert dict(call.trailing_metadata())["bytes-bin"] == b"\0\xff"


def test_server_stream(channel):
    answers = list(channel.unary_stream("/t.T/Server")(b"x", timeout=PATIENCE_S))
    assert answers == [b"x" + bytes([i]) for i in range(200)]


def test_client_stream_of_megabytes(channel):
    pieces = [bytes([i]) * 100000 for i in range(30)]
    assert channel.stream_unary("/t.T/Client")(iter(pieces), timeout=PATIENCE_S) == b"".join(pieces)


def test_both_ways_in_step(channel):
    """Each message is sent only when the answer to the one before has come."""
    turn = threading.Semaphore(1)

    def ask():
        for i in range(50):
            turn.acquire()
            yield b"%d" % i

    for i, answer in enumerate(channel.stream_stream("/t.T/Both")(ask(), timeout=PATIENCE_S)):
        assert answer == b"%d%d" % (i, i)
        turn.release()


def test_a_status_and_its_message(channel):
    error = fails(lambda: channel.unary_unary("/t.T/NotFound")(b"", timeout=PATIENCE_S), grpc.StatusCode.NOT_FOUND)
    assert error.details() == "no such thing: ö %"


def test_an_unknown_method(channel):
    fails(lambda: channel.unary_unary("/t.T/Nothing")(b"", timeout=PATIENCE_S), grpc.StatusCode.UNIMPLEMENTED)


def test_a_deadline(channel):
    for timeout_s in (0.2, 2, 20):  # by then the server has the call, be the machine as busy as it may
        begun.clear(), gone.clear()
        fails(lambda: channel.unary_unary("/t.T/UntilGone")(b"", timeout=timeout_s), grpc.StatusCode.DEADLINE_EXCEEDED)
        if begun.wait(1):
            break
    assert gone.wait(PATIENCE_S), "the server never learnt of it"


def test_a_cancelled_call(channel):
    begun.clear(), gone.clear()
    call = channel.unary_unary("/t.T/UntilGone").future(b"")
    assert begun.wait(PATIENCE_S), "the server never had it"
    call.cancel()
    assert gone.wait(PATIENCE_S), "the server never learnt of it"


def test_many_calls_at_once(channel):
    method = channel.unary_unary("/t.T/Unary")
    calls = [method.future(b"%d" % i, timeout=PATIENCE_S) for i in range(300)]
    for i, call in enumerate(calls):
        assert call.result() == b"%d%d" % (i, i)


def main(http_port):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Methods(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    relay = subprocess.Popen([http_port, "--h2", "--relay", str(port)], stdout=subprocess.PIPE, text=True)
    relay_port = int(relay.stdout.readline())
    threading.Thread(target=relay.stdout.read, daemon=True).start()
    tests = [test for name, test in globals().items() if name.startswith("test_")]
    try:
        with grpc.insecure_channel("127.0.0.1:%d" % relay_port) as channel:
            for test in tests:
                test(channel)
                print("ok", test.__name__, flush=True)
    finally:
        relay.terminate()
        relay.wait()
        server.stop(0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
