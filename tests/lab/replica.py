"""A server whose answers say who gave them, and whose speed and health change while it runs.

usage: replica.py POD CLUSTER PORT STATE_FILE

STATE_FILE is JSON, read again for each request: {"delay_ms": 5, "healthz": 200}. GET /healthz answers with that status
at once; every other GET waits for the delay and answers {"pod": ..., "cluster": ...}.
"""

import http.server
import json
import socket
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self):
        with open(self.server.state_path, encoding="ascii") as file:
            state = json.load(file)
        if self.path == "/healthz":
            self.reply(state["healthz"])
            return
        time.sleep(state["delay_ms"] / 1e3)
        self.reply(200)

    def reply(self, status):
        data = json.dumps({"pod": self.server.pod, "cluster": self.server.cluster}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, *_):
        """Quiet: what was answered is for the caller to tell."""


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, pod, cluster, port, state_path):
        self.pod, self.cluster, self.state_path = pod, cluster, state_path
        super().__init__(("::", port), Handler)

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


if __name__ == "__main__":
    Server(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]).serve_forever()
