#!/usr/bin/env python3
"""What no honest HTTP/2 client says, frame by frame, to our server; each with what must come of it.

test_http2_corpus.py HTTP_PORT            all rows; none may reach the owner of the server as a whole request
test_http2_corpus.py HTTP_PORT NAME...    some rows, with the frames that came back
test_http2_corpus.py HTTP_PORT --seeds DIR DIR  writes seeds of fuzz_http2_server and fuzz_http2_client
test_http2_corpus.py --beside PORT...     the same rows to other servers: a table of their verdicts

A row is a name, what is expected, and the frames behind a good greeting (rows of START bring their own). Expected is the
first thing that decides: "status 431", "reset PROTOCOL_ERROR", "goaway COMPRESSION_ERROR". Rows of LATE are requests whose
body goes wrong: their heads may be shown, their end may not. Rows of GOOD must be answered 200: they stand close to others
that must not.
"""
import concurrent.futures
import os
import socket
import struct
import subprocess
import sys
import time

try:
    import hpack
except ImportError:
    print("python3-hpack is not installed")
    sys.exit(77)

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
         "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE_S = 10


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


GREETING = PREFACE + frame(SETTINGS)


class Row:
    """Makes the frames of one row: each has a path of its own, by which it is recognised."""

    def __init__(self, name, index, path=None):
        self.path = (path or "/row-%d") % index
        self.encoder = hpack.Encoder()

    def block(self, fields):
        return self.encoder.encode([(n, v) for n, v in fields], huffman=False)

    def fields(self, *more, drop=(), **changes):
        pseudo = {"method": "GET", "scheme": "http", "path": self.path, "authority": "x"}
        pseudo.update(changes)
        return [(":" + n, v) for n, v in pseudo.items() if n not in drop] + list(more)

    def headers(self, fields, stream=1, flags=END_STREAM | END_HEADERS):
        return frame(HEADERS, flags, stream, self.block(fields))

    def get(self, *more, stream=1, drop=(), **changes):
        return self.headers(self.fields(*more, drop=drop, **changes), stream)

    def post(self, *more, stream=1, **changes):
        return self.headers(self.fields(*more, method="POST", **changes), stream, END_HEADERS)


def u32(number):
    return struct.pack(">I", number)


def setting(number, value):
    return frame(SETTINGS, 0, 0, struct.pack(">HI", number, value))


def data(payload, stream=1, end=True):
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def update(increment, stream=0):
    return frame(WINDOW_UPDATE, 0, stream, u32(increment))


P = "PROTOCOL_ERROR"
RESET, AWAY, CALM = "reset " + P, "goaway " + P, "goaway ENHANCE_YOUR_CALM"
SIZE, CLOSED, FLOW, HPACK = ("goaway FRAME_SIZE_ERROR", "goaway STREAM_CLOSED", "goaway FLOW_CONTROL_ERROR",
                             "goaway COMPRESSION_ERROR")

# Rows that bring their own greeting.
START = [
    ("HTTP/1.1 in place of the preface", AWAY, lambda r: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(40)),
    ("a preface with a wrong end", AWAY, lambda r: PREFACE[:-1] + b"X" + frame(SETTINGS)),
    ("HEADERS before SETTINGS", AWAY, lambda r: PREFACE + r.get()),
    ("PING before SETTINGS", AWAY, lambda r: PREFACE + frame(PING, 0, 0, bytes(8))),
    ("an answer to SETTINGS before SETTINGS", AWAY, lambda r: PREFACE + frame(SETTINGS, ACK)),
    ("the preface twice", AWAY, lambda r: PREFACE + PREFACE + frame(SETTINGS)),
]

FRAMES = [
    ("SETTINGS of 5 bytes", SIZE, lambda r: frame(SETTINGS, 0, 0, bytes(5))),
    ("SETTINGS of 7 bytes", SIZE, lambda r: frame(SETTINGS, 0, 0, bytes(7))),
    ("an answer to SETTINGS with a setting", SIZE, lambda r: frame(SETTINGS, ACK, 0, bytes(6))),
    ("SETTINGS on a stream", AWAY, lambda r: frame(SETTINGS, 0, 1)),
    ("SETTINGS: push 2", AWAY, lambda r: setting(2, 2)),
    ("SETTINGS: a window of 2^31", FLOW, lambda r: setting(4, 1 << 31)),
    ("SETTINGS: frames of 16383 bytes", AWAY, lambda r: setting(5, 16383)),
    ("SETTINGS: frames of 2^24 bytes", AWAY, lambda r: setting(5, 1 << 24)),
    ("SETTINGS: extended CONNECT 2", AWAY, lambda r: setting(8, 2)),
    ("SETTINGS: a window that overflows a stream's", FLOW,
     lambda r: r.post(path="/hold" + r.path) + update(0x7fffffff - 65535, 1) + setting(4, 0x7fffffff)),
    ("PING of 7 bytes", SIZE, lambda r: frame(PING, 0, 0, bytes(7))),
    ("PING of 9 bytes", SIZE, lambda r: frame(PING, 0, 0, bytes(9))),
    ("PING on a stream", AWAY, lambda r: frame(PING, 0, 1, bytes(8))),
    ("GOAWAY on a stream", AWAY, lambda r: frame(GOAWAY, 0, 1, bytes(8))),
    ("GOAWAY of 7 bytes", SIZE, lambda r: frame(GOAWAY, 0, 0, bytes(7))),
    ("PUSH_PROMISE", AWAY, lambda r: frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + r.block(r.fields()))),
    ("PUSH_PROMISE on stream 0", AWAY, lambda r: frame(PUSH_PROMISE, END_HEADERS, 0, u32(2))),
    ("DATA larger than a frame may be", SIZE, lambda r: r.post(path="/hold" + r.path) + data(bytes(65537), end=False)),
    ("HEADERS larger than a frame may be", SIZE, lambda r: frame(HEADERS, END_HEADERS, 1, bytes(65537))),
    ("DATA whose padding is all of it", AWAY,
     lambda r: r.post(path="/hold" + r.path) + frame(DATA, PADDED, 1, b"\x05abcd")),
    ("DATA with padding but no length of it", AWAY,
     lambda r: r.post(path="/hold" + r.path) + frame(DATA, PADDED, 1)),
    ("HEADERS whose padding is all of it", AWAY, lambda r: frame(HEADERS, PADDED | END_HEADERS, 1, b"\x09abcd")),
    ("HEADERS with padding but no length of it", AWAY, lambda r: frame(HEADERS, PADDED | END_HEADERS, 1)),
    ("HEADERS too short for their priority", SIZE, lambda r: frame(HEADERS, WITH_PRIORITY | END_HEADERS, 1, bytes(4))),
    ("PRIORITY of 4 bytes", SIZE, lambda r: frame(PRIORITY, 0, 1, bytes(4))),
    ("PRIORITY on stream 0", AWAY, lambda r: frame(PRIORITY, 0, 0, bytes(5))),
    ("RST_STREAM of 3 bytes", SIZE, lambda r: r.post(path="/hold" + r.path) + frame(RST_STREAM, 0, 1, bytes(3))),
    ("RST_STREAM of 5 bytes", SIZE, lambda r: r.post(path="/hold" + r.path) + frame(RST_STREAM, 0, 1, bytes(5))),
    ("RST_STREAM on stream 0", AWAY, lambda r: frame(RST_STREAM, 0, 0, bytes(4))),
    ("RST_STREAM on an idle stream", AWAY, lambda r: frame(RST_STREAM, 0, 1, bytes(4))),
    ("RST_STREAM on an idle stream of the server's", AWAY, lambda r: frame(RST_STREAM, 0, 2, bytes(4))),
    ("WINDOW_UPDATE of 3 bytes", SIZE, lambda r: frame(WINDOW_UPDATE, 0, 0, bytes(3))),
    ("WINDOW_UPDATE of 5 bytes", SIZE, lambda r: frame(WINDOW_UPDATE, 0, 0, bytes(5))),
    ("WINDOW_UPDATE of nothing", AWAY, lambda r: update(0)),
    ("WINDOW_UPDATE of nothing for a stream", AWAY, lambda r: r.post(path="/hold" + r.path) + update(0, 1)),
    ("WINDOW_UPDATE beyond 2^31", FLOW, lambda r: update(0x7fffffff)),
    ("WINDOW_UPDATE of a stream beyond 2^31", FLOW,
     lambda r: r.post(path="/hold" + r.path) + update(0x7fffffff, 1)),
    ("WINDOW_UPDATE on an idle stream", AWAY, lambda r: update(1, 1)),
    ("CONTINUATION without HEADERS", AWAY, lambda r: frame(CONTINUATION, END_HEADERS, 1, r.block(r.fields()))),
    ("CONTINUATION on stream 0", AWAY, lambda r: frame(CONTINUATION, END_HEADERS, 0)),
    ("CONTINUATION behind a whole head", AWAY, lambda r: r.get() + frame(CONTINUATION, END_HEADERS, 1)),
    ("CONTINUATION of another stream", AWAY,
     lambda r: r.headers(r.fields(), 1, END_STREAM) + frame(CONTINUATION, END_HEADERS, 3)),
    ("PING within a head", AWAY, lambda r: r.headers(r.fields(), 1, END_STREAM) + frame(PING, 0, 0, bytes(8))),
    ("DATA within a head", AWAY, lambda r: r.headers(r.fields(), 1, 0) + data(b"x")),
    ("an unknown frame within a head", AWAY, lambda r: r.headers(r.fields(), 1, END_STREAM) + frame(99, 0, 1)),
    ("HEADERS within a head", AWAY, lambda r: r.headers(r.fields(), 1, END_STREAM) + r.get(stream=3)),
]

STREAMS = [
    ("HEADERS on stream 0", AWAY, lambda r: r.get(stream=0)),
    ("HEADERS on a stream of the server's", AWAY, lambda r: r.get(stream=2)),
    ("HEADERS on a stream that was passed over", AWAY, lambda r: r.headers(r.fields(path="/hold"), 5) + r.get(stream=3)),
    ("DATA on a stream that was passed over", AWAY, lambda r: r.headers(r.fields(path="/hold"), 5) + data(b"x", 3)),
    ("WINDOW_UPDATE on a stream that was passed over", AWAY, lambda r: r.headers(r.fields(path="/hold"), 5) + update(1, 3)),
    ("RST_STREAM on a stream that was passed over", AWAY,
     lambda r: r.headers(r.fields(path="/hold"), 5) + frame(RST_STREAM, 0, 1, u32(8))),
    ("an unknown frame on a stream that was passed over", AWAY,
     lambda r: r.headers(r.fields(path="/hold"), 5) + frame(99, 0, 3)),
    ("HEADERS on the first of many passed over", AWAY,
     lambda r: r.headers(r.fields(path="/hold"), 101) + r.get(stream=1)),
    ("HEADERS on the last of many passed over", AWAY,
     lambda r: r.headers(r.fields(path="/hold"), 101) + r.get(stream=99)),
    ("DATA on stream 0", AWAY, lambda r: data(b"x", 0)),
    ("DATA on an idle stream", AWAY, lambda r: data(b"x", 1)),
    ("DATA on an idle stream of the server's", AWAY, lambda r: data(b"x", 2)),
    ("DATA behind the end of an open stream", CLOSED,
     lambda r: r.headers(r.fields(path="/hold"), 1) + data(b"x", 1)),
    ("HEADERS behind the end of an open stream", CLOSED,
     lambda r: r.headers(r.fields(path="/hold"), 1) + r.headers([("x", "y")], 1)),
    ("DATA behind a reset of the client's", CLOSED,
     lambda r: r.headers(r.fields(path="/hold"), 1) + frame(RST_STREAM, 0, 1, u32(8)) + data(b"x", 1)),
    ("HEADERS behind a reset of the client's", CLOSED,
     lambda r: r.headers(r.fields(path="/hold"), 1) + frame(RST_STREAM, 0, 1, u32(8)) + r.get()),
    ("more streams than the server lets", "reset REFUSED_STREAM",
     lambda r: b"".join(r.headers(r.fields(path="/hold"), 1 + 2 * i) for i in range(101))),
    ("one stream more than the server lets, with its body behind it", "reset REFUSED_STREAM",
     lambda r: b"".join(r.post(path="/hold", stream=1 + 2 * i) + data(b"x", 1 + 2 * i) for i in range(101))),
    ("DATA beyond a stream's window", FLOW,
     lambda r: r.post(path="/hold") + b"".join(data(bytes(16384), end=False) for _ in range(200))),
]

NAMES = [("capital letter", "X-Abc"), ("empty name", ""), ("blank", "x y"), ("colon", "x:y"), ("NUL", "x\0y"), ("CR", "x\ry"),
         ("LF", "x\ny"), ("tab", "x\ty"), ("comma", "x,y"), ("quote", 'x"y'), ("slash", "x/y"), ("parenthesis", "x(y"),
         ("brace", "x{y"), ("at", "x@y"), ("high byte", b"x\xe9y"), ("DEL", "x\x7fy"), ("blank at its start", " x"),
         ("blank at its end", "x ")]
VALUES = [("NUL", "a\0b"), ("CR", "a\rb"), ("LF", "a\nb"), ("CRLF and a field", "a\r\nx-b: c"), ("blank at its start", " a"),
          ("blank at its end", "a "), ("tab at its start", "\ta"), ("tab at its end", "a\t"), ("\\x01", "a\x01b"),
          ("DEL", "a\x7fb")]
HOPS = [("connection", "close"), ("connection", "keep-alive"), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"), ("transfer-encoding", "identity"), ("upgrade", "websocket"), ("te", "gzip"),
        ("te", "trailers, deflate"), ("te", "")]
LENGTHS = [("a word", "abc"), ("a sign", "+1"), ("a minus", "-1"), ("nothing", ""), ("a list of the same", "1, 1"),
           ("a list", "1,2"), ("hexadecimal", "0x1"), ("a fraction", "1.0"), ("a blank within", "1 1"),
           ("beyond 64 bits", "99999999999999999999"), ("of 19 digits", "9223372036854775807")]
AUTHORITIES = [("userinfo", "u@x"), ("a password", "u:p@x"), ("a blank", "x y"), ("a path", "x/y"), ("a comma", "x,y"),
               ("a fragment", "x#y"), ("a query", "x?y"), ("a percent sign", "x%20y"), ("an empty port", "x:"),
               ("a port that is a word", "x:http"), ("a port beyond 65535", "x:65536"), ("two ports", "x:1:2"),
               ("an open bracket", "[::1"), ("a backslash", "x\\y"), ("only a port", ":80")]
PATHS = [("no slash", "row"), ("an absolute URI", "http://x/"), ("a star for GET", "*"), ("a blank", "/a b"),
         ("a fragment", "/a#b"), ("NUL", "/a\0b"), ("CR", "/a\rb"), ("LF", "/a\nb"), ("a high byte", b"/a\xe9"), ("DEL", "/a\x7f"),
         ("a tab", "/a\tb"), ("an empty one", "")]
METHODS = [("a blank", "GE T"), ("LF", "GET\n"), ("a slash", "GET/"), ("empty", ""), ("a colon", "G:T"), ("a high byte", b"G\xe9T")]
SCHEMES = [("ftp", "ftp"), ("javascript", "javascript"), ("a colon", "http:"), ("empty", ""), ("a blank", "http ")]


def field_row(kind, label, name, value):
    return "%s with %s" % (kind, label), RESET, lambda r: r.get((name, value))


def changed(label, **changes):
    return label, RESET, lambda r: r.get(**changes)


HEADS = (
    [field_row("a name", label, name, "v") for label, name in NAMES]
    + [field_row("a value", label, "x-abc", value) for label, value in VALUES]
    + [("%s: %s" % hop, RESET, lambda r, hop=hop: r.get(hop)) for hop in HOPS]
    + [("content-length: " + label, RESET, lambda r, v=v: r.post(("content-length", v)) + data(b"x")) for label, v in LENGTHS]
    + [changed(":authority with " + label, authority=v) for label, v in AUTHORITIES]
    + [("host with " + label, RESET, lambda r, v=v: r.get(("host", v), drop=["authority"])) for label, v in AUTHORITIES[:4]]
    + [changed(":path with " + label, path=v) for label, v in PATHS]
    + [changed(":method with " + label, method=v) for label, v in METHODS]
    + [changed(":scheme " + label, scheme=v) for label, v in SCHEMES]
    + [("no :" + name, RESET, lambda r, name=name: r.get(drop=[name])) for name in ("method", "scheme", "path", "authority")]
    + [(":%s twice" % name, RESET, lambda r, name=name: r.headers([(":" + name, v)] + r.fields()))
       for name, v in (("method", "GET"), ("scheme", "http"), ("path", "/"), ("authority", "x"))]
    + [(":%s behind a field" % name, RESET,
        lambda r, name=name, v=v: r.headers(r.fields(("x", "y"), (":" + name, v), drop=[name])))
       for name, v in (("method", "GET"), ("scheme", "http"), ("path", "/"), ("authority", "x"))]
    + [
        ("an unknown pseudo-field", RESET, lambda r: r.headers([(":what", "x")] + r.fields())),
        ("a pseudo-field in capital letters", RESET, lambda r: r.headers(r.fields((":Path", "/"), drop=["path"]))),
        ("a pseudo-field of responses", RESET, lambda r: r.headers([(":status", "200")] + r.fields())),
        ("an empty head", RESET, lambda r: r.headers([])),
        ("no :authority but an empty host", RESET, lambda r: r.get(("host", ""), drop=["authority"])),
        ("an empty :authority", RESET, lambda r: r.get(authority="")),
        ("host that is not :authority", RESET, lambda r: r.get(("host", "y"))),
        ("host with a port that :authority has not", RESET, lambda r: r.get(("host", "x:80"))),
        ("host twice", RESET, lambda r: r.get(("host", "x"), ("host", "y"), drop=["authority"])),
        ("host twice the same", RESET, lambda r: r.get(("host", "x"), ("host", "x"))),
        ("content-length twice", RESET, lambda r: r.post(("content-length", "1"), ("content-length", "2")) + data(b"x")),
        ("content-length twice the same", RESET,
         lambda r: r.post(("content-length", "1"), ("content-length", "1")) + data(b"x")),
        ("a blank in front of content-length", RESET, lambda r: r.post((" content-length", "1")) + data(b"x")),
        ("plain CONNECT", "status 501", lambda r: r.get(method="CONNECT", drop=["scheme", "path"])),
        ("CONNECT with a path", RESET, lambda r: r.get(method="CONNECT")),
        ("CONNECT without an authority", RESET, lambda r: r.get(method="CONNECT", drop=["scheme", "path", "authority"])),
        ("extended CONNECT without a path", RESET, lambda r: r.get(method="CONNECT", protocol="websocket", drop=["path"])),
        ("extended CONNECT without a scheme", RESET, lambda r: r.get(method="CONNECT", protocol="websocket", drop=["scheme"])),
        ("extended CONNECT without an authority", RESET,
         lambda r: r.get(method="CONNECT", protocol="websocket", drop=["authority"])),
        ("extended CONNECT to an empty protocol", RESET, lambda r: r.get(method="CONNECT", protocol="")),
        ("extended CONNECT to no token", RESET, lambda r: r.get(method="CONNECT", protocol="web socket")),
        ("extended CONNECT to HTTP itself", "status 501", lambda r: r.get(method="CONNECT", protocol="h2c")),
        (":protocol with GET", RESET, lambda r: r.get(protocol="websocket")),
        (":protocol twice", RESET,
         lambda r: r.headers([(":protocol", "websocket")] + r.fields(method="CONNECT", protocol="websocket"))),
        ("TRACE with two colons in a name", RESET, lambda r: r.get(("::x", "y"), method="TRACE")),
    ]
)


def in_frames(r, fields, piece, stream=1):
    block = r.block(fields)
    parts = [block[i:i + piece] for i in range(0, len(block), piece)]
    out = frame(HEADERS, END_STREAM, stream, parts[0])
    for i, part in enumerate(parts[1:]):
        out += frame(CONTINUATION, END_HEADERS if i == len(parts) - 2 else 0, stream, part)
    return out


def bomb(r):
    """One large field in the dynamic table, then 300 bytes that name it 300 times."""
    block = r.block(r.fields(("x", "y" * 3900)))
    return frame(HEADERS, END_STREAM | END_HEADERS, 1, block + b"\xbe" * 300)


SIZES = [
    ("a head of 70 KiB", "status 431", lambda r: in_frames(r, r.fields(*[("x", "y" * 7000)] * 10), 16384)),
    ("a field of 66,000 bytes", "status 431", lambda r: in_frames(r, r.fields(("x", "y" * 65400), ("y", "z" * 600)), 16384)),
    ("101 fields", "status 431", lambda r: r.get(*[("x-%d" % i, "y") for i in range(101)])),
    ("2000 fields", "status 431", lambda r: r.get(*[("x", "y")] * 1800)),
    ("a head of 1 MB", CALM, lambda r: in_frames(r, r.fields(*[("x", "y" * 10000)] * 100), 16384)),
    ("a head in 300 CONTINUATIONs", CALM, lambda r: in_frames(r, r.fields(("x", "y" * 300)), 1)),
    ("empty CONTINUATIONs", CALM, lambda r: r.headers(r.fields(), 1, END_STREAM) + frame(CONTINUATION, 0, 1) * 100),
    ("a field that is named 300 times", CALM, bomb),
    ("an index of 0", HPACK, lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x80")),
    ("an index beyond the tables", HPACK, lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xfe")),
    ("a table larger than agreed", HPACK, lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x3f\xe1\xff\x03")),
    ("a table that changes within a head", HPACK, lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x82\x20")),
    ("a number that does not end", HPACK, lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff" * 12)),
    ("a number that is cut", HPACK, lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\x80")),
    ("a string that is cut", HPACK, lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x40\x0ax-y")),
    ("Huffman with the end of strings", HPACK,
     lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x40\x01x\x84\xff\xff\xff\xff")),
    ("Huffman with a padding of zeros", HPACK, lambda r: frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x40\x01x\x81\x00")),
]

# What comes in pieces may arrive at once: then most of the streams are beyond the limit, and too many of those are a flood, too.
FLOODS = [
    ("1,200 PINGs", CALM, lambda r: frame(PING, 0, 0, bytes(8)) * 1200),
    ("1,200 SETTINGS", CALM, lambda r: frame(SETTINGS) * 1200),
    ("SETTINGS of 100 entries", CALM, lambda r: frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100) * 100)),
    ("1,200 PRIORITYs", CALM, lambda r: frame(PRIORITY, 0, 1, bytes(5)) * 1200),
    ("1,200 unknown frames", CALM, lambda r: frame(99, 0, 0, b"x") * 1200),
    ("1,200 empty DATA", CALM, lambda r: r.post(path="/hold") + data(b"", end=False) * 1200),
    ("41,000 WINDOW_UPDATEs", CALM, lambda r: update(1) * 41000),
    ("250 rapid resets", CALM, lambda r: b"".join(
        r.headers(r.fields(path="/hold"), 1 + 2 * i) + frame(RST_STREAM, 0, 1 + 2 * i, u32(8)) for i in range(250))),
    ("malformed heads without end", CALM, lambda r: [b"".join(
        r.headers(r.fields(("connection", "close")), 1 + 2 * i) for i in range(at, at + 50)) for at in range(0, 1500, 50)]),
    ("streams without end that the server must reset", CALM, lambda r: [b"".join(
        r.post(("content-length", "0"), path="/hold", stream=1 + 2 * i) + data(b"x", 1 + 2 * i, end=False)
        for i in range(at, at + 50)) for at in range(0, 1500, 50)]),
    ("1,200 streams more than the server lets", CALM, lambda r: b"".join(
        r.headers(r.fields(path="/hold"), 1 + 2 * i) for i in range(1300))),
    ("1,200 resets of closed streams", CALM, lambda r: r.headers(r.fields(path="/hold"), 1) +
     frame(RST_STREAM, 0, 1, u32(8)) * 1200),
]


def trailed(fields, flags=END_STREAM | END_HEADERS):
    return lambda r: r.post() + data(b"x", end=False) + r.headers(fields, 1, flags)


LATE = [
    ("less than content-length", RESET, lambda r: r.post(("content-length", "5")) + data(b"1234")),
    ("more than content-length", RESET, lambda r: r.post(("content-length", "5")) + data(b"123456")),
    ("more than content-length in a second frame", RESET,
     lambda r: r.post(("content-length", "5")) + data(b"123", end=False) + data(b"456")),
    ("content-length and no body", RESET, lambda r: r.get(("content-length", "5"), method="POST")),
    ("content-length 0 and a body", RESET, lambda r: r.post(("content-length", "0")) + data(b"1")),
    ("less than content-length before trailers", RESET,
     lambda r: r.post(("content-length", "5")) + data(b"1234", end=False) + r.headers([("x", "y")])),
    ("trailers that do not end the stream", RESET, trailed([("x", "y")], END_HEADERS)),
    ("trailers with a pseudo-field", RESET, trailed([(":path", "/")])),
    ("trailers with a whole request", RESET, trailed([(":method", "GET"), (":scheme", "http"), (":path", "/")])),
    ("trailers with content-length", RESET, trailed([("content-length", "1")])),
    ("trailers with host", RESET, trailed([("host", "y")])),
    ("trailers with transfer-encoding", RESET, trailed([("transfer-encoding", "chunked")])),
    ("trailers with connection", RESET, trailed([("connection", "x")])),
    ("trailers with a capital letter", RESET, trailed([("X", "y")])),
    ("trailers with LF in a value", RESET, trailed([("x", "y\nz")])),
    ("trailers with an empty name", RESET, trailed([("", "y")])),
    ("trailers twice", CLOSED, lambda r: r.post() + r.headers([("x", "y")]) + r.headers([("x", "y")])),
    ("a body behind trailers", CLOSED, lambda r: r.post() + r.headers([("x", "y")]) + data(b"z")),
]

GOOD = [
    ("a GET", lambda r: r.get()),
    ("a POST", lambda r: r.post(("content-length", "2")) + data(b"ok")),
    ("host alone", lambda r: r.get(("host", "x"), drop=["authority"])),
    ("host in other letters", lambda r: r.get(("host", "X"))),
    ("te: trailers", lambda r: r.get(("te", "trailers"))),
    ("a tab within a value", lambda r: r.get(("x", "a\tb"))),
    ("bytes beyond ASCII in a value", lambda r: r.get(("x", b"a\xc3\xa9"))),
    ("an address as authority", lambda r: r.get(authority="[::1]:80")),
    ("OPTIONS *", lambda r: r.get(method="OPTIONS", path="*")),
    ("a method of its own", lambda r: r.get(method="PURGE")),
    ("100 fields", lambda r: r.get(*[("x-%d" % i, "y") for i in range(100)])),
    ("a head in five frames", lambda r: in_frames(r, r.fields(("x", "y" * 60)), 20)),
    ("a padded body", lambda r: r.post() + frame(DATA, PADDED | END_STREAM, 1, b"\x02ok\0\0")),
    ("trailers", lambda r: r.post() + data(b"ok", end=False) + r.headers([("x", "y")])),
    ("an unknown frame and an unknown setting", lambda r: frame(99, 0, 0, b"x") + setting(99, 1) + r.get()),
    ("a stream that is opened behind a gap", lambda r: r.get(stream=7)),
    ("PRIORITY on a stream that was passed over", lambda r: r.get(stream=7) + frame(PRIORITY, 0, 3, bytes(5))),
    ("WINDOW_UPDATE behind the end", lambda r: r.get() + update(1, 1)),
    ("extended CONNECT", lambda r: r.headers(r.fields(method="CONNECT", protocol="websocket"), 1, END_HEADERS)),
    ("a reset of another stream", lambda r: r.headers(r.fields(path="/hold"), 1) + frame(RST_STREAM, 0, 1, u32(8)) +
     r.get(stream=3)),
]


def rows():
    """(name, expected, may its head be shown, bytes) of all."""
    made = []

    def add(name, expected, late, make, greeting=GREETING):
        row = Row(name, len(made), "/hold/row-%d" if late else None)
        sent = make(row)
        sent = [greeting + sent] if isinstance(sent, bytes) else [greeting] + sent
        made.append((name, expected, late, sent, row.path))

    for name, expected, make in START:
        add(name, expected, False, make, b"")
    for name, expected, make in FRAMES + STREAMS + list(HEADS) + SIZES + FLOODS:
        add(name, expected, False, make)
    for name, expected, make in LATE:
        add(name, expected, True, make)
    for name, make in GOOD:
        add(name, "status 200", None, make)
    return made


class Peer:
    """Reads frames until one decides."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.buffer = b""
        self.decoder = hpack.Decoder()
        self.log = []

    def send(self, payload):
        try:
            self.socket.sendall(payload)
        except OSError:
            pass  # it has heard enough

    def read(self, n_bytes):
        while len(self.buffer) < n_bytes:
            try:
                more = self.socket.recv(65536)
            except socket.timeout:
                raise EOFError("silence")
            except OSError:
                more = b""
            if not more:
                raise EOFError("close")
            self.buffer += more
        taken, self.buffer = self.buffer[:n_bytes], self.buffer[n_bytes:]
        return taken

    def verdict(self, is_flood):
        try:
            while True:
                head = self.read(9)
                length = int.from_bytes(head[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                payload = self.read(length)
                self.log.append((kind, flags, stream, payload[:40]))
                if kind == GOAWAY and payload[4:8] != bytes(4):
                    return "goaway " + CODES[int.from_bytes(payload[4:8], "big")]
                if kind == RST_STREAM and not is_flood:
                    return "reset " + CODES[int.from_bytes(payload, "big")]
                if kind == HEADERS:
                    return "status " + dict(self.decoder.decode(payload))[":status"]
        except EOFError as why:
            return str(why)
        finally:
            self.socket.close()


def ask(port, pieces, is_flood=False):
    """Sends the pieces; between them the server has the time to answer."""
    peer = Peer(port)
    for i, piece in enumerate(pieces):
        time.sleep(0.02 if i else 0)
        peer.send(piece)
    return peer.verdict(is_flood), peer.log


def judge_all(port, all_rows):
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        return list(pool.map(lambda row: ask(port, row[3], row[1] in (CALM, FLOW))[0], all_rows))


def serve(http_port):
    log = open(os.path.join(os.environ.get("TMPDIR", "/tmp"), "http2-corpus-%d" % os.getpid()), "w+", errors="replace")
    os.unlink(log.name)
    process = subprocess.Popen([http_port, "--h2"], stdout=log)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        log.seek(0)
        first = log.readline()
        if first.endswith("\n"):
            return process, int(first), log
        time.sleep(0.01)
    raise RuntimeError("http_port does not start")


def check_reached(log, all_rows):
    """What the owner of the server was shown: nothing of a row but of those that may."""
    log.seek(0)
    heads, ends = set(), set()
    for line in log:
        words = line.split(" ")
        if words[0] == "head":
            heads.add(words[2])
        elif words[0] == "end":
            ends.add(words[1].rstrip("\n"))
    # Streams that only hold a connection open, of rows about others.
    strange = {path for path in heads if path != "/hold" and not path.startswith(("/row-", "/hold/"))}
    faults = ["%s was shown" % path for path in strange - {"*"}]
    for name, _, late, _, path in all_rows:
        if late is not None and path in ends:
            faults.append("%s: reached the backend" % name)
        if late is False and path in heads and "/hold" not in path:
            faults.append("%s: its head was shown" % name)
    return faults


# The frames of these rows begin with a request that is good and may be shown.
SHOWN = {"CONTINUATION behind a whole head"}


def run(http_port):
    all_rows = rows()
    process, port, log = serve(http_port)
    faults = []
    try:
        begin = time.monotonic()
        for row, got in zip(all_rows, judge_all(port, all_rows)):
            if got != row[1]:
                faults.append("%s: expected %s, got %s" % (row[0], row[1], got))
        faults += check_reached(log, [row for row in all_rows if row[0] not in SHOWN])
        alive = ask(port, [GREETING + Row("", 0, "/after-%d").get()])[0]
        if alive != "status 200":
            faults.append("afterwards the server answers %s" % alive)
        took = time.monotonic() - begin
    finally:
        process.terminate()
        process.wait()
    names = [row[0] for row in all_rows]
    faults += ["two rows are called %s" % name for name in names if names.count(name) > 1]
    n_bad = sum(1 for row in all_rows if row[2] is not None)
    print("%d sequences that must be refused, %d that must not: %.1f s" % (n_bad, len(all_rows) - n_bad, took))
    for fault in faults:
        print("FAULT", fault)
    return 1 if faults else 0


def run_some(http_port, names):
    process, port, log = serve(http_port)
    for row in rows():
        if row[0] in names:
            got, frames = ask(port, row[3])
            print(row[0], "expected", row[1], "got", got)
            for each in frames:
                print("   ", each)
    time.sleep(0.2)
    process.terminate()
    log.seek(0)
    print(log.read())
    return 0


def client_seeds():
    """What servers say to two requests, honestly and not."""
    row = Row("", 0)
    settings = frame(SETTINGS) + frame(SETTINGS, ACK) + setting(8, 1)
    ok = lambda stream=1, flags=END_HEADERS, *more: row.headers([(":status", "200")] + list(more), stream, flags)
    hint = row.headers([(":status", "103"), ("link", "</a>")], 1, END_HEADERS)
    return [settings + ok(1, END_HEADERS | END_STREAM), settings + ok() + data(b"abc"),
            settings + hint + ok(1, END_HEADERS, ("content-length", "3")) + data(b"abc") + ok(3) + data(b"x", 3),
            settings + ok() + data(b"abc", end=False) + row.headers([("grpc-status", "0")]),
            settings + ok(1, END_HEADERS, ("content-length", "3")) + data(b"abcd"),
            settings + ok(1, END_HEADERS, ("connection", "close")),
            settings + ok() + frame(RST_STREAM, 0, 1, u32(8)) + frame(RST_STREAM, 0, 3, u32(7)),
            settings + frame(GOAWAY, 0, 0, u32(1) + u32(0)) + ok(1, END_HEADERS | END_STREAM),
            settings + frame(PUSH_PROMISE, END_HEADERS, 1, u32(2)), settings + ok(2), settings + update(0, 1),
            settings + row.headers([(":status", "101")], 1, END_HEADERS), settings + hint * 5 + data(b"x")]


def script_of(frames):
    script = b""
    for at in range(0, len(frames), 255):
        part = frames[at:at + 255]
        script += bytes([0, len(part)]) + part + b"\x03"
    return script


def write_seeds(folder, client_folder):
    """The scripts of fuzz_http2.c: the first byte is options, then (0, n, n bytes) feeds, 3 is a turn, and 5 a request."""
    for i, frames in enumerate(client_seeds()):
        with open(os.path.join(client_folder, "story-%d" % i), "wb") as seed:
            seed.write(b"\0\x25\x45\x03" + script_of(frames) + b"\x03\x03")
    for i, row in enumerate(rows()):
        frames = b"".join(row[3])
        if len(frames) > 4000:
            continue
        with open(os.path.join(folder, "row-%d" % i), "wb") as seed:
            seed.write(b"\x04" + script_of(frames) + b"\x03\x03")
    return 0


def beside(ports):
    all_rows = rows()
    columns = [judge_all(port, all_rows) for port in ports]
    for row, *got in zip(all_rows, *columns):
        if any(verdict != row[1] for verdict in got):
            print("| %s | %s | %s |" % (row[0], row[1], " | ".join(got)))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--beside":
        sys.exit(beside([int(port) for port in sys.argv[2:]]))
    if len(sys.argv) > 3 and sys.argv[2] == "--seeds":
        sys.exit(write_seeds(sys.argv[3], sys.argv[4]))
    sys.exit(run_some(sys.argv[1], sys.argv[2:]) if len(sys.argv) > 2 else run(sys.argv[1]))
