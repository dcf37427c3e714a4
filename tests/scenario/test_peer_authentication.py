"""Who must come by mutual TLS: plaintext is refused or let in where the service is, and cut when that changes."""

import lab
import manifests
from process import wait_until
from town import Story, TILL_POD_PORT, TILL_PORT, await_address, served_by

APP = {"app": "till"}


class PeerAuthentication(Story):
    @classmethod
    def build(cls, town):
        cls.buyer = town.add_client(town.west.nodes[0], "buyer", "buyer")
        cls.till = town.add_till(town.east.nodes[0])
        town.add_service(town.east)
        town.lab.start_mesh()
        cls.vip = await_address(cls.buyer)
        town.await_endpoints(town.west.nodes[0], 1)
        cls.node = town.east.nodes[0]
        cls.outsider = town.east.dns_namespace  # an address that is no pod, on no node

    def say(self, mode, ports=None):
        self.town.east.apply(manifests.peer_authentication("tills", "shop", mode, APP, ports))

    def plaintext(self, where):
        """What a caller without identity gets from the till."""
        try:
            with where.connect(self.till.v4, TILL_POD_PORT, 15) as sock:
                sock.sendall(b"who\n")
                return "served" if sock.recv(100) else "refused"
        except OSError:
            return "refused"

    def await_plaintext(self, expected):
        wait_until(f"plaintext to be {expected}", lambda: self.plaintext(self.outsider) == expected)

    def assert_tunnels_pass(self):
        self.assertEqual(served_by(self.buyer, self.vip), "east")

    def test_1_as_long_as_nothing_is_said_both_are_served(self):
        self.assertEqual(self.plaintext(self.outsider), "served")
        self.assert_tunnels_pass()

    def test_2_permissive_serves_both(self):
        self.say("PERMISSIVE")
        self.assertEqual(self.plaintext(self.outsider), "served")
        self.assert_tunnels_pass()

    def test_3_strict_cuts_live_plaintext_and_no_tunnel(self):
        with self.outsider.connect(self.till.v4, TILL_POD_PORT, 15) as clear, \
                self.buyer.connect(self.vip, TILL_PORT, 15) as tunnel:
            for sock in (clear, tunnel):
                sock.sendall(b"echo\nhello")
                self.assertEqual(sock.recv(16), b"hello")
            self.say("STRICT")
            clear.settimeout(30)
            try:
                self.assertEqual(clear.recv(16), b"")
            except ConnectionResetError:
                pass
            tunnel.sendall(b"again")
            self.assertEqual(tunnel.recv(16), b"again")
        cut = wait_until("the record of the cut", lambda: self.records(why="denied_late"))[-1]
        self.assertEqual(cut["error"], "connection closed due to policy change: explicitly denied by: "
                                       "isthmus-system/isthmus_strict_mtls")

    def test_4_strict_refuses_plaintext_and_serves_tunnels(self):
        self.assertEqual(self.plaintext(self.outsider), "refused")
        self.assert_tunnels_pass()
        record = wait_until("the record", lambda: self.records(why="denied"))[-1]
        self.assertEqual(record["error"], "connection closed due to policy rejection: explicitly denied by: "
                                          "isthmus-system/isthmus_strict_mtls")

    def why(self, source):
        return self.node.proxy.ctl("why", source, f"{self.till.v4}:{TILL_POD_PORT}")

    def test_4_why_names_it_and_what_it_was_written_as(self):
        plaintext, tunnel = self.why("192.0.2.1"), self.why(self.buyer.spiffe_id)
        self.assertEqual((plaintext["verdict"], plaintext["reason"]),
                         ("deny", "explicitly denied by isthmus-system/isthmus_strict_mtls, rule 0"))
        self.assertEqual(plaintext["rules"][0]["written_as"], "PeerAuthentication STRICT")
        self.assertEqual(tunnel["verdict"], "allow")
        self.assertEqual(tunnel["rules"][0]["why_not"], "notPrincipals: west.example/ns/shop/sa/buyer is one of *")

    def test_5_the_node_itself_reaches_its_pods_as_a_kubelet_that_probes_them_must(self):
        self.assertEqual(self.plaintext(self.node), "served")

    def test_6_a_port_may_be_left_open_under_strict(self):
        self.say("STRICT", {TILL_POD_PORT: "PERMISSIVE"})
        self.await_plaintext("served")
        self.assert_tunnels_pass()

    def test_7_and_one_may_be_strict_alone(self):
        self.say("PERMISSIVE", {TILL_POD_PORT: "STRICT"})
        self.await_plaintext("refused")
        told = self.why("192.0.2.1")
        self.assertEqual(told["reason"], "explicitly denied by shop/isthmus_peer_authentication_tills, rule 0")
        self.assertEqual(told["rules"][0]["written_as"], "PeerAuthentication shop/tills")
        self.assert_tunnels_pass()
        self.say("PERMISSIVE", {TILL_POD_PORT + 1: "STRICT"})
        self.await_plaintext("served")

    def records(self, **wanted):
        return [r for r in self.node.access_log() if all(r.get(key) == value for key, value in wanted.items())]


if __name__ == "__main__":
    lab.main()
