"""Reads capture files, and writes them where tcpdump cannot.

usage: pcap.py INTERFACE FILE        captures until SIGINT, then counts like tcpdump

tcpdump changes its groups when it runs as user 0, which a user namespace of an ordinary user forbids; the lab uses this
program there.
"""

import contextlib
import ipaddress
import signal
import socket
import struct
import sys
import time
from typing import NamedTuple

ETHERTYPE_V4, ETHERTYPE_V6, PROTOCOL_TCP = 0x0800, 0x86DD, 6
TLS_APPLICATION_DATA = b"\x17\x03\x03"
FRAME_MAX_BYTES, LINKTYPE_ETHERNET = 262144, 1
ETH_P_ALL, SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 3, 263, 6, 33


class Segment(NamedTuple):
    src: str
    sport: int
    dst: str
    dport: int
    payload: bytes


def frames(path):
    """The frames of a classic pcap file, as bytes. A file that ends inside a frame gives the whole ones."""
    with open(path, "rb") as file:
        magic = file.read(24)[:4]
        order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}.get(magic)
        if order is None:
            raise ValueError(f"{path} is not a capture file")
        while len(head := file.read(16)) == 16:
            length = struct.unpack(order + "IIII", head)[2]
            frame = file.read(length)
            if len(frame) == length:
                yield frame


def segments(path):
    """The TCP segments over IPv4 and IPv6 (without extension headers), in order."""
    for frame in frames(path):
        kind = struct.unpack("!H", frame[12:14])[0] if len(frame) >= 14 else 0
        packet = frame[14:]
        if kind == ETHERTYPE_V4 and len(packet) >= 20 and packet[9] == PROTOCOL_TCP:
            start, end = (packet[0] & 15) * 4, struct.unpack("!H", packet[2:4])[0]
            yield from _segment(packet[12:16], packet[16:20], packet[start:end or None])
        elif kind == ETHERTYPE_V6 and len(packet) >= 40 and packet[6] == PROTOCOL_TCP:
            yield from _segment(packet[8:24], packet[24:40], packet[40:])


def _segment(src, dst, tcp):
    if len(tcp) >= 20:
        sport, dport = struct.unpack("!HH", tcp[:4])
        yield Segment(str(ipaddress.ip_address(src)), sport, str(ipaddress.ip_address(dst)), dport,
                      tcp[(tcp[12] >> 4) * 4:])


def capture(interface, path):
    """Writes every frame that passes an interface, in either direction, until SIGINT."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.bind((interface, 0))
    with contextlib.suppress(PermissionError):  # granted to the real root only
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    with open(path, "wb", buffering=0) as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, FRAME_MAX_BYTES, LINKTYPE_ETHERNET))
        print(f"listening on {interface}", file=sys.stderr, flush=True)
        try:
            while True:
                frame = sock.recv(FRAME_MAX_BYTES)
                seconds, rest_ns = divmod(time.time_ns(), 1_000_000_000)
                file.write(struct.pack("<IIII", seconds, rest_ns // 1000, len(frame), len(frame)) + frame)
        except KeyboardInterrupt:
            seen, dropped = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            print(f"{seen} packets received by filter\n{dropped} packets dropped by kernel", file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    capture(sys.argv[1], sys.argv[2])
