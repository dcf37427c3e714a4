"""Nodes where kube-proxy rewrites ClusterIPs and NodePorts: the mesh sees what was called, and no way in is left open."""

import socket
import threading

import lab
import manifests
import tcp_pattern
from process import wait_until
from town import Story, TILL_POD_PORT, TILL_PORT, ask

NODE_PORT = 30070
AGENT_PORT = 8126


class BesideKubeProxy(Story):
    @classmethod
    def build(cls, town):
        cls.node = town.west.nodes[0]
        cls.client = town.add_client(cls.node)
        cls.thief = town.add_client(cls.node, "thief", "thief")
        cls.near = town.add_till(cls.node, "till-near")
        cls.far = town.add_till(town.west.nodes[1], "till-far")
        town.add_service(town.west, export=None)
        cls.cluster_ip, cls.agents_ip = "10.101.0.1", "10.101.0.2"
        for node in town.west.nodes:
            cls.rewrite_as_kube_proxy_does(node)
        town.lab.start_mesh()
        wait_until("the service to be known", lambda: cls.known())

    @classmethod
    def known(cls):
        return [s for s in cls.node.proxy.ctl("services")["services"] if cls.cluster_ip in s["vips"]]

    @classmethod
    def rewrite_as_kube_proxy_does(cls, node):
        """DNAT of the ClusterIP to one pod, of another to the node itself, of the NodePort to another pod, in the nat hook,
        for pods and for the node; and what the kubelet's firewall drops, which is whatever else would reach the loopback
        from outside of it."""
        rules = f"""
            table ip kube {{
              chain services {{
                ip daddr {cls.cluster_ip} tcp dport {TILL_PORT} dnat to {cls.far.v4}:{TILL_POD_PORT}
                ip daddr {cls.agents_ip} tcp dport 80 dnat to {node.v4}:{AGENT_PORT}
                fib daddr type local tcp dport {NODE_PORT} dnat to {cls.near.v4}:{TILL_POD_PORT}
              }}
              chain prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
              chain output {{ type nat hook output priority -100; jump services; }}
              chain firewall {{
                type filter hook output priority filter;
                ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8 ct state != {{ established, related }} drop
              }}
            }}"""
        node.check(["nft", "-f", "-"], input_text=rules)

    def records(self, **wanted):
        return [r for node in self.town.west.nodes for r in node.access_log()
                if all(r.get(key) == value for key, value in wanted.items())]

    def test_1_a_cluster_ip_is_balanced_by_the_mesh_and_not_by_kube_proxy(self):
        answers = {ask(self.client, "who", self.cluster_ip).split()[0] for _ in range(5)}
        self.assertEqual(answers, {f"::ffff:{self.client.v4}"})  # the near replica, by the pod's own address
        record = wait_until("the record", lambda: self.records(**{"dst.workload": "till-near"}))[-1]
        self.assertEqual(record["dst.service"], "till.shop.svc.cluster.local")
        self.assertFalse(self.records(**{"dst.workload": "till-far"}))

    def test_2_what_comes_in_through_a_node_port_is_seen(self):
        outsider = self.town.west.dns_namespace
        self.assertIn("west", ask(outsider, "who", self.node.v4, port=NODE_PORT))
        record = wait_until("the record", lambda: self.records(direction="inbound", **{"dst.workload": "till-near",
                                                                                      "dst.addr": f"{self.near.v4}:7070"}))
        self.assertFalse(record[-1]["mtls"])

    def test_3_and_policy_holds_there_too(self):
        outsider = self.town.west.dns_namespace
        self.town.west.apply(manifests.authorization_policy("only", "shop", manifests.allow_principals(
            ["west.example/ns/shop/sa/buyer"])))

        def refused():
            try:
                return not ask(outsider, "who", self.node.v4, 3, port=NODE_PORT)
            except OSError:
                return True

        wait_until("the outsider to be refused", refused, every_s=0.2)
        self.assertTrue(ask(self.client, "who", self.cluster_ip))

    def test_4_the_nodes_own_connections_to_its_pods_are_left_alone(self):
        """A kubelet's probe: no capture, no policy."""
        with self.node.connect(self.near.v4, TILL_POD_PORT, 15) as sock:
            sock.sendall(b"who\n")
            self.assertIn(b"west", sock.recv(100))

    def test_5_so_is_what_the_pod_calls_that_is_no_mesh(self):
        self.assert_passed_through(self.town.west.dns_namespace, "10.1.0.53", 9090)

    def test_5_also_when_that_is_a_process_of_its_own_node(self):
        """An agent in the host's network, as metrics and traces are sent to: by the node's address and by a ClusterIP."""
        for host, called, port in ((self.node.v4, self.node.v4, AGENT_PORT), (self.node.v6, self.node.v6, AGENT_PORT),
                                   (self.node.v4, self.agents_ip, 80)):
            with self.subTest(called):
                self.assert_passed_through(self.node, host, AGENT_PORT, (called, port))
        with self.assertRaises(ConnectionResetError):  # nobody listens, which is said at once
            self.client.connect(self.node.v4, AGENT_PORT, 15).recv(1)

    def assert_passed_through(self, server, host, port, called=None):
        """From the pod's own address."""
        with server.entered():
            listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.settimeout(15)
        with listener, self.client.connect(*(called or (host, port)), 15) as sock:
            accepted, peer = listener.accept()
            with accepted:
                self.assertEqual(peer[0], self.client.v6 if ":" in host else self.client.v4)
                accepted.sendall(b"plain")
                self.assertEqual(sock.recv(10), b"plain")

    def test_6_with_sameNode_tunnel_two_pods_of_a_node_prove_themselves_to_each_other(self):
        proxy = self.node.proxy
        proxy.config["dataPath"] = {"sameNode": "tunnel"}
        proxy.restart()
        wait_until("the service to be known", lambda: self.known())
        before = proxy.metrics()
        for address in (self.near.v4, self.near.v6):
            with self.client.connect(address, TILL_POD_PORT, 30) as sock:
                sock.sendall(b"duplex 61 3000000\n")
                sender = threading.Thread(target=tcp_pattern.send, args=(sock, 61, 3000000))
                sender.start()
                tcp_pattern.receive(sock, 62, 3000000)
                sender.join()
                self.assertEqual(sock.recv(3), b"ok\n")
        self.assertEqual(ask(self.client, "who", self.cluster_ip).split()[0], f"::ffff:{self.client.v4}")
        with self.assertRaises(OSError):
            if not ask(self.thief, "who", self.cluster_ip):
                raise OSError("ended without an answer")

        def grown(name, **labels):
            return sum(value - before.get(series, 0) for series, value in proxy.metrics().items() if series.startswith(name)
                       and all(f'{label}="{wanted}"' in series for label, wanted in labels.items()))

        identity = {"src.identity": self.client.spiffe_id, "dst.identity": self.near.spiffe_id, "mtls": True, "why": "ok"}
        for direction in ("outbound", "inbound"):
            wait_until(f"three records of what went {direction}",
                       lambda direction=direction: len(self.records(direction=direction, **identity)) == 3)
        thief = {"src.identity": self.thief.spiffe_id}
        wait_until("the refusal at the caller", lambda: self.records(why="tunnel_denied", **thief))
        wait_until("the refusal at the called", lambda: self.records(why="denied", direction="inbound", mtls=True, **thief))
        for reporter in ("source", "destination"):
            self.assertEqual(grown("istio_tcp_connections_opened_total", reporter=reporter,
                                   connection_security_policy="mutual_tls", source_workload="client"), 3)
        self.assertGreater(grown("isthmus_tunnelled_bytes_total"), 12000000)
        self.assertEqual(grown("isthmus_copied_bytes_total") + grown("isthmus_spliced_bytes_total"), 0)
        self.assertEqual(grown("isthmus_policy_verdicts_total", verdict="allow"), 3)


if __name__ == "__main__":
    lab.main()
