"""HBONE by python-h2 over Python's ssl: the other implementation, which shares no code with Isthmus.

A Peer is one HTTP/2 connection, client or server. It has no thread: whoever waits turns it (turn, wait). A Server is a
listener with a thread for each connection.
"""

import collections
import select
import socket
import ssl
import threading
import time

import h2.connection
import h2.config
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

from process import LabTimeout, wait_until

ZTUNNEL_CLIENT = {  # what ztunnel's client says first
    h2.settings.SettingCodes.ENABLE_PUSH: 0,
    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 4 << 20,
    h2.settings.SettingCodes.MAX_FRAME_SIZE: 1 << 20,
    h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 16384,
}
ZTUNNEL_SERVER = {
    h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 200,
    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 4 << 20,
    h2.settings.SettingCodes.MAX_FRAME_SIZE: 1 << 20,
    h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 65536,
}
CONNECTION_WINDOW = 16 << 20
FIRST_WINDOW = 65535
READ_BYTES = 1 << 18
FATAL = (OSError, h2.exceptions.ProtocolError)


class Stream:
    """A stream of a Peer. Bytes given to send() leave as the windows allow."""

    def __init__(self, peer, number):
        self.peer, self.number = peer, number
        self.headers, self.data = {}, bytearray()  # what came
        self.has_ended, self.reset = False, None   # the other side's END_STREAM; the code of its RST_STREAM
        self.largest_frame = 0
        self._out, self._ends, self._end_sent = bytearray(), False, False

    @property
    def status(self):
        return self.headers.get(":status")

    @property
    def is_over(self):
        return self.has_ended or self.reset is not None or not self.peer.is_alive

    def send(self, data, end=False):
        self._out += data
        self._ends = self._ends or end

    def end(self):
        self._ends = True

    def respond(self, status, end=False, **headers):
        self.peer.h2.send_headers(self.number, [(":status", status), *headers.items()], end_stream=end)
        self._end_sent = end

    def abort(self, code=h2.errors.ErrorCodes.CANCEL):
        self.peer.h2.reset_stream(self.number, code)
        self._out, self._end_sent = bytearray(), True

    @property
    def is_sent(self):
        return not self._out

    def give_to_h2(self):
        """Hands to the codec what the windows allow."""
        codec = self.peer.h2
        while self._out and self.reset is None:
            n = min(len(self._out), codec.local_flow_control_window(self.number), codec.max_outbound_frame_size)
            if n <= 0:
                return
            codec.send_data(self.number, bytes(self._out[:n]))
            del self._out[:n]
        if self._ends and not self._end_sent and self.reset is None:
            codec.end_stream(self.number)
            self._end_sent = True


class Codec(h2.connection.H2Connection):
    """python-h2 takes any GOAWAY for the end of all. One without an error lets open streams go on (RFC 9113, 6.8)."""

    def _receive_goaway_frame(self, frame):
        state, unsent = self.state_machine.state, bytes(self._data_to_send)
        result = super()._receive_goaway_frame(frame)
        if frame.error_code == h2.errors.ErrorCodes.NO_ERROR:
            self.state_machine.state, self._data_to_send = state, bytearray(unsent)
        return result


class Peer:
    """One HTTP/2 connection over a TLS socket that has done its handshake."""

    def __init__(self, sock, is_client, settings=None, connection_window=CONNECTION_WINDOW):
        self.sock, self.local = sock, sock.getsockname()
        self.streams, self.events = {}, []
        self.error, self.goaway, self.n_pings_answered, self.remote_settings = None, None, 0, None
        self.reads = True            # False: what arrives is not taken from the windows
        self.grants_bytes = None     # a number: windows are given back in such steps
        self.on_request = self.on_data = self.on_end = None
        self._out, self._todo = bytearray(), collections.deque()
        self._timeout_s = sock.gettimeout() or 20.0
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = settings if settings is not None else (ZTUNNEL_CLIENT if is_client else ZTUNNEL_SERVER)
        # Validation would insist on :path and :scheme, which a CONNECT does not have.
        self.h2 = Codec(h2.config.H2Configuration(
            client_side=is_client, header_encoding="utf-8", validate_inbound_headers=False,
            validate_outbound_headers=False))
        self.h2.local_settings = h2.settings.Settings(client=is_client, initial_values=settings)
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.h2.initiate_connection()
        if connection_window > FIRST_WINDOW:
            self.h2.increment_flow_control_window(connection_window - FIRST_WINDOW)

    @property
    def is_alive(self):
        return self.error is None

    # ---- turning ----

    def turn(self, timeout_s=0.05):
        """Sends what may be sent and receives what comes in that time."""
        if not self.is_alive:
            return
        try:
            while self._todo:
                self._todo.popleft()()
            for stream in list(self.streams.values()):
                self._give(stream)
            self._flush()
            pending = self.sock.pending()
            readable, _, _ = select.select([self.sock], [self.sock] if self._out else [], [],
                                           0 if pending else timeout_s)
            if pending or readable:
                self._receive()
            self._flush()
        except FATAL as error:
            self._die(error)

    @staticmethod
    def _give(stream):
        try:
            stream.give_to_h2()
        except (h2.exceptions.StreamClosedError, h2.exceptions.NoSuchStreamError):
            pass  # a reset crossed what was to be sent

    def _flush(self):
        self._out += self.h2.data_to_send()
        while self._out:
            try:
                del self._out[:self.sock.send(self._out[:READ_BYTES])]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return

    def _receive(self):
        while True:
            try:
                data = self.sock.recv(READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                self._die(EOFError("the other side closed the connection"))
                return
            for event in self.h2.receive_data(data):
                self._handle(event)

    def _die(self, error):
        if self.error is None:
            self.error = error
            self.sock.close()

    def wait(self, what, condition, timeout_s=None):
        """Turns until condition() is true, and gives its value. LabTimeout says what was waited for."""
        deadline = time.monotonic() + (timeout_s or self._timeout_s)
        while not (value := condition()):
            if time.monotonic() > deadline or not self.is_alive:
                raise LabTimeout(f"waited for {what}; the connection's error: {self.error!r}")
            self.turn()
        return value

    def do(self, work):
        """Has the thread that turns this peer do something. Any thread may call it."""
        self._todo.append(work)

    def say_goaway(self, last_stream, code=h2.errors.ErrorCodes.NO_ERROR):
        """GOAWAY, after which python-h2 goes on."""
        self._out += self.h2.data_to_send() + hyperframe.frame.GoAwayFrame(0, last_stream, code).serialize()

    def say_raw(self, frame):
        """A frame that python-h2 would not send."""
        self._out += self.h2.data_to_send() + frame.serialize()

    def die(self):
        """The connection ends here and now, without a word of HTTP/2."""
        self._die(ConnectionAbortedError("ended here"))

    def close(self):
        """GOAWAY, then the end."""
        if not self.is_alive:
            return
        try:
            self.h2.close_connection()
            self._flush()
        except FATAL:
            pass
        self._die(ConnectionAbortedError("closed here"))

    # ---- what arrives ----

    def _handle(self, event):
        self.events.append(event)
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RequestReceived):
            stream = Stream(self, event.stream_id)
            stream.headers, stream.header_list = dict(event.headers), event.headers
            self.streams[event.stream_id] = stream  # others look: whole
            if self.on_request:
                self.on_request(stream)
        elif isinstance(event, h2.events.ResponseReceived):
            stream.headers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self._handle_data(stream, event)
        elif isinstance(event, h2.events.StreamEnded):
            stream.has_ended = True
            if self.on_end:
                self.on_end(stream)
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event
        elif isinstance(event, h2.events.PingAckReceived):
            self.n_pings_answered += 1
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.remote_settings = self.remote_settings or event

    def _handle_data(self, stream, event):
        stream.data += event.data
        stream.largest_frame = max(stream.largest_frame, len(event.data))
        if self.grants_bytes:
            self._grant(stream, event.flow_controlled_length)
        elif self.reads and event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, stream.number)
        if self.on_data:
            self.on_data(stream, event.data)

    def _grant(self, stream, n_bytes):
        while n_bytes > 0:
            step = min(n_bytes, self.grants_bytes)
            self.h2.increment_flow_control_window(step)
            self.h2.increment_flow_control_window(step, stream.number)
            n_bytes -= step

    # ---- requests ----

    def request(self, fields, end=False):
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(self, number)
        stream._end_sent = end
        self.h2.send_headers(number, fields, end_stream=end)
        return stream

    def connect(self, authority, *more):
        """A CONNECT as ztunnel writes it, with its answer awaited: see its status."""
        stream = self.request([(":method", "CONNECT"), (":authority", authority), *more])
        self.wait(f"the answer to CONNECT {authority}", lambda: stream.status or stream.is_over)
        return stream

    def exchange(self, stream, data, timeout_s=None):
        """Sends, ends this direction, and gives everything that comes back until the other's end."""
        stream.send(data, end=True)
        self.wait("the end of the answer", lambda: stream.is_over, timeout_s)
        return bytes(stream.data)

    def ping(self):
        before = self.n_pings_answered
        self.h2.ping(b"interop!")
        self.wait("the answer to a PING", lambda: self.n_pings_answered > before)


def dial(namespace, host, context, port=15008, timeout_s=20.0):
    """A TLS socket from a namespace, without SNI. OSError when the handshake fails on this side."""
    raw = namespace.connect(host, port, timeout_s)
    try:
        return context.wrap_socket(raw)
    except BaseException:
        raw.close()
        raise


class Server:
    """Listens in a namespace as the node of a pod would. `prepare(peer)` sets up each new connection.

    hellos: the first bytes of every connection. failures: what went wrong in handshakes. peers: all connections.
    """

    def __init__(self, namespace, host, context, prepare, port=15008, settings=None):
        self.context, self.prepare, self.settings = context, prepare, settings
        self.peers, self.hellos, self.failures, self.names = [], [], [], []
        self._threads, self._unwanted, self._ending = [], [], False
        with namespace.entered():
            self._listener = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener.settimeout(0.05)
        self._start(self._accept)

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._ending:
            try:
                raw, _ = self._listener.accept()
            except TimeoutError:
                continue
            raw.settimeout(20)
            self._start(self._serve, raw)

    def _serve(self, raw):
        try:
            self.hellos.append(raw.recv(4096, socket.MSG_PEEK))
            self.context.sni_callback = lambda _, name, __: self.names.append(name)
            peer = Peer(self.context.wrap_socket(raw, server_side=True), False, self.settings)
        except OSError as error:
            self.failures.append(error)
            raw.close()
            return
        self.prepare(peer)
        self.peers.append(peer)
        while not self._ending and peer.is_alive and peer not in self._unwanted:
            peer.turn(0.02)
        peer.close()

    def hang_up(self):
        """Ends all connections, and forgets what was seen. Their threads see to it."""
        self._unwanted += self.peers
        wait_until("all connections to end", lambda: not any(peer.is_alive for peer in self._unwanted))
        self.peers, self.hellos, self.failures, self.names = [], [], [], []

    def close(self):
        self._ending = True
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
