"""A collector of spans that keeps what it gets: OTLP over HTTP, protobuf, read by field numbers and no generated code.

usage: otlp_collector.py PORT STATE_FILE

STATE_FILE is JSON, read again for each request: {"status": 503, "retry_after": 1, "rejected": 2}; all may be missing. A
request that is answered 200 is printed span by span, one JSON object a line; the others count as {"refused": STATUS}.
"""

import http.server
import json
import struct
import sys

FIXED64, BYTES, FIXED32 = 1, 2, 5


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def fields(data):
    """{number: [values]} of a message."""
    found, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = varint(data, at)
        elif wire_type == BYTES:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
        elif wire_type in (FIXED64, FIXED32):
            size, form = (8, "<Q") if wire_type == FIXED64 else (4, "<I")
            value, at = struct.unpack(form, data[at:at + size])[0], at + size
        else:
            raise ValueError(f"wire type {wire_type}")
        found.setdefault(number, []).append(value)
    return found


def attributes(pairs):
    found = {}
    for pair in pairs:
        pair = fields(pair)
        value = fields(pair[2][0])
        found[pair[1][0].decode()] = value[1][0].decode() if 1 in value else value[3][0]
    return found


def span(data, resource, scope):
    data = fields(data)
    return {"trace": data[1][0].hex(), "span": data[2][0].hex(), "state": data.get(3, [b""])[0].decode(),
            "parent": data.get(4, [b""])[0].hex(), "name": data[5][0].decode(), "kind": data[6][0],
            "took_ns": data[8][0] - data[7][0], "start_ns": data[7][0], "attributes": attributes(data.get(9, [])),
            "failed": fields(data[15][0]).get(3, [0])[0] == 2 if 15 in data else False, "flags": data[16][0],
            "resource": resource, "scope": scope}


def spans(body):
    for group in fields(body).get(1, []):
        group = fields(group)
        resource = attributes(fields(group[1][0])[1])
        for scoped in group[2]:
            scoped = fields(scoped)
            scope = fields(scoped[1][0])[1][0].decode()
            yield from (span(data, resource, scope) for data in scoped[2])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        with open(self.server.state_path, encoding="ascii") as file:
            state = json.load(file)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = state.get("status", 200)
        if (self.path, self.headers["Content-Type"]) != ("/v1/traces", "application/x-protobuf"):
            status = 400
        found = list(spans(body)) if status == 200 else [{"refused": status}]
        for line in found:
            print(json.dumps({**line, "tenant": self.headers.get("x-tenant")}), flush=True)
        rejected = state.get("rejected", 0)
        data = b"\x0a\x02\x08" + bytes([rejected]) if rejected and status == 200 else b""
        self.send_response(status)
        if "retry_after" in state:
            self.send_header("Retry-After", str(state["retry_after"]))
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


def main(port, state_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.state_path = state_path
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
