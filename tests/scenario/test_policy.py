"""Who may call is decided where the service is, by identity, and again when the policy changes."""

import lab
import manifests
from process import wait_until
from town import Story, TILL_POD_PORT, TILL_PORT, ask, await_address, served_by


class Policy(Story):
    @classmethod
    def build(cls, town):
        cls.buyer = town.add_client(town.west.nodes[0], "buyer", "buyer")
        cls.thief = town.add_client(town.west.nodes[1], "thief", "thief")
        cls.neighbour = town.add_client(town.east.nodes[0], "neighbour", "thief")
        cls.till = town.add_till(town.east.nodes[0])
        town.add_service(town.east)
        cls.stall = town.east.nodes[0].add_pod("stall", "shop", "seller", {"app": "stall"})  # the same, but not of the service
        town.start_till(cls.stall)
        town.east.control.config["trustDomainAliases"] = ["old.example"]
        town.east.apply(cls.only("buyer"))
        town.lab.start_mesh()
        cls.vip = await_address(cls.buyer)
        cls.vip_east = await_address(cls.neighbour)
        for node in town.west.nodes + town.east.nodes[:1]:
            town.await_endpoints(node, 1)

    @staticmethod
    def only(service_account):
        return manifests.authorization_policy("only", "shop", manifests.allow_principals(
            [f"{cluster}.example/ns/shop/sa/{service_account}" for cluster in ("west", "east")]))

    def outcome(self, pod, vip):
        try:
            return served_by(pod, vip)
        except (OSError, IndexError):
            return "refused"

    def test_1_the_one_who_is_allowed_gets_through_and_the_other_does_not(self):
        self.assertEqual(self.outcome(self.buyer, self.vip), "east")
        self.assertEqual(self.outcome(self.thief, self.vip), "refused")

    def test_2_the_refusal_is_logged_at_both_ends_with_policy_and_identity(self):
        self.outcome(self.thief, self.vip)
        inbound = wait_until("the record at the destination", lambda: self.records(
            self.town.east.nodes[0], why="denied", direction="inbound"))[-1]
        self.assertEqual(inbound["src.identity"], self.thief.spiffe_id)
        self.assertEqual(inbound["dst.identity"], self.till.spiffe_id)
        self.assertEqual(inbound["error"], "connection closed due to policy rejection: allow policies exist, but none "
                                           "allowed")
        outbound = wait_until("the record at the source", lambda: self.records(
            self.town.west.nodes[1], why="tunnel_denied"))[-1]
        self.assertIn("401", outbound["error"])
        self.assertGreaterEqual(self.town.east.nodes[0].proxy.metrics()[
            'isthmus_policy_verdicts_total{policy="none",verdict="deny"}'], 1)

    def test_3_on_one_node_the_same_policy_holds(self):
        self.assertEqual(self.outcome(self.neighbour, self.vip_east), "refused")
        record = wait_until("the record", lambda: self.records(
            self.town.east.nodes[0], why="denied", **{"src.workload": "neighbour"}))[-1]
        self.assertEqual(record["src.identity"], self.neighbour.spiffe_id)

    def test_4_plaintext_from_outside_the_mesh_has_no_identity_and_is_refused(self):
        outsider = self.town.east.dns_namespace  # an address that is no pod
        with self.assertRaises(OSError):
            with outsider.connect(self.till.v4, 7070, 3) as sock:
                sock.sendall(b"who\n")
                if not sock.recv(100):
                    raise OSError("ended without an answer")

    def test_4_why_is_told_by_the_node_that_decides(self):
        proxy = self.town.east.nodes[0].proxy
        denied = proxy.ctl("why", self.thief.spiffe_id, f"{self.till.namespace}/{self.till.pod_name}:7070")
        self.assertEqual((denied["verdict"], denied["reason"]), ("deny", "allow policies exist, but none allowed"))
        self.assertEqual(denied["rules"][0]["policy"], "shop/only")
        self.assertIn(f"principals: {self.thief.spiffe_id.removeprefix('spiffe://')} is none of",
                      denied["rules"][0]["why_not"])
        allowed = proxy.ctl("why", self.buyer.spiffe_id, f"{self.till.v4}:7070", "GET", "/")
        self.assertEqual((allowed["verdict"], allowed["reason"]), ("allow", "allowed by shop/only, rule 0"))
        self.assertIn("every request is answered so", allowed["http"])
        plaintext = proxy.ctl("why", self.thief.v4, f"{self.till.v4}:7070")
        self.assertEqual(plaintext["rules"][0]["why_not"], "principals: the source has no such identity")

    def test_5_a_change_cuts_the_live_connection_that_it_denies_and_lets_others_be(self):
        with self.buyer.connect(self.vip, TILL_PORT, 15) as sock:
            sock.sendall(b"echo\nhello")
            self.assertEqual(sock.recv(16), b"hello")
            self.town.east.apply(self.only("thief"))
            sock.settimeout(30)
            try:
                self.assertEqual(sock.recv(16), b"")
            except ConnectionResetError:
                pass
        wait_until("the record of the cut", lambda: self.records(self.town.east.nodes[0], why="denied_late"))
        wait_until("the other to be allowed", lambda: self.outcome(self.thief, self.vip) == "east")

    def test_6_a_policy_for_a_service_holds_for_who_serves_it_and_for_nobody_else(self):
        self.assertEqual(self.outcome(self.neighbour, self.vip_east), "east")
        policy = manifests.authorization_policy("closed", "shop", {
            "targetRefs": [{"group": "", "kind": "Service", "name": "till"}], "action": "DENY", "rules": [{}]})
        self.town.east.apply(policy)
        wait_until("the service to be closed", lambda: self.outcome(self.neighbour, self.vip_east) == "refused")
        self.assertEqual(self.outcome(self.thief, self.vip), "refused")
        self.assertEqual(ask(self.neighbour, "who", self.stall.v4, port=TILL_POD_PORT).split()[-1], "east")
        record = wait_until("the record", lambda: self.records(
            self.town.east.nodes[0], why="denied", policy="shop/closed"))[-1]
        self.assertEqual(record["dst.workload"], "till")
        self.town.east.remove("AuthorizationPolicy", "closed", "shop")
        wait_until("the service to be open again", lambda: self.outcome(self.neighbour, self.vip_east) == "east")

    def test_7_a_policy_under_the_old_name_of_our_trust_domain_is_about_us_and_nobody_else(self):
        self.assertEqual(self.outcome(self.thief, self.vip), "east")
        self.town.east.apply(manifests.authorization_policy("only", "shop", manifests.allow_principals(
            ["old.example/ns/shop/sa/thief"])))
        wait_until("who is of another trust domain to be refused", lambda: self.outcome(self.thief, self.vip) == "refused")
        self.assertEqual(self.outcome(self.neighbour, self.vip_east), "east")
        told = self.town.east.nodes[0].proxy.ctl("why", self.neighbour.spiffe_id, f"{self.till.v4}:{TILL_POD_PORT}")
        self.assertEqual(told["reason"], "allowed by shop/only, rule 0")

    def records(self, node, **wanted):
        return [r for r in node.access_log() if all(r.get(key) == value for key, value in wanted.items())]


if __name__ == "__main__":
    lab.main()
