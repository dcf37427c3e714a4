"""An HTTP/2 server for the lab, in clear and by prior knowledge.

usage: h2_server.py CLUSTER PORT

  CONNECT with :protocol (RFC 8441)   200, and the bytes come back
  any other request                   its head, the length of its body and the cluster, as JSON
"""

import json
import socket
import sys
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings

PIECE = 65536


class Connection:
    def __init__(self, sock, cluster):
        self.sock, self.cluster = sock, cluster
        self.codec = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self.codec.local_settings = h2.settings.Settings(client=False, initial_values={
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100,
            h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        self.heads, self.lengths = {}, {}

    def serve(self):
        self.codec.initiate_connection()
        self.flush()
        with self.sock:
            while data := self.sock.recv(PIECE):
                for event in self.codec.receive_data(data):
                    self.on_event(event)
                self.flush()

    def flush(self):
        self.sock.sendall(self.codec.data_to_send())

    def on_event(self, event):
        match event:
            case h2.events.RequestReceived():
                self.heads[event.stream_id], self.lengths[event.stream_id] = event.headers, 0
                if self.is_protocol(event.stream_id):
                    self.codec.send_headers(event.stream_id, [(":status", "200")])
            case h2.events.DataReceived():
                self.lengths[event.stream_id] += len(event.data)
                self.codec.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if self.is_protocol(event.stream_id):
                    self.codec.send_data(event.stream_id, event.data)
            case h2.events.StreamEnded():
                if self.is_protocol(event.stream_id):
                    self.codec.end_stream(event.stream_id)
                else:
                    self.answer(event.stream_id)

    def is_protocol(self, stream):
        return ":protocol" in dict(self.heads[stream])

    def answer(self, stream):
        head = dict(self.heads[stream])
        body = json.dumps({"cluster": self.cluster, "version": "2", "method": head[":method"], "target": head[":path"],
                           "length": self.lengths[stream], "fields": self.heads[stream]}).encode() + b"\n"
        self.codec.send_headers(stream, [(":status", "200"), ("content-length", str(len(body)))])
        self.codec.send_data(stream, body, end_stream=True)


def main(cluster, port):
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=Connection(sock, cluster).serve, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
