"""model-server of the demo: answers GET and POST /predict with the name of its cluster.

usage: model_server.py CLUSTER PORT

GET /received?marker=X says how many /predict bodies held X, so that a test knows what arrived.
"""

import collections
import http.server
import json
import socket
import sys
import urllib.parse

BODY_MAX_BYTES = 1 << 20


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/received":
            marker = urllib.parse.parse_qs(url.query).get("marker", [""])[0].encode()
            self.reply(200, {"count": sum(marker in body for body in self.server.bodies)})
        elif url.path == "/predict":
            self.reply(200, {"cluster": self.server.cluster})
        else:
            self.reply(404, {"error": "there is only /predict"})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_MAX_BYTES:
            self.close_connection = True
            self.reply(411, {"error": "a body with a length, 1 MiB at most"})
            return
        self.server.bodies.append(self.rfile.read(int(length)))
        self.do_GET()

    def reply(self, status, body):
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Quiet: the demo reads only what it asked for."""


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6  # and IPv4 too: server_bind() below
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cluster, port):
        self.cluster = cluster
        self.bodies = collections.deque(maxlen=10000)
        super().__init__(("::", port), Handler)

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.cluster, self.server_address[1]


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2])).serve_forever()
