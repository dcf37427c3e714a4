#!/usr/bin/env python3
"""A node driven by a control plane that is not ours: workloads in Istio's messages, balancing in Envoy's Cluster.

What a Cluster says is seen in what connections do and in `isthmus ctl endpoints`; what cannot be done is refused with the
field, and the last good Cluster stays.
"""

import base64
import collections
import json
import os
import shutil
import sys
import threading
import unittest

import lab
from cluster import CONTROL_PORT, write_file
from process import wait_until
from protos import compile_protos

try:
    import grpc  # noqa: F401
    import google.protobuf  # noqa: F401
    from authority import Authority
except ModuleNotFoundError as missing:
    print("skipped:", missing)
    sys.exit(lab.EXIT_SKIPPED)
if not shutil.which("protoc"):
    print("skipped: no protoc")
    sys.exit(lab.EXIT_SKIPPED)

HERE = os.path.dirname(os.path.abspath(__file__))
ADDRESS = "type.googleapis.com/istio.workload.Address"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
DOMAIN, HOST = "west.example", "web.shop.svc.clusterset.local"
VIP, PORT, POD_PORT = "10.201.0.7", 80, 8080
RESETS = """
import socket, struct, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])))
while True:
    sock, _ = listener.accept()
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
"""


class ForeignControl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab(n_clusters=1, n_nodes=1)
        cls.lab.__enter__()
        cls.addClassCleanup(cls.lab.__exit__, None, None, None)
        cls.west = cls.lab.west
        cls.node = cls.west.nodes[0]
        protos = compile_protos(cls.west.folder)
        cls.protos, cls.cluster_pb, cls.workload_pb = protos["folder"], protos["cluster_pb2"], protos["workload_pb2"]
        cls.route_pb = protos["route_pb2"]
        cls.client = cls.node.add_pod("client", "shop", "app")
        cls.webs = [cls.node.add_pod(f"web-{i}", "shop", "app") for i in (1, 2)]
        cls.servers = [cls.serve(pod) for pod in cls.webs]
        cls.state, cls.state_path = {ADDRESS: cls.addresses(), CLUSTER: {}}, os.path.join(cls.west.folder, "state.json")
        cls.publish()
        cls.start()

    @classmethod
    def serve(cls, pod, argv=()):
        server = pod.start([sys.executable, *(argv or [os.path.join(lab.ROOT, "tests", "lab", "tcp_server.py")]),
                            str(POD_PORT)], name=f"server-{len(argv)}", env={**os.environ, "ISTHMUS_CLUSTER": pod.pod_name})
        wait_until(f"{pod.name} to listen", lambda: pod.can_connect("127.0.0.1", POD_PORT))
        return server

    @classmethod
    def addresses(cls):
        """The client and both servers, in one zone each; and the service."""
        found = {}
        for pod, zone in ((cls.client, "a"), (cls.webs[0], "a"), (cls.webs[1], "b")):
            workload = cls.workload_pb.Workload(
                uid=f"west//v1/Pod/shop/{pod.pod_name}", name=pod.pod_name, namespace="shop", service_account="app",
                trust_domain=DOMAIN, cluster_id="west", node=cls.node.name, tunnel_protocol=cls.workload_pb.HBONE,
                addresses=[bytes(int(part) for part in pod.v4.split("."))],
                locality=cls.workload_pb.Locality(region="west", zone=zone))
            if pod is not cls.client:
                workload.services[f"shop/{HOST}"].ports.add(service_port=PORT, target_port=POD_PORT)
            found[workload.uid] = cls.workload_pb.Address(workload=workload)
        service = cls.workload_pb.Service(name="web", namespace="shop", hostname=HOST)
        service.addresses.add(address=bytes(int(part) for part in VIP.split(".")))
        service.ports.add(service_port=PORT)
        found[f"shop/{HOST}"] = cls.workload_pb.Address(service=service)
        return {name: base64.b64encode(message.SerializeToString()).decode() for name, message in found.items()}

    @classmethod
    def publish(cls):
        write_file(cls.state_path, json.dumps(cls.state))

    @classmethod
    def start(cls):
        authority = Authority.stranger(cls.west.folder, DOMAIN)

        def issue(name, folder):
            """tls.crt and tls.key of an identity; the folder."""
            with open(authority.issue(f"spiffe://{DOMAIN}/{name}"), encoding="ascii") as file:
                key, mark, chain = file.read().partition("-----BEGIN CERTIFICATE-----")
            write_file(os.path.join(folder, "tls.key"), key, 0o600)
            write_file(os.path.join(folder, "tls.crt"), mark + chain)
            return folder

        folder = cls.west.folder
        server = issue("isthmus/control", os.path.join(folder, "server"))
        node = issue(f"isthmus/node/{cls.node.name}", os.path.join(folder, "node"))
        issue("ns/shop/sa/app", os.path.join(folder, "pods", "app"))
        cls.server = cls.west.control_namespace.start(
            [sys.executable, os.path.join(HERE, "ads_server.py"), cls.protos, os.path.join(server, "tls.crt"),
             os.path.join(server, "tls.key"), str(CONTROL_PORT), cls.state_path], name="ads")
        config = cls.node.proxy.config
        config["control"] = {"address": f"{cls.west.control_v4}:{CONTROL_PORT}", "trustBundle": authority.root_path}
        config["workers"] = 1
        config["identity"] = {"node": "files", "nodeCertificate": os.path.join(node, "tls.crt"),
                              "nodeKey": os.path.join(node, "tls.key"), "pods": "files",
                              "podsDir": os.path.join(folder, "pods")}
        cls.node.proxy.start()
        cls.node.proxy.await_ready()

    # ---- what is said, and what comes of it ----

    def answers(self, type_url):
        """What the node said to each resource of a type so far: the error, "" for an ACK."""
        lines = [json.loads(line) for line in self.server.out().splitlines() if line.endswith("}")]
        return [line["error"] for line in lines if line["type"] == type_url]

    def send(self, type_url, message):
        """What the node answers to the only resource of its type. One that it took is in force then."""
        before = self.generation()
        n_before = len(self.answers(type_url))
        self.state[type_url] = {message.name: base64.b64encode(message.SerializeToString()).decode()}
        self.publish()
        wait_until("the node to answer", lambda: len(self.answers(type_url)) > n_before)
        if not self.answers(type_url)[-1]:
            wait_until("a new snapshot", lambda: self.generation() > before)
        return self.answers(type_url)[-1]

    def say(self, **fields):
        """A Cluster for the service; what the node answers."""
        return self.send(CLUSTER, self.cluster_pb.Cluster(name=f"shop/{HOST}", **fields))

    def generation(self):
        return self.node.proxy.ctl("status")["snapshot"]["generation"]

    def call(self):
        with self.client.connect(VIP, PORT, 20) as sock:
            sock.sendall(b"who\n")
            return sock.recv(256).decode().split()[-1:]

    def count(self, n):
        return collections.Counter(self.call()[0] for _ in range(n))

    def rows(self):
        found = self.node.proxy.ctl("endpoints", HOST)["endpoints"]
        return {row["workload"]: row for row in found if row["service"] == HOST and row["share_pct"] is not None}

    def shares(self):
        return [round(row["share_pct"]) for _, row in sorted(self.rows().items())]

    def test_1_round_robin_and_ring_hash(self):
        self.assertEqual(self.say(lb_policy=0), "")
        wait_until("turns", lambda: self.count(10) == {"web-1": 5, "web-2": 5})
        self.assertEqual(self.shares(), [50, 50])
        ring = {"minimum_ring_size": {"value": 4096}, "hash_function": 1}
        self.assertEqual(self.say(lb_policy=2, ring_hash_lb_config=ring), "")
        wait_until("one server for one client", lambda: len(self.count(10)) == 1)

    def test_2_localities_by_weight(self):
        weights = [{"locality": {"region": "west", "zone": zone}, "load_balancing_weight": {"value": weight}}
                   for zone, weight in (("a", 3), ("b", 1))]
        self.assertEqual(self.say(lb_policy=0, common_lb_config={"locality_weighted_lb_config": {}},
                                  load_assignment={"cluster_name": f"shop/{HOST}", "endpoints": weights}), "")
        wait_until("shares of 3 to 1", lambda: self.call() and self.shares() == [75, 25])

    def test_3_what_is_wrong_is_refused_with_the_field_and_the_last_good_one_stays(self):
        gap = {"cluster_name": f"shop/{HOST}", "endpoints": [{"priority": 0}, {"priority": 2}]}
        twice = {"cluster_name": f"shop/{HOST}", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}] * 2}]}
        heavy = {"cluster_name": f"shop/{HOST}", "endpoints": [
            {"load_balancing_weight": {"value": 2 ** 32 - 1}}, {"load_balancing_weight": {"value": 1}}]}
        for fields, place in (
                ({"lb_policy": 7}, "lb_policy: 7 is not"),
                ({"load_balancing_policy": {}}, "load_balancing_policy is not read"),
                ({"lb_policy": 2, "ring_hash_lb_config": {"hash_function": 5}}, "ring_hash_lb_config.hash_function: 5"),
                ({"load_assignment": gap}, "load_assignment.endpoints.priority: 2 is there, but not 1"),
                ({"load_assignment": twice}, "load_assignment.endpoints: 10.0.0.1 port 80 stands there twice"),
                ({"load_assignment": heavy}, "the weights of priority 0 sum up to 4294967296"),
                ({"common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}},
                 "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing"),
                ({"common_lb_config": {"healthy_panic_threshold": {"value": float("nan")}}},
                 "common_lb_config.healthy_panic_threshold: nan"),
                ({"outlier_detection": {"max_ejection_percent": {"value": 101}}},
                 "outlier_detection.max_ejection_percent: 101"),
                ({"circuit_breakers": {"thresholds": [{"max_connections": {"value": 0}}]}},
                 "circuit_breakers.thresholds.max_connections: 0 lets nobody through")):
            with self.subTest(place):
                self.assertIn(place, self.say(**fields))
                self.assertEqual(self.shares(), [75, 25])
        self.assertGreater(self.node.proxy.ctl("status")["control"]["nacks"], 8)

    def test_4_breakers(self):
        self.assertEqual(self.say(circuit_breakers={"thresholds": [{"max_connections": {"value": 1}}]}), "")
        with self.client.connect(VIP, PORT, 20) as sock:
            sock.sendall(b"echo\nx")
            self.assertEqual(sock.recv(1), b"x")
            wait_until("the breaker to be open", lambda: all("breaker open" in row["why"] for row in self.rows().values()))
            with self.assertRaises((OSError, IndexError)):
                self.assertTrue(self.call()[0])

    def test_5_clusters_that_change_under_load_cost_no_connection(self):
        self.assertEqual(self.say(lb_policy=0), "")
        failures, n_calls, ending = [], 0, threading.Event()

        def load():
            nonlocal n_calls
            while not ending.is_set():
                try:
                    self.assertTrue(self.call())
                    n_calls += 1
                except (OSError, AssertionError) as error:
                    failures.append(repr(error))

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for i in range(12):
                fields = [{"lb_policy": 2}, {"lb_policy": 3}, {"lb_policy": 5, "maglev_lb_config": {}}, {"lb_policy": 7},
                          {"lb_policy": 1, "outlier_detection": {}}, {"common_lb_config": {"zone_aware_lb_config": {}}}]
                self.say(**fields[i % len(fields)])
        finally:
            ending.set()
            thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(n_calls, 20)

    def test_6_slow_start_and_ejection(self):
        self.assertEqual(self.say(
            lb_policy=0, round_robin_lb_config={"slow_start_config": {"slow_start_window": {"seconds": 30}}},
            outlier_detection={"consecutive_5xx": {"value": 1}, "max_ejection_percent": {"value": 100},
                               "base_ejection_time": {"seconds": 60}}), "")
        self.servers[1].kill()
        self.serve(self.webs[1], ["-c", RESETS])

        def ejected():
            try:
                self.call()
            except OSError:
                pass
            return self.rows()["web-2"]["health"] == "ejected"

        wait_until("the one that resets to be ejected", ejected)
        self.assertIn("too many failures in a row", self.rows()["web-2"]["why"])
        self.assertEqual(self.count(10), {"web-1": 10})

    def route(self, **fields):
        """A RouteConfiguration with one Route to the service itself; what the node answers."""
        rule = {"name": "r", "match": {"prefix": "/"}, "route": {"cluster": f"shop/{HOST}:{PORT}"}, **fields}
        return self.send(ROUTE, self.route_pb.RouteConfiguration(
            name=f"shop/{HOST}", virtual_hosts=[{"name": "all", "domains": ["*"], "routes": [rule]}]))

    def shown_routes(self):
        return [row["match"] for row in self.node.proxy.ctl("routes", HOST)["routes"]]

    def test_7_routes_are_taken_or_refused_with_the_field(self):
        self.assertEqual(self.route(match={"path_separated_prefix": "/a", "headers": [
            {"name": ":method", "string_match": {"exact": "GET"}}]}), "")
        self.assertEqual(self.shown_routes(), ["GET /a[/*]"])
        for fields, place in (
                ({"match": {"safe_regex": {"regex": "/a(b|c)"}}}, 'Route "r": match.safe_regex: regular expressions'),
                ({"match": {}}, "match: has neither prefix, path nor path_separated_prefix"),
                ({"route": {"cluster": "outbound|80||web"}}, 'cluster: "outbound|80||web" is not <namespace>/'),
                ({"route": {"cluster": f"shop/{HOST}:80", "cluster_not_found_response_code": 9}},
                 "cluster_not_found_response_code: 9"),
                ({"request_headers_to_remove": ["Transfer-Encoding"]}, '"transfer-encoding" is not a header field')):
            with self.subTest(place):
                self.assertIn(place, self.route(**fields))
                self.assertEqual(self.shown_routes(), ["GET /a[/*]"])
        self.assertEqual(self.route(match={"path": "/b"}), "")
        self.assertEqual(self.shown_routes(), ["any /b"])


if __name__ == "__main__":
    lab.main()
