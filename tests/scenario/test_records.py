"""What can be seen: metrics with ztunnel's names, access records with one reason, ctl, readiness."""

import re
import shutil
import subprocess

import lab
from cluster import ADMIN_PORT, METRICS_PORT, READY_PORT, http_get
from process import wait_until
from town import Story, TILL, TILL_PORT, await_address, served_by

REQUEST, ANSWER = b"echo\nhello, till", b"hello, till"
LABELS = {"reporter", "source_workload", "source_canonical_service", "source_canonical_revision",
          "source_workload_namespace", "source_principal", "source_app", "source_version", "source_cluster",
          "destination_service", "destination_service_namespace", "destination_service_name", "destination_workload",
          "destination_canonical_service", "destination_canonical_revision", "destination_workload_namespace",
          "destination_principal", "destination_app", "destination_version", "destination_cluster",
          "request_protocol", "response_flags", "connection_security_policy"}


def labels_of(series):
    return dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', series))


class Records(Story):
    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        cls.till = town.add_till(town.east.nodes[1])
        cls.near_client = town.add_client(town.east.nodes[1], "near")
        town.add_service(town.east)
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        cls.near_vip = await_address(cls.near_client)
        for node in (town.west.nodes[0], town.east.nodes[1]):
            town.await_endpoints(node, 1)
        cls.talk(cls.client, cls.vip)

    @staticmethod
    def talk(pod, vip):
        with pod.connect(vip, TILL_PORT, 15) as sock:
            sock.sendall(REQUEST)
            with sock.makefile("rb") as file:
                assert file.read(len(ANSWER)) == ANSWER

    def series(self, node, name, **wanted):
        """The sum of a metric over the series with these labels, and the labels of one of them."""
        found = [(labels_of(series), value) for series, value in node.proxy.metrics().items()
                 if series.startswith(name + "{")]
        found = [(labels, value) for labels, value in found
                 if all(labels.get(key) == value_ for key, value_ in wanted.items())]
        return sum(value for _, value in found), found[0][0] if found else {}

    def test_both_ends_count_the_connection_and_its_bytes_under_ztunnels_labels(self):
        for node, reporter in ((self.town.west.nodes[0], "source"), (self.town.east.nodes[1], "destination")):
            with self.subTest(reporter):
                wanted = {"reporter": reporter, "source_principal": self.client.spiffe_id,
                          "destination_principal": self.till.spiffe_id}
                wait_until("the connection to be closed", lambda: self.series(
                    node, "istio_tcp_connections_closed_total", **wanted)[0] == 1)
                opened, labels = self.series(node, "istio_tcp_connections_opened_total", **wanted)
                self.assertEqual(opened, 1)
                self.assertEqual(set(labels), LABELS)
                self.assertEqual(labels["connection_security_policy"], "mutual_tls")
                self.assertEqual((labels["source_cluster"], labels["destination_cluster"]), ("west", "east"))
                self.assertEqual(labels["destination_service"], TILL)
                self.assertEqual(self.series(node, "istio_tcp_received_bytes_total", **wanted)[0], len(REQUEST))
                self.assertEqual(self.series(node, "istio_tcp_sent_bytes_total", **wanted)[0], len(ANSWER))

    def test_both_ends_write_one_record_with_one_reason(self):
        for node, direction, sent, received in ((self.town.west.nodes[0], "outbound", len(REQUEST), len(ANSWER)),
                                                (self.town.east.nodes[1], "inbound", len(ANSWER), len(REQUEST))):
            with self.subTest(direction):
                records = wait_until("the record", lambda: [r for r in node.access_log() if r["direction"] == direction
                                                            and r.get("src.workload") == "client"])
                self.assertEqual(len(records), 1)
                record = records[0]
                self.assertEqual((record["bytes_sent"], record["bytes_recv"]), (sent, received))
                self.assertEqual(record["why"], "ok")
                self.assertEqual(record["src.identity"], self.client.spiffe_id)
                self.assertEqual(record["dst.identity"], self.till.spiffe_id)
                self.assertEqual(record["tls.version"], "TLSv1.3")
                self.assertTrue(record["dst.addr"].endswith(":15008"), record["dst.addr"])
                self.assertTrue(record["dst.hbone_addr"].endswith(":7070"), record["dst.hbone_addr"])

    def test_two_pods_of_one_node_are_reported_by_both_sides_without_tls(self):
        node = self.town.east.nodes[1]
        self.talk(self.near_client, self.near_vip)
        records = wait_until("both records", lambda: [r for r in node.access_log() if r.get("src.workload") == "near"][1:]
                             and [r for r in node.access_log() if r.get("src.workload") == "near"])
        self.assertEqual({r["direction"] for r in records}, {"outbound", "inbound"})
        self.assertFalse(any(r["mtls"] for r in records))
        self.assertEqual({r["dst.identity"] for r in records}, {self.till.spiffe_id})

    def test_the_server_sees_the_callers_own_address_within_the_node(self):
        with self.near_client.connect(self.near_vip, TILL_PORT, 15) as sock:
            sock.sendall(b"who\n")
            self.assertIn(self.near_client.v4, sock.makefile().read())

    def test_metrics_are_clean_and_the_old_path_answers_too(self):
        node = self.town.west.nodes[0]
        status, body = http_get(node, METRICS_PORT, "/stats/prometheus")
        self.assertEqual(status, 200)
        for name in ("istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total", "istio_build",
                     "istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total", "istio_dns_requests_total"):
            self.assertIn(f"# TYPE {name} ", body)
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "metrics"], input=body, text=True, capture_output=True,
                                  check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_ready_says_so(self):
        self.assertEqual(http_get(self.town.west.nodes[0], READY_PORT, "/healthz/ready"), (200, "ready\n"))

    def test_ctl_shows_what_there_is(self):
        node = self.town.west.nodes[0]
        status = node.proxy.ctl("status")
        self.assertEqual((status["node"], status["cluster"], status["snapshot"]["synced"]), ("west-1", "west", True))
        self.assertTrue(status["control"]["connected"])
        service = next(s for s in node.proxy.ctl("services", TILL)["services"] if s["host"] == TILL)
        self.assertIn(self.vip, service["vips"])
        endpoint = next(e for e in node.proxy.ctl("endpoints", TILL)["endpoints"] if e["service"] == TILL)
        self.assertEqual((endpoint["cluster"], endpoint["identity"]), ("east", self.till.spiffe_id))
        with self.client.connect(self.vip, TILL_PORT, 15) as sock:
            sock.sendall(b"echo\nx")
            self.assertEqual(sock.recv(1), b"x")

            def live():
                return [c for c in node.proxy.ctl("connections")["connections"] if c["state"] == "pumping"]

            wait_until("no other to be left", lambda: len(live()) <= 1)
            self.assertEqual([c["dst.service"] for c in live()], [TILL])
        for words in (["status"], ["services"], ["endpoints"], ["connections"], ["certs"]):
            done = node.run([self.raised.isthmus, "ctl", *words])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout.strip())

    def test_a_proxy_has_the_capabilities_it_needs_and_its_admin_port_is_on_loopback_alone(self):
        node = self.town.west.nodes[0]
        with open(f"/proc/{node.proxy.process.pid}/status", encoding="ascii") as file:
            status = dict(line.split(":", 1) for line in file.read().splitlines())
        needed = 1 << 12 | 1 << 10    # CAP_NET_ADMIN, CAP_NET_BIND_SERVICE
        self.assertEqual([int(status[name], 16) for name in ("CapPrm", "CapEff")], [needed, needed])
        self.assertEqual(status["NoNewPrivs"].strip(), "1")
        for daemon, address in ((node.proxy, node.v4), (self.town.west.control, self.town.west.control_v4)):
            self.assertTrue(daemon.namespace.can_connect(address, METRICS_PORT))
            self.assertFalse(daemon.namespace.can_connect(address, ADMIN_PORT))
            self.assertTrue(daemon.namespace.can_connect("127.0.0.1", ADMIN_PORT))

    def test_control_shows_its_services_and_peers(self):
        control = self.town.west.control
        self.assertIn("east", str(control.ctl("status")["peers"]))
        self.assertIn(TILL, str(control.ctl("services")))
        self.assertEqual(served_by(self.client, self.vip), "east")


if __name__ == "__main__":
    lab.main()
