"""What is measured: the rows of the table, each with its goal."""

import dataclasses

HTTP, SINK, SOURCE, ECHO, EVENTS, HTTP2 = range(6)  # ports of bench_backend, from its first

L4_PEERS = ("haproxy", "haproxy-64k", "nginx")
MESH_PEERS = (*L4_PEERS, "haproxy-h2")
HTTP_PEERS = ("haproxy-http", "nginx-http")  # relays of HTTP between two pods of one node


@dataclasses.dataclass(frozen=True)
class Goal:
    """ours / the best of these peers is to be at least (or at most) so much."""
    peers: tuple
    ratio: float


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    what: str
    path: str           # "mesh": over two nodes under mutual TLS; "node": two pods of one node, plain; "far end": the
                        # TLS port of the destination's node, called by the load itself
    port: int           # which port of the backend
    arguments: tuple    # of bench_load
    figure: str         # of its answer, or "cpu_per_gb", "cpu_per_request"
    more_is_better: bool
    peers: tuple
    goals: tuple
    ztunnel: str = ""   # the name of the like row in ztunnel's benches
    beside: tuple = ()  # (port, arguments) of a load that runs beside it on the same path
    limit: float = 0.0  # what ours may be at most, whatever others are; 0: no limit
    added: float = 0.0  # what ours may be at most beyond direct, in the figure's unit; 0: no limit
    is_http: bool = False   # ours is called by a service whose port says that it speaks HTTP
    is_fresh: bool = False  # our proxy starts anew before: a heap that grew does not shrink
    also_unlogged: bool = False  # afterwards ours is measured without its audit log too, which no peer has

    @property
    def load(self):
        return " ".join(self.arguments)


def _bulk(way, flows):
    port = SOURCE if way == "download" else SINK
    return Row(f"mesh-bulk-{way}-{flows}", f"bulk bytes, {way}, {flows} flow{'s' if flows > 1 else ''}", "mesh", port,
               (way, "--connections", str(flows)), "bytes_per_s", True, L4_PEERS, (Goal(L4_PEERS, 1.15),),
               f"throughput/hbone/{flows}")


ROWS = (
    Row("mesh-rps", "HTTP/1.1 keep-alive, 1 KiB, 64 connections", "mesh", HTTP, ("http", "--connections", "64"),
        "rate", True, MESH_PEERS, (Goal(L4_PEERS, 2.5), Goal(("haproxy-h2",), 2.0), Goal(("direct",), 0.33))),
    Row("mesh-rps-cpu", "the same: CPU of both proxies for a request", "mesh", HTTP, ("http", "--connections", "64"),
        "cpu_per_request", False, MESH_PEERS, (Goal(L4_PEERS, 0.4), Goal(("haproxy-h2",), 0.5))),
    Row("mesh-latency-p50", "mesh-rps, open loop at 5,000/s, p50", "mesh", HTTP,
        ("http", "--connections", "64", "--rate", "5000"), "p50_us", False, MESH_PEERS, (Goal(MESH_PEERS, 0.9),),
        "latency/hbone"),
    Row("mesh-latency-p99", "the same, open loop at 5,000/s, p99", "mesh", HTTP,
        ("http", "--connections", "64", "--rate", "5000"), "p99_us", False, MESH_PEERS, (Goal(MESH_PEERS, 0.9),)),
    Row("mesh-connect", "a new connection for each request, 32 at once", "mesh", HTTP,
        ("connect", "--connections", "32"), "rate", True, MESH_PEERS,
        (Goal(L4_PEERS, 20.0), Goal(("haproxy-h2",), 0.9)), "connections/hbone"),
    Row("handshakes", "full mutual-TLS handshakes, ECDSA P-256: processor time of the called proxy for one", "far end",
        HTTP, ("handshake", "--connections", "16"), "cpu_per_request", False, ("haproxy-h2", "haproxy-no-tickets"),
        (Goal(("haproxy-h2",), 0.77), Goal(("haproxy-no-tickets",), 0.77))),
    *(_bulk(way, flows) for flows in (1, 4, 8) for way in ("download", "upload")),
    Row("mesh-pingpong", "64 B there and back, one connection, p50", "mesh", ECHO, ("pingpong", "--size", "64"),
        "p50_us", False, L4_PEERS, (Goal(("haproxy", "haproxy-64k"), 0.85), Goal(("nginx",), 0.95))),
    Row("mesh-fairness", "800 small requests/s beside four saturating downloads, p99", "mesh", HTTP,
        ("http", "--connections", "16", "--rate", "800"), "p99_us", False, L4_PEERS,
        (Goal(("haproxy", "haproxy-64k"), 0.02),), beside=(SOURCE, ("download", "--connections", "4"))),
    Row("mesh-memory", "5,000 idle connections: memory of both proxies for each", "mesh", HTTP,
        ("idle", "--connections", "5000"), "bytes_each", False, ("haproxy", "nginx"),
        (Goal(("haproxy", "nginx"), 0.02),)),
    Row("mesh-idle", "5,000 idle connections: processor time of both proxies", "mesh", HTTP,
        ("idle", "--connections", "5000"), "proxy_cpu", False, ("haproxy", "nginx"), (), limit=0.005),
    Row("tls-encrypt", "four downloads: bytes for a CPU second of the node that encrypts", "mesh", SOURCE,
        ("download", "--connections", "4"), "bytes_per_far_cpu_s", True, L4_PEERS, (Goal(L4_PEERS, 1.2),)),
    Row("tls-decrypt", "the same of the node that decrypts", "mesh", SOURCE,
        ("download", "--connections", "4"), "bytes_per_near_cpu_s", True, L4_PEERS, (Goal(L4_PEERS, 1.1),)),
    Row("capture", "a new connection for each request between two pods of one node: captured, beside relays that are "
        "called", "node", HTTP, ("connect", "--connections", "32"), "rate", True, L4_PEERS, (Goal(L4_PEERS, 0.88),),
        "connections/tcp"),
    Row("relay-bulk", "two pods of one node, bulk, proxy CPU for a GB", "node", SOURCE,
        ("download", "--connections", "4"), "cpu_per_gb", False, L4_PEERS, (Goal(L4_PEERS, 0.3),), "throughput/tcp/4"),
    Row("relay-rps", "two pods of one node, HTTP 1 KiB, proxy CPU for a request", "node", HTTP,
        ("http", "--connections", "64"), "cpu_per_request", False, L4_PEERS,
        (Goal(("haproxy", "haproxy-64k"), 0.9),)),
    Row("node-pingpong", "two pods of one node, 64 B there and back, p50", "node", ECHO,
        ("pingpong", "--size", "64"), "p50_us", False, L4_PEERS, (Goal(L4_PEERS, 1.0),), "latency/tcp"),
    Row("http-h1", "two pods of one node, HTTP/1.1 request by request, 1 KiB, 64 connections", "node", HTTP,
        ("http", "--connections", "64"), "rate", True, HTTP_PEERS, (Goal(HTTP_PEERS, 1.3),), is_http=True,
        also_unlogged=True),
    Row("http-h1-cpu", "the same: proxy CPU for a request, which the load does not cap", "node", HTTP,
        ("http", "--connections", "64"), "cpu_per_request", False, HTTP_PEERS, (Goal(HTTP_PEERS, 0.77),), is_http=True,
        also_unlogged=True),
    Row("http-h2", "HTTP/2 over mutual TLS between two nodes, 1 KiB, 16 connections of 16 requests at once", "mesh", HTTP2,
        ("http", "--connections", "16", "--streams", "16"), "rate", True, ("haproxy-h2",), (Goal(("haproxy-h2",), 1.1),),
        is_http=True, also_unlogged=True),
    Row("http-connect", "mesh-connect by a service of HTTP: a client's new connection finds one to the server", "mesh", HTTP,
        ("connect", "--connections", "32"), "rate", True, ("haproxy-h2",), (Goal(("haproxy-h2",), 1.0),), is_http=True),
    Row("http-sse", "server-sent events, 1,600/s on 16 connections over two nodes: age of one when it comes, p99", "mesh",
        EVENTS, ("sse", "--connections", "16"), "p99_us", False, ("haproxy-h2",), (), added=100.0, is_http=True),
    Row("http-sse-first", "the same: from the request to the first byte of its answer, p50", "mesh",
        EVENTS, ("sse", "--connections", "16"), "first_p50_us", False, ("haproxy-h2",), (), added=100.0, is_http=True),
    Row("http-memory-h1", "two pods of one node, 5,000 idle connections of HTTP/1.1: memory of the proxy for each", "node",
        HTTP, ("idle", "--connections", "5000"), "bytes_each", False, HTTP_PEERS, (), limit=4096, is_http=True,
        is_fresh=True),
    Row("http-memory-h2", "the same of HTTP/2", "node", HTTP2, ("idle", "--connections", "5000", "--streams", "1"),
        "bytes_each", False, ("haproxy-http",), (), limit=4096, is_http=True, is_fresh=True),
)
