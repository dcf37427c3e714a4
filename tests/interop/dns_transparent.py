#!/usr/bin/env python3
"""DNS behind TPROXY, asked with dig: the pod asks its resolver and never learns that somebody stood between.

    dns_transparent.py <dns_node>

Three network namespaces: a pod, the node with dns_node and a TPROXY rule for port 53, a resolver that answers every
question with 192.0.2.53 (TXT: the address it was asked from). dig refuses answers from another address than the one it
asked, so every answer it prints came from the right one. Exits 77 (skipped) where namespaces or dig are not to be had.
"""
import os
import select
import shutil
import socket
import struct
import subprocess
import sys

POD, NODE_POD = ("10.9.1.2", "fd09:1::2"), ("10.9.1.1", "fd09:1::1")
RESOLVER, NODE_RESOLVER = ("10.9.2.53", "fd09:2::53"), ("10.9.2.1", "fd09:2::1")
SVC = "svc.clusterset.local"
SKIPPED = 77
RULES = """
table inet test {
    chain prerouting {
        type filter hook prerouting priority mangle;
        iifname "pod" meta l4proto { tcp, udp } th dport 53 meta mark set 0x1 tproxy to :15053 accept
    }
}
"""


def run(*command, check=True, inside=None):
    if inside:
        command = ("nsenter", "-t", str(inside), "-n", *command)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if check and done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stdout))
    return done.stdout


# ---------------------------------------------------------------- the resolver


def answer(query, peer):
    end = query.index(b"\0", 12) + 5
    qtype = struct.unpack(">H", query[end - 4:end - 2])[0]
    flags = struct.pack(">H", 0x8180 | (0x0200 if b"truncated" in query and peer[1] == "udp" else 0))
    text = peer[0].encode()
    data = bytes([len(text)]) + text if qtype == 16 else b"\xc0\x00\x02\x35"
    record = b"" if flags[0] & 2 else struct.pack(">HHHIH", 0xC00C, qtype, 1, 60, len(data)) + data
    counts = struct.pack(">HHHH", 1, 1 if record else 0, 0, 0)
    return query[:2] + flags + counts + query[12:end] + record


def plain(address):
    return address[7:] if address.startswith("::ffff:") else address


def serve_tcp(listener):
    connection, peer = listener.accept()
    with connection:
        while True:
            head = connection.recv(2, socket.MSG_WAITALL)
            if len(head) < 2:
                return
            query = connection.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL)
            reply = answer(query, (plain(peer[0]), "tcp"))
            connection.sendall(struct.pack(">H", len(reply)) + reply)


def resolver():
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    for one in (udp, tcp):
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind(("::", 53))
    tcp.listen(16)
    print("ready", flush=True)
    while True:
        for one in select.select([udp, tcp], [], [])[0]:
            if one is tcp:
                serve_tcp(tcp)
            else:
                query, peer = udp.recvfrom(65535)
                udp.sendto(answer(query, (plain(peer[0]), "udp")), peer)


# ---------------------------------------------------------------- the namespaces


class World:
    """Processes that were started, ended in reverse order."""

    def __init__(self):
        self.children = []

    def start(self, *command):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        if child.stdout.readline() != "ready\n":
            raise RuntimeError("%s does not start" % command[0])
        return child

    def namespace(self):
        return self.start("unshare", "-n", "sh", "-c", "echo ready; exec sleep 600").pid

    def end(self):
        for child in reversed(self.children):
            child.terminate()
            child.wait(timeout=60)
        return [child.returncode for child in self.children]


def connect(name, pid, here, there):
    """A link between this namespace and another, with an address of each family at both ends."""
    run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    for family, (ours, theirs) in enumerate(zip(here, there)):
        length = ("/24", "/64")[family]
        nodad = ("nodad",) if family else ()
        run("ip", "addr", "add", ours + length, "dev", name, *nodad)
        run("ip", "addr", "add", theirs + length, "dev", "eth0", *nodad, inside=pid)
    run("ip", "link", "set", name, "up")
    for device in ("lo", "eth0"):
        run("ip", "link", "set", device, "up", inside=pid)
    for ours in here:
        run("ip", "route", "add", "default", "via", ours, inside=pid)


def raise_node(world, node):
    pod, far = world.namespace(), world.namespace()
    run("ip", "link", "set", "lo", "up")
    for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        with open("/proc/sys/" + key, "w") as knob:
            knob.write("1")
    connect("pod", pod, NODE_POD, POD)
    connect("far", far, NODE_RESOLVER, RESOLVER)
    for family, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        run("ip", family, "rule", "add", "fwmark", "0x1", "lookup", "133")
        run("ip", family, "route", "add", "local", everything, "dev", "lo", "table", "133")
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
    world.start("nsenter", "-t", str(far), "-n", sys.executable, __file__, "--resolver")
    world.start(node)
    return pod


# ---------------------------------------------------------------- what dig sees

failures = []


def dig(pod, *words):
    return run("dig", "+tries=1", "+time=8", *words, check=False, inside=pod)


def expect(what, got, *parts, absent=()):
    missing = [part for part in parts if part not in got] + ["no " + part for part in absent if part in got]
    print("%s  %s" % ("FAIL" if missing else "ok  ", what))
    if missing:
        failures.append(what)
        print("      wanted %s in:\n%s" % (missing, got))


def check_family(pod, idx):
    server, own = "@" + RESOLVER[idx], NODE_RESOLVER[idx]
    name = ("IPv4", "IPv6")[idx]
    bad = ("unexpected source", "timed out", "not available", "malformed", "extra bytes")
    expect(name + " UDP, a name of the zone", dig(pod, server, "web.shop." + SVC), " aa ",
           "10.201.0.1", "SERVER: %s#53" % RESOLVER[idx], absent=bad)
    expect(name + " TCP, a name of the zone", dig(pod, server, "+tcp", "web.shop." + SVC), "10.201.0.1",
           "SERVER: %s#53" % RESOLVER[idx], absent=bad)
    expect(name + " UDP truncated, then TCP", dig(pod, server, "big.data." + SVC), "ANSWER: 200", "(TCP)",
           "retrying in TCP mode", absent=bad)
    expect(name + " SRV", dig(pod, server, "-t", "SRV", "_http._tcp.web.shop." + SVC), "0 0 80 web.shop.", absent=bad)
    expect(name + " NXDOMAIN", dig(pod, server, "none.shop." + SVC), "NXDOMAIN", "SOA", absent=bad)
    expect(name + " UDP, relayed", dig(pod, server, "example.com"), "192.0.2.53", "NOERROR", absent=bad)
    expect(name + " TCP, relayed", dig(pod, server, "+tcp", "example.com"), "192.0.2.53", "NOERROR", absent=bad)
    expect(name + " UDP, truncated by the resolver, then TCP", dig(pod, server, "truncated.example.com"), "192.0.2.53",
           "(TCP)", absent=bad)
    expect(name + " UDP, the resolver sees the node", dig(pod, server, "-t", "TXT", "who.example.com"), own, absent=bad)
    expect(name + " TCP, the resolver sees the node", dig(pod, server, "+tcp", "-t", "TXT", "who.example.com"), own,
           absent=bad)
    for tcp in ((), ("+tcp",)):
        for asked in ("example.com", "web.shop." + SVC):
            expect("%s %s, asked ourselves: no loop, and no answer to whoever is not captured" %
                   (name, "TCP" if tcp else "UDP"), dig(pod, "@" + NODE_POD[idx], "-p", "15053", *tcp, asked),
                   "REFUSED", "ANSWER: 0", absent=("timed out",))


def inside(node):
    world = World()
    try:
        pod = raise_node(world, node)
        for idx in (0, 1):
            check_family(pod, idx)
    finally:
        codes = world.end()
    if codes and codes[-1] != 0:
        failures.append("dns_node ended with %d" % codes[-1])
        print("FAIL  dns_node ended with %d" % codes[-1])
    return 1 if failures else 0


def main():
    if sys.argv[1] == "--resolver":
        resolver()
    if sys.argv[1] == "--inside":
        sys.exit(inside(sys.argv[2]))
    for tool in ("unshare", "nsenter", "ip", "nft", "dig"):
        if not shutil.which(tool):
            print("skipped: there is no %s" % tool)
            sys.exit(SKIPPED)
    if subprocess.run(["unshare", "-Urn", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        print("skipped: network namespaces are not permitted")
        sys.exit(SKIPPED)
    os.execvp("unshare", ["unshare", "-Urn", sys.executable, __file__, "--inside", os.path.abspath(sys.argv[1])])


if __name__ == "__main__":
    main()
