"""Objects from an API server in place of a folder: they appear, change and vanish; it fails in every way, and calls go on."""

import lab
import manifests
from api_objects import use_api_server
from process import wait_until
from town import Story, TILL, await_address, served_by


class FromTheApiServer(Story):
    n_nodes = 1

    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        town.add_till(town.east.nodes[0])
        for cluster in (town.west, town.east):
            town.add_service(cluster)
        for number in range(520):  # more than a page
            town.west.apply(manifests.service(f"many-{number}", "shop", [manifests.port(80)], {"app": "many"}, None))
        cls.api = use_api_server(town.west)
        use_api_server(town.east)
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(town.west.nodes[0], 1)

    def setUp(self):
        self.west, self.east = self.town.west, self.town.east

    def status(self):
        return self.west.control.page("/status")["kubernetes"]

    def kind(self, name):
        return next(kind for kind in self.status()["kinds"] if kind["kind"] == name)

    def await_served_by(self, name):
        def is_served():
            try:
                return served_by(self.client, self.vip, 3.0) == name
            except (OSError, IndexError):
                return False

        wait_until(f"{name} to answer", is_served, every_s=0.1)

    def await_well(self):
        def is_well():
            status = self.status()
            return status["synced"] and not any(kind["error"] for kind in status["kinds"])

        wait_until("control to follow every kind", is_well, every_s=0.1)

    def show(self, number):
        """A change, and the proof that it arrived."""
        self.west.apply(manifests.namespace(f"change-{number}", False))
        wait_until("the change to arrive", lambda: self.kind("Namespace")["objects"] ==
                   sum(key[0] == "Namespace" for key in self.west.objects), every_s=0.05)

    def test_1_pods_appear_and_vanish_and_the_call_goes_where_they_are(self):
        self.assertEqual(served_by(self.client, self.vip), "east")
        pod = self.town.add_till(self.west.nodes[0])
        self.west.sync_endpoints()
        self.await_served_by("west")
        pod.delete()
        self.await_served_by("east")
        self.assertTrue(any("continue=" in request for request in self.api.order("/requests")), "paged")
        self.assertGreaterEqual(self.kind("Service")["objects"], 521)
        self.assertEqual(self.kind("GRPCRoute")["state"], "not installed")

    def test_2_whatever_the_server_does_changes_arrive_afterwards(self):
        cases = (("history forgotten", lambda: self.api.order("/forget", {})),
                 ("cut in the middle of a line", lambda: self.api.order("/cut", {})),
                 ("too busy", lambda: (self.api.order("/answer", {"status": 429, "times": 3, "retry_after": "1"}),
                                       self.api.order("/cut", {}))),
                 ("the token is replaced", self.replace_token))
        for number, (what, spoil) in enumerate(cases):
            with self.subTest(what):
                spoil()
                self.assertEqual(served_by(self.client, self.vip), "east")
                self.show(number)
                self.await_well()

    def replace_token(self):
        self.api.order("/tokens", ["second-token"])
        self.api.order("/cut", {})
        wait_until("the old token to be refused", lambda: "(401)" in self.kind("Pod")["error"])
        self.api.give_token("second-token")

    def verdict(self):
        """Of a call to the client in west, whose node asks the policies that control made of the objects."""
        return self.west.nodes[0].proxy.ctl("why", self.client.spiffe_id, f"{self.client.v4}:7070")["verdict"]

    def test_3_one_wrong_object_holds_nobody_up_and_closes_what_it_is_about(self):
        self.assertEqual(self.verdict(), "allow")
        for wrong in (manifests.authorization_policy("wrong", "shop", {"action": "DENY", "ruls": []}),
                      manifests.request_authentication("wrong", "shop", {"jwtRuls": []})):
            with self.subTest(wrong["kind"]):
                self.west.apply(wrong)
                wait_until("it to be refused", lambda: self.status()["n_refused"] == 1)
                refused = self.status()["refused"][0]
                self.assertEqual((refused["object"], refused["in_force"]),
                                 (f"{wrong['kind']} shop/wrong", "what closes in its place"))
                self.assertRegex(refused["why"], "(spec.ruls|spec.jwtRuls): there is no such key")
                wait_until("it to be counted",
                           lambda: self.west.control.metrics()["isthmus_kubernetes_objects_refused"] == 1)
                wait_until("the namespace to be closed", lambda: self.verdict() == "deny")
                self.show(f"beside-{wrong['kind'].lower()}")
                self.west.remove(wrong["kind"], "wrong", "shop")
                wait_until("it to be open again", lambda: self.verdict() == "allow")

    def test_4_a_policy_that_became_wrong_stays_as_it_was_when_control_starts_again(self):
        self.west.apply(manifests.authorization_policy("kept", "shop", {"rules": [{}]}))
        wait_until("it to be known", lambda: self.kind("AuthorizationPolicy")["objects"] == 1)
        self.west.apply(manifests.authorization_policy("kept", "shop", {"ruls": []}))
        wait_until("it to be refused", lambda: self.status()["n_refused"] == 1)
        self.west.control.stop()
        self.west.control.start()
        self.west.control.await_ready()
        self.assertEqual([row["in_force"] for row in self.status()["refused"]], ["its last good version"])
        self.show("after-the-restart")
        self.assertEqual(self.verdict(), "allow")
        self.west.remove("AuthorizationPolicy", "kept", "shop")
        wait_until("it to be gone", lambda: self.status()["n_refused"] == 0)

    def test_5_the_server_dies_and_calls_go_on_even_when_control_starts_again(self):
        self.api.kill()
        wait_until("control to notice", lambda: self.kind("Pod")["error"])
        self.assertEqual(served_by(self.client, self.vip), "east")
        self.west.control.stop()
        self.west.control.start()
        wait_until("control to say why it waits", self.says_why)
        self.assertFalse(self.west.control.is_ready())
        self.assertEqual(served_by(self.client, self.vip), "east")
        self.api.start("second-token", "first-token")
        self.west.control.await_ready(60)  # it rests up to 30 s between two attempts
        self.show("after-all")
        self.assertEqual(served_by(self.client, self.vip), "east")

    def says_why(self):
        try:
            return self.kind("Pod")["error"]
        except OSError:
            return False


if __name__ == "__main__":
    lab.main()
