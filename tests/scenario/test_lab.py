"""The lab itself, without isthmus: what every other scenario stands on."""

import contextlib
import os
import socket
import threading
import time
import unittest

import lab
import manifests
import pcap


def listen(namespace, address, port=9000):
    with namespace.entered():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)


@contextlib.contextmanager
def connected(source, target, address):
    """A connection between two pods: the client's socket, the server's, and the address that the server sees."""
    with listen(target, address) as listener, source.connect(address, 9000, timeout_s=10) as client:
        server, peer = listener.accept()
        with server:
            yield client, server, peer


def round_trip_ms(source, target, address, port=9000):
    """The shortest of ten TCP handshakes: in the first neighbours are resolved, and any of them may find a busy machine."""
    with listen(target, address, port):
        took = []
        for _ in range(10):
            started = time.monotonic()
            source.connect(address, port).close()
            took.append((time.monotonic() - started) * 1e3)
    return min(took)


class TwoClusters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(lab.Lab())
        for cluster in cls.lab.clusters.values():
            cluster.add_namespace("apps")
        cls.here = cls.lab.west.nodes[0].add_pod("here", "apps", labels={"app": "web"})
        cls.there = cls.lab.east.nodes[1].add_pod("there", "apps")

    def test_pods_of_different_clusters_are_40_ms_apart(self):
        for address in (self.there.v4, self.there.v6):
            with self.subTest(address):
                took_ms = round_trip_ms(self.here, self.there, address)
                self.assertGreaterEqual(took_ms, 40)
                self.assertLess(took_ms, 60)

    def test_pods_of_one_cluster_are_near(self):
        other_node = self.lab.west.nodes[1].add_pod("other-node", "apps")
        same_node = self.lab.west.nodes[0].add_pod("same-node", "apps")
        for target in (other_node, same_node):
            for address in (target.v4, target.v6):
                with self.subTest(address):
                    self.assertLess(round_trip_ms(self.here, target, address), 20)

    def test_a_pod_keeps_its_address_on_the_way_to_the_other_cluster(self):
        for address, own in ((self.there.v4, self.here.v4), (self.there.v6, self.here.v6)):
            with connected(self.here, self.there, address) as (_, _, peer):
                self.assertEqual(peer[0], own)

    def test_pods_resolve_through_the_resolver_of_their_cluster(self):
        for pod, expected in ((self.here, "10.1.255.1"), (self.there, "10.2.255.1")):
            done = pod.check(["getent", "ahostsv4", "kubernetes.default.svc.cluster.local"])
            self.assertEqual(done.stdout.split()[0], expected)
        self.assertIn("2001:db8::80", self.here.check(["getent", "ahostsv6", "www.example.com"]).stdout)
        self.assertNotEqual(self.here.run(["getent", "hosts", "nowhere.example.com"]).returncode, 0)

    def test_a_cut_link_carries_nothing_and_a_mended_one_does(self):
        with listen(self.there, self.there.v4):
            self.lab.wan.partition()
            with self.assertRaises(TimeoutError):
                self.here.connect(self.there.v4, 9000, timeout_s=0.3)
            self.lab.wan.heal()
            self.here.connect(self.there.v4, 9000, timeout_s=5).close()

    def test_a_link_can_be_cut_in_one_direction(self):
        before = self.lab.wan.stats()
        with listen(self.there, self.there.v4):
            self.lab.wan.partition("east")
            with self.assertRaises(TimeoutError):
                self.here.connect(self.there.v4, 9000, timeout_s=0.3)
            after = self.lab.wan.stats()
            self.lab.wan.heal()
        self.assertGreater(after["west"]["frames"], before["west"]["frames"])
        self.assertEqual(after["west"]["dropped_down"], before["west"]["dropped_down"])
        self.assertGreater(after["east"]["dropped_down"], before["east"]["dropped_down"])

    def test_a_capture_shows_both_directions_of_what_crossed(self):
        capture = self.lab.wan.capture(os.path.join(self.lab.folder, "both.pcap"))
        with connected(self.here, self.there, self.there.v4) as (client, server, _):
            client.sendall(b"question")
            self.assertEqual(server.recv(100), b"question")
            server.sendall(b"answer")
            self.assertEqual(client.recv(100), b"answer")
        found = {(s.src, s.payload) for s in pcap.segments(capture.stop()) if s.payload}
        self.assertEqual(found, {(self.here.v4, b"question"), (self.there.v4, b"answer")})

    def test_large_segments_cross_whole_and_fast(self):
        total_bytes = 64 << 20
        with connected(self.here, self.there, self.there.v6) as (client, server, _):
            sender = threading.Thread(target=client.sendall, args=(bytes(total_bytes),))
            started, left = time.monotonic(), total_bytes
            sender.start()
            while left > 0:
                left -= len(server.recv(min(left, 1 << 20)))
            took_s = time.monotonic() - started
            sender.join()
        rate_mbps = total_bytes * 8 / took_s / 1e6
        print(f"one connection over the WAN: {rate_mbps:.0f} Mbit/s", flush=True)
        self.assertGreater(rate_mbps, 50)  # slow start and a busy machine are in it; the link itself carries 7000
        dropped = self.lab.wan.stats()["west"]
        self.assertEqual(dropped["refused"], 0)

    def test_names_of_namespaces_are_private(self):
        self.assertIn("west-here", os.listdir("/run/netns"))
        self.assertEqual(os.getpid(), 1)
        with open("/proc/self/mountinfo", encoding="ascii") as file:
            self.assertNotIn("shared:", file.read())

    def test_a_pod_that_is_deleted_takes_everything_along(self):
        cluster = self.lab.west
        before = os.listdir("/run/netns"), sorted(os.listdir(cluster.manifests_dir))
        pod = cluster.nodes[1].add_pod("brief", "apps")
        sleeper = pod.start(["sleep", "600"])
        pod.delete()
        self.assertFalse(sleeper.is_running())
        self.assertEqual((os.listdir("/run/netns"), sorted(os.listdir(cluster.manifests_dir))), before)

    def test_endpoint_slices_follow_the_pods(self):
        cluster = self.lab.west
        cluster.add_service("web", "apps", [manifests.port(80, target=8080)], {"app": "web"}, export="v1beta1")

        path = os.path.join(cluster.manifests_dir, "endpointslice-apps-web-ipv4.yaml")

        def slice_text():
            with open(path, encoding="ascii") as file:
                return file.read()

        self.assertIn(f'"{self.here.v4}"', slice_text())
        self.assertIn("ready: true", slice_text())
        self.here.set_ready(False)
        self.assertIn("ready: false", slice_text())
        self.here.set_ready(True)
        self.assertIn("ready: true", slice_text())


class ABadLink(unittest.TestCase):
    """What the relay carries stays what it was, whatever it has to drop."""

    def assert_all_arrives(self, source, target, address, total_bytes):
        block = os.urandom(1 << 20)
        with connected(source, target, address) as (client, server, _):
            client.settimeout(50)
            server.settimeout(50)

            def send():
                for _ in range(total_bytes // len(block)):
                    client.sendall(block)

            sender = threading.Thread(target=send)
            sender.start()
            for number in range(total_bytes // len(block)):
                received = b""
                while len(received) < len(block):
                    received += server.recv(len(block) - len(received))
                self.assertTrue(received == block, f"block {number} came out as another")
            sender.join()

    def send_until(self, raised, counter, send):
        """Chance decides which packet goes; that none of so many does is next to impossible."""
        for _ in range(20):
            send()
            if raised.wan.stats()["west"][counter] > 0:
                return
        self.fail(f"{counter} stayed 0")

    def raise_lab(self, **shape):
        raised = self.enterContext(lab.Lab(n_nodes=1, **shape))
        for cluster in raised.clusters.values():
            cluster.add_namespace("apps")
        return raised, [cluster.nodes[0].add_pod("pod", "apps") for cluster in raised.clusters.values()]

    def test_a_link_whose_queue_is_too_short_drops_and_loses_nothing_else(self):
        raised, (here, there) = self.raise_lab(delay_ms=5, queue_bytes=1 << 20)
        self.send_until(raised, "dropped_full", lambda: [
            self.assert_all_arrives(here, there, address, 32 << 20) for address in (there.v4, there.v6)])

    def test_a_link_that_loses_packets_still_carries_a_stream(self):
        raised, (here, there) = self.raise_lab(delay_ms=1)
        raised.wan.set_loss_permille(20)
        self.send_until(raised, "dropped_loss", lambda: self.assert_all_arrives(here, there, there.v6, 4 << 20))

    def test_a_command_that_the_relay_does_not_know_is_refused(self):
        raised, _ = self.raise_lab()
        for line in ("sideways", "down south", "loss 1001", "loss -1", "delay 1x", "delay"):
            with self.subTest(line), self.assertRaises(lab.LabError):
                raised.wan.command(line)
        self.assertEqual(raised.wan.command("up"), "ok")


class OneAfterTheOther(unittest.TestCase):
    def test_a_program_can_raise_labs_of_several_shapes(self):
        for n_clusters, n_nodes in ((1, 1), (3, 2), (1, 1)):
            with lab.Lab(n_clusters, n_nodes) as raised:
                self.assertEqual(len(raised.all_nodes()), n_clusters * n_nodes)
                self.assertEqual(len(raised.wans), n_clusters * (n_clusters - 1) // 2)
            self.assertEqual(os.listdir("/run/netns"), [])
            self.assertFalse(os.path.exists(raised.folder))

    def test_every_pair_of_three_clusters_is_linked(self):
        with lab.Lab(n_clusters=3, n_nodes=1, delay_ms=5) as raised:
            clusters = list(raised.clusters.values())
            for cluster in clusters:
                cluster.add_namespace("apps")
            pods = [cluster.nodes[0].add_pod("pod", "apps") for cluster in clusters]
            for source in pods:
                for target in pods:
                    if source is not target:
                        self.assertGreaterEqual(round_trip_ms(source, target, target.v4), 10)


if __name__ == "__main__":
    lab.main()
