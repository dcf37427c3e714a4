"""Where it is measured: one cluster of two nodes out of network namespaces, with every proxy in the same places.

Ours captures the calls of pods in the mesh; the peers listen on the nodes and are called there by pods outside of it. So
every proxy is reached over the same wires, one hop on each node.
"""

import datetime
import os
import string
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "lab"))

from crowd import Crowd  # noqa: E402
import manifests  # noqa: E402
from process import LabError, wait_until  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
BACKEND_PORT = 9001
N_PORTS = 6
PORT_HTTP, PORT_EVENTS, PORT_HTTP2 = 0, 4, 5  # of them, those that HTTP peers carry
SERVICES = 1000  # that nobody calls, with ten endpoints each
PROXY_CORE, LOAD_CORE = "0", "1"
NGINX_MODULES = "/usr/lib/nginx/modules"
QUIET = {"net/ipv4/tcp_congestion_control": "reno", "net/ipv4/tcp_tw_reuse": "1",
         "net/ipv4/ip_local_port_range": "20000 60999"}
# Each peer's ports: plain in front of A, TLS between A and B, plain relay to the pod of the same node.
PEER_PORTS = {"haproxy": (13000, 13100, 13200), "haproxy-64k": (14000, 14100, 14200), "nginx": (16000, 16100, 16200),
              "haproxy-h2": (17000, 17100, None), "haproxy-http": (None, None, 18200),
              "nginx-http": (None, None, 19200)}
FEW_TICKETS_PORT = 17190  # the far end of haproxy-h2 without session tickets: what a full handshake costs it at least


def make_certificates(folder):
    """A CA and two P-256 leaves with SPIFFE IDs, as .crt, .key and (for HAProxy) .pem."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.utcnow()

    def write(name, key, certificate):
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
        for suffix, data in (("crt", pem), ("key", private), ("pem", pem + private)):
            with open(os.path.join(folder, f"{name}.{suffix}"), "wb") as file:
                file.write(data)

    def build(subject, issuer, key, signing_key, is_ca, uri):
        usage = x509.KeyUsage(digital_signature=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca,
                              content_commitment=False, key_encipherment=False, data_encipherment=False,
                              key_agreement=False, encipher_only=False, decipher_only=False)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=5))
                   .not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
                   .add_extension(usage, critical=True))
        if uri:
            builder = (builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
                       .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH,
                                                             ExtendedKeyUsageOID.CLIENT_AUTH]), False))
        return builder.sign(signing_key, hashes.SHA256())

    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    ca_key = ec.generate_private_key(ec.SECP256R1())
    write("ca", ca_key, build(name("bench CA"), name("bench CA"), ca_key, ca_key, True, None))
    for role in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        write(role, key, build(name(role), name("bench CA"), key, ca_key, False, f"spiffe://bench/ns/bench/sa/{role}"))


class Stage:
    """The pods, the backends, the proxies. Use after Lab() with one cluster of two nodes."""

    def __init__(self, lab, programs):
        self.lab, self.programs = lab, programs
        self.folder = os.path.join(lab.folder, "bench")
        os.makedirs(self.folder)
        west = lab.west
        self.near, self.far = west.nodes
        west.add_namespace("mesh")
        west.add_namespace("plain", enrolled=False)
        self.client = {"mesh": self.near.add_pod("client", "mesh", "client"),
                       "plain": self.near.add_pod("plain-client", "plain", "client")}
        self.server = {("mesh", "mesh"): self.far.add_pod("server", "mesh", "server", {"app": "mesh"}),
                       ("mesh", "node"): self.near.add_pod("near-server", "mesh", "server", {"app": "node"}),
                       ("plain", "mesh"): self.far.add_pod("plain-server", "plain", "server"),
                       ("plain", "node"): self.near.add_pod("plain-near-server", "plain", "server")}
        # By the path: a service of each, whose ports say that they speak HTTP.
        ports = [manifests.port(BACKEND_PORT + port, name) for port, name in
                 ((PORT_HTTP, "http"), (PORT_EVENTS, "http-events"), (PORT_HTTP2, "http2"))]
        self.service = {path: west.add_service(f"server-{path}", "mesh", ports, {"app": path})[0]
                        for path in ("mesh", "node")}
        self.pids = {}  # name of a proxy -> processes whose CPU is its
        self.of_node = {}  # (name of a proxy, "near" or "far") -> those of that node
        self.crowd = Crowd(west)

    def start(self):
        for namespace in self.lab.west.all_namespaces():
            namespace.set_sysctls(QUIET)
        for pod in self.server.values():
            pod.start(["taskset", "-c", LOAD_CORE, self.programs["bench_backend"], str(BACKEND_PORT)], "backend")
        for pod in self.server.values():
            wait_until("the backends", lambda pod=pod: pod.can_connect("127.0.0.1", BACKEND_PORT))
        for node in self.lab.west.nodes:
            node.proxy.config["workers"] = 1
            node.proxy.config["log"] = {"access": False}
        self.crowd.grow(SERVICES)
        self.lab.start_mesh()
        self._move_control()
        self.note_ours()

    def start_peers(self):
        make_certificates(self.folder)
        for name in PEER_PORTS:
            self._start_peer(name)

    def _move_control(self):
        """Control runs elsewhere in a cluster: not on the proxies' core, and behind load and backend on theirs."""
        pid = self.lab.west.control.process.pid
        for task in map(int, os.listdir(f"/proc/{pid}/task")):
            os.sched_setaffinity(task, {int(LOAD_CORE)})
            os.setpriority(os.PRIO_PROCESS, task, 10)

    def restart(self, nodes, audit=None):
        """These nodes' proxies of ours, anew; audit: in place of what the configuration says of it by default."""
        for proxy in (node.proxy for node in nodes):
            proxy.stop()
            proxy.config.pop("audit", None)
            if audit is not None:
                proxy.config["audit"] = audit
            proxy.start()
            wait_until("the proxy to be ready", proxy.is_ready, timeout_s=60, every_s=0.01)
        self.note_ours()

    def note_ours(self):
        """Whose processes ours are, at their start and after each restart."""
        self.pids["ours"] = [node.proxy.process.pid for node in self.lab.west.nodes]
        self.of_node["ours", "near"], self.of_node["ours", "far"] = [[pid] for pid in self.pids["ours"]]

    def _start_peer(self, name):
        kind = "nginx" if name.startswith("nginx") else "haproxy"
        ends = getattr(self, f"_{name.replace('-', '_')}", self._haproxy)(name)
        processes = []
        for node, sections in ends.items():
            template = os.path.join(HERE, "peers", f"{name if name == 'nginx-http' else kind}."
                                    f"{'conf' if kind == 'nginx' else 'cfg'}")
            path = os.path.join(self.folder, f"{name}-{node.name}.conf")
            with open(template, encoding="utf-8") as file:
                text = string.Template(file.read()).substitute(
                    folder=self.folder, name=f"{name}-{node.name}", sections="\n".join(sections),
                    modules=NGINX_MODULES, tuning="tune.bufsize 65536" if name == "haproxy-64k" else "")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            argv = ["nginx", "-c", path] if kind == "nginx" else ["haproxy", "-db", "-f", path]
            processes.append(node.start(["taskset", "-c", PROXY_CORE, *argv], name))
        front, middle, relay = PEER_PORTS[name]
        for node, port in ((self.near, front or relay), (self.far, middle)):
            try:
                if port:
                    wait_until(f"{name} on {node.name}", lambda node=node, port=port: node.can_connect(node.v4, port))
            except LabError as error:
                raise LabError(f"{error}\n" + "\n".join(p.last_words() for p in processes)) from None
        for side, process in zip(("near", "far"), processes):
            if kind == "nginx":  # it takes connections before it has its worker, whose CPU is what counts
                wait_until(f"the worker of {name}", lambda process=process: _children(process.pid))
            self.of_node[name, side] = [process.pid, *_children(process.pid)]
        self.pids[name] = [pid for side in ("near", "far") for pid in self.of_node.get((name, side), [])]
        if name == "haproxy-h2":
            self.pids["haproxy-no-tickets"] = self.pids[name]

    def credentials(self, proxy):
        """The PEM of a chain and its key that a proxy's far end takes: of a pod of the mesh, or of the peers' CA."""
        if proxy != "ours":
            return os.path.join(self.folder, "client.pem")
        folder = os.path.join(self.near.proxy.config["stateDir"], "svids")
        return os.path.join(folder, min(name for name in os.listdir(folder) if not name.startswith(".")))

    def _backend(self, path, port):
        return f"{self.server['plain', path].v4}:{BACKEND_PORT + port}"

    def _nginx(self, name):
        front, middle, relay = PEER_PORTS[name]
        ends = {self.near: [], self.far: []}
        for port in range(N_PORTS):
            ends[self.near] += [f"    server {{ listen {self.near.v4}:{front + port}; "
                                f"proxy_pass {self.far.v4}:{middle + port}; proxy_ssl on; }}",
                                f"    server {{ listen {self.near.v4}:{relay + port}; "
                                f"proxy_pass {self._backend('node', port)}; }}"]
            ends[self.far].append(f"    server {{ listen {self.far.v4}:{middle + port} ssl; "
                                  f"proxy_pass {self._backend('mesh', port)}; }}")
        return ends

    def _nginx_http(self, name):
        relay = PEER_PORTS[name][2]
        sections = []
        for port in (PORT_HTTP, PORT_EVENTS):
            buffering = " proxy_buffering off;" if port == PORT_EVENTS else ""
            sections += [f"    upstream u{port} {{ server {self._backend('node', port)}; keepalive 128; "
                         "keepalive_requests 100000000; }",
                         f"    server {{ listen {self.near.v4}:{relay + port}; location / {{ proxy_pass http://u{port};"
                         f"{buffering} }} }}"]
        return {self.near: sections}

    def _haproxy_http(self, name):
        relay = PEER_PORTS[name][2]
        sections = []
        for port in (PORT_HTTP, PORT_EVENTS, PORT_HTTP2):
            proto = " proto h2" if port == PORT_HTTP2 else ""
            sections += [f"listen relay{port}", *_http_mode(port),
                         f"    bind {self.near.v4}:{relay + port}{proto}",
                         f"    server s {self._backend('node', port)}{proto}"]
        return {self.near: sections}

    def _haproxy(self, name):
        front, middle, relay = PEER_PORTS[name]
        ends = {self.near: [], self.far: []}
        is_h2 = name == "haproxy-h2"
        for port in (PORT_HTTP, PORT_EVENTS, PORT_HTTP2) if is_h2 else range(N_PORTS):
            mode = _http_mode(port) if is_h2 else []
            alpn = " alpn h2" if is_h2 else ""
            proto = " proto h2" if is_h2 and port == PORT_HTTP2 else ""
            ends[self.near] += [f"listen front{port}", *mode, f"    bind {self.near.v4}:{front + port}{proto}",
                                f"    server s {self.far.v4}:{middle + port} ssl crt client.pem ca-file ca.crt "
                                f"verify required{alpn}"]
            if relay:
                ends[self.near] += [f"listen relay{port}", f"    bind {self.near.v4}:{relay + port}",
                                    f"    server s {self._backend('node', port)}"]
            ends[self.far] += [f"listen back{port}", *mode,
                               f"    bind {self.far.v4}:{middle + port} ssl crt server.pem ca-file ca.crt "
                               f"verify required{alpn}", f"    server s {self._backend('mesh', port)}{proto}"]
            if is_h2 and port == PORT_HTTP:
                ends[self.far].insert(-1, f"    bind {self.far.v4}:{FEW_TICKETS_PORT} ssl crt server.pem ca-file ca.crt "
                                          f"verify required{alpn} no-tls-tickets")
        return ends

    def target(self, proxy, row):
        """(pod that calls, address to call) for a row through a proxy."""
        if row.path == "far end":
            ports = {"ours": 15008, "haproxy-h2": PEER_PORTS["haproxy-h2"][1], "haproxy-no-tickets": FEW_TICKETS_PORT}
            host = self.server["mesh", "mesh"].v4 if proxy == "ours" else self.far.v4
            return self.client["plain"], f"{host}:{ports[proxy]}"
        if proxy == "ours" and row.is_http:
            return self.client["mesh"], f"{self.service[row.path]}:{BACKEND_PORT + row.port}"
        if proxy == "ours":
            return self.client["mesh"], f"{self.server['mesh', row.path].v4}:{BACKEND_PORT + row.port}"
        if proxy == "direct":
            return self.client["plain"], f"{self.server['plain', row.path].v4}:{BACKEND_PORT + row.port}"
        front, _middle, relay = PEER_PORTS[proxy]
        return self.client["plain"], f"{self.near.v4}:{(front if row.path == 'mesh' else relay) + row.port}"


def _http_mode(port):
    """HAProxy's, with what its documentation says for streams of events."""
    return ["    mode http", "    http-reuse always", *(["    option http-no-delay"] if port == PORT_EVENTS else [])]


def _children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []
