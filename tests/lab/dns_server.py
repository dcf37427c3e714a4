"""The ordinary resolver of a lab cluster: answers A and AAAA for the names it was given, NXDOMAIN for all others.

usage: dns_server.py ADDRESS... -- NAME=ADDRESS...

Listens on port 53 of each address, UDP and TCP. A name given with one family only has an empty answer for the other.
"""

import ipaddress
import socketserver
import struct
import sys
import threading

TYPE_A, TYPE_AAAA = 1, 28
NOERROR, FORMERR, NXDOMAIN = 0, 1, 3
TTL_S = 5


def parse_question(query):
    """(name, type, end of the question) of a query with one question. ValueError when it is anything else."""
    if len(query) < 12 or struct.unpack("!H", query[4:6])[0] != 1:
        raise ValueError("not a query with one question")
    labels, at = [], 12
    while True:
        length = query[at] if at < len(query) else 64
        if length > 63:
            raise ValueError("a label that is not one")
        if length == 0:
            break
        labels.append(query[at + 1:at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    if at + 5 > len(query):
        raise ValueError("cut short")
    return ".".join(labels), struct.unpack("!H", query[at + 1:at + 3])[0], at + 5


def answer(query, records):
    """The reply to a query, as bytes."""
    try:
        name, kind, end = parse_question(query)
    except ValueError:
        return query[:2] + struct.pack("!HHHHH", 0x8180 | FORMERR, 0, 0, 0, 0)
    known = records.get(name)
    found = [a for a in known or [] if kind == {4: TYPE_A, 6: TYPE_AAAA}[a.version]]
    flags = 0x8180 | (NOERROR if known is not None else NXDOMAIN)
    reply = query[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0) + query[12:end]
    for address in found:
        reply += struct.pack("!HHHIH", 0xC00C, kind, 1, TTL_S, len(address.packed)) + address.packed
    return reply


class UdpHandler(socketserver.BaseRequestHandler):
    def handle(self):
        query, sock = self.request
        sock.sendto(answer(query, self.server.records), self.client_address)


class TcpHandler(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self):
        while len(head := self.rfile.read(2)) == 2:
            reply = answer(self.rfile.read(struct.unpack("!H", head)[0]), self.server.records)
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


def serve(server_class, handler, address, records):
    class Server(server_class):
        address_family = 10 if ":" in address else 2
        allow_reuse_address = True
        daemon_threads = True

    server = Server((address, 53), handler)
    server.records = records
    threading.Thread(target=server.serve_forever).start()


def main(arguments):
    addresses, pairs = arguments[:arguments.index("--")], arguments[arguments.index("--") + 1:]
    records = {}
    for pair in pairs:
        name, address = pair.split("=", 1)
        records.setdefault(name.lower(), []).append(ipaddress.ip_address(address))
    for address in addresses:
        serve(socketserver.ThreadingUDPServer, UdpHandler, address, records)
        serve(socketserver.ThreadingTCPServer, TcpHandler, address, records)


if __name__ == "__main__":
    main(sys.argv[1:])
