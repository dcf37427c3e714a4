"""The parts of the lab that decide something by themselves: YAML, DNS answers, captures, the model server."""

import http.client
import ipaddress
import json
import os
import struct
import tempfile
import threading
import unittest

import dns_server
import lab
import manifests
import model_server
import pcap
from process import LabError, LabTimeout, wait_until


class Yaml(unittest.TestCase):
    def test_text_that_yaml_would_take_for_something_else_is_quoted(self):
        for text, expected in (("web", "web"), ("true", '"true"'), ("No", '"No"'), ("10.1.0.1", '"10.1.0.1"'),
                               ("", '""'), ("a: b", '"a: b"'), ("x # y", '"x # y"'), ("*", '"*"'), ("1e3", '"1e3"'),
                               ("security.istio.io/v1", "security.istio.io/v1")):
            with self.subTest(text):
                self.assertEqual(manifests.to_yaml({"key": text}), f"key: {expected}\n")

    def test_blocks_nest(self):
        value = {"a": {"b": [{"c": 1, "d": ["x"]}, {"e": True}]}, "empty": {}, "none": [], "list": [["z"], 2]}
        self.assertEqual(manifests.to_yaml(value), "a:\n  b:\n    - c: 1\n      d:\n        - x\n    - e: true\n"
                                                   "empty: {}\nnone: []\nlist:\n  - - z\n  - 2\n")


def query(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


class Dns(unittest.TestCase):
    records = {"a.example": [ipaddress.ip_address("192.0.2.1")]}

    def outcome(self, message):
        reply = dns_server.answer(message, self.records)
        flags, _, answers = struct.unpack("!HHH", reply[2:8])
        return flags & 15, answers

    def test_names_and_types(self):
        for name, kind, expected in (("a.example", 1, (0, 1)), ("A.Example", 1, (0, 1)), ("a.example", 28, (0, 0)),
                                     ("a.example", 16, (0, 0)), ("b.example", 1, (3, 0))):
            with self.subTest(f"{name} {kind}"):
                self.assertEqual(self.outcome(query(name, kind)), expected)

    def test_broken_queries_are_format_errors(self):
        whole = query("a.example", 1)
        for message in (whole[:12], whole[:-1], whole[:12] + b"\xc0\x0c\0\1\0\1", b"\0\1"):
            with self.subTest(message):
                self.assertEqual(self.outcome(message), (1, 0))


class Captures(unittest.TestCase):
    def write(self, *frames):
        file = tempfile.NamedTemporaryFile(delete=False)
        self.addCleanup(os.unlink, file.name)
        with file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for frame in frames:
                file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
        return file.name

    def test_segments_of_both_families_are_found_and_others_left_out(self):
        tcp = struct.pack("!HHIIBBHHH", 1000, 15008, 0, 0, 5 << 4, 0, 0, 0, 0) + b"payload"
        v4 = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, b"\x0a\x01\x01\x0a",
                         b"\x0a\x02\x01\x0a") + tcp
        v6 = struct.pack("!IHBB16s16s", 6 << 28, len(tcp), 6, 64, b"\xfd" + bytes(15), b"\xfe" + bytes(15)) + tcp
        udp = v4[:9] + b"\x11" + v4[10:]
        path = self.write(bytes(12) + b"\x08\0" + v4 + b"\0\0padding", bytes(12) + b"\x86\xdd" + v6,
                          bytes(12) + b"\x08\0" + udp, bytes(12) + b"\x08\x06" + bytes(28), b"short")
        found = list(pcap.segments(path))
        self.assertEqual([(s.src, s.dport, s.payload) for s in found],
                         [("10.1.1.10", 15008, b"payload"), ("fd00::", 15008, b"payload")])

    def test_what_is_not_a_capture_is_refused(self):
        with self.assertRaises(ValueError):
            list(pcap.frames(__file__))


class ModelServer(unittest.TestCase):
    def setUp(self):
        self.server = model_server.Server("west", 0)
        threading.Thread(target=self.server.serve_forever).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_address[1], timeout=5)
        self.addCleanup(connection.close)
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def test_it_names_its_cluster_and_counts_markers(self):
        self.assertEqual(self.ask("GET", "/predict"), (200, {"cluster": "west"}))
        self.assertEqual(self.ask("POST", "/predict", "x-marker-y"), (200, {"cluster": "west"}))
        self.assertEqual(self.ask("GET", "/received?marker=marker"), (200, {"count": 1}))
        self.assertEqual(self.ask("GET", "/received?marker=other"), (200, {"count": 0}))
        self.assertEqual(self.ask("GET", "/nothing")[0], 404)


class Waiting(unittest.TestCase):
    def test_a_wait_that_is_over_says_what_it_waited_for(self):
        with self.assertRaisesRegex(LabTimeout, "waited 0.05 s for the moon"):
            wait_until("the moon", lambda: False, timeout_s=0.05)

    def test_a_lab_outside_of_namespaces_is_refused(self):
        with self.assertRaisesRegex(LabError, "enter"):
            lab.Lab()


if __name__ == "__main__":
    unittest.main(verbosity=2)
