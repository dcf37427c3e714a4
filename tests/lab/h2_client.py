"""The client's half of a protocol over HTTP/2 (RFC 8441), for tests: an extended CONNECT, and bytes both ways."""

import h2.config
import h2.connection
import h2.events


class Tunnel:
    """A stream that was switched to a protocol. ValueError when the answer is not 200."""

    def __init__(self, sock, authority, path, protocol="websocket"):
        self.sock, self.received, self.ended = sock, b"", False
        self.codec = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self.codec.initiate_connection()
        self._flush()
        while not self.codec.remote_settings.enable_connect_protocol:
            self._take()
        self.stream = self.codec.get_next_available_stream_id()
        self.head = None
        self.codec.send_headers(self.stream, [
            (":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":authority", authority),
            (":path", path), ("sec-websocket-version", "13")])
        self._flush()
        while self.head is None:
            self._take()
        if self.head[":status"] != "200":
            raise ValueError(f"answer {self.head}")

    def _flush(self):
        self.sock.sendall(self.codec.data_to_send())

    def _take(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the connection ended")
        for event in self.codec.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    self.head = dict(event.headers)
                case h2.events.DataReceived():
                    self.received += event.data
                    self.codec.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    self.ended = True
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise ConnectionError(f"{event}")
        self._flush()

    def exchange(self, data):
        """Sends the bytes and gives as many that come back."""
        while data_left := data:
            room = min(len(data_left), self.codec.local_flow_control_window(self.stream), 16384)
            if room == 0:
                self._take()
                continue
            self.codec.send_data(self.stream, data_left[:room])
            self._flush()
            data = data_left[room:]
            self._n_sent += room
        while len(self.received) < self._n_sent:
            self._take()
        found, self.received, self._n_sent = self.received, b"", 0
        return found

    _n_sent = 0

    def end(self):
        """Ends our direction and waits for the other's end."""
        self.codec.end_stream(self.stream)
        self._flush()
        while not self.ended:
            self._take()
