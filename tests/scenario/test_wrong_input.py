"""Wrong input: a sentence that says where and what, and nothing changed."""

import os
import re
import signal

import lab
import manifests
from process import wait_until
from town import Story, TILL, await_address, served_by

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "shop"}}


class WrongInput(Story):
    n_nodes = 1

    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        town.add_till(town.west.nodes[0])
        town.add_service(town.west)
        town.west.control.config["clusterSetIPs"] = ["10.201.0.0/30", "fd00:201::/112"]
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(town.west.nodes[0], 1)

    # ---- manifests, while control runs ----

    def refused(self, text, *words):
        """The file is refused with these words, by check and by the running control; taken away, all is well again."""
        control = self.town.west.control
        path = os.path.join(self.town.west.manifests_dir, "wrong.yaml")
        before = control.metrics()["isthmus_manifests_refused_total"]
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        try:
            done = self.town.west.nodes[0].run([self.raised.isthmus, "check", self.town.west.manifests_dir])
            self.assertEqual(done.returncode, 1, done.stdout)
            for word in (path, *words):
                self.assertIn(word, done.stderr)
            wait_until("control to refuse it",
                       lambda: control.metrics()["isthmus_manifests_refused_total"] > before)
            for word in words:
                said = re.sub("^:(\\d+):$", r'"line":\1,', word)
                wait_until(f"control to say {said}", lambda said=said: said in control.process.err())
            self.assertEqual(served_by(self.client, self.vip), "west")
        finally:
            loaded = control.metrics()["isthmus_manifests_loaded_total"]
            os.unlink(path)
        wait_until("control to be well again",
                   lambda: control.metrics()["isthmus_manifests_loaded_total"] > loaded)

    def test_a_tab(self):
        self.refused("apiVersion: v1\nkind: Service\nmetadata:\n\tname: x\n", ":4:", "tab")

    def test_a_duplicate_key(self):
        self.refused("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  name: b\n", ":5:", "name")

    def test_a_service_without_ports(self):
        self.refused(manifests.to_yaml({**SERVICE, "spec": {"clusterIP": "10.101.9.9"}}), "ports")

    def test_a_host_name_where_an_address_belongs(self):
        self.refused(manifests.to_yaml({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "x-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "till"}},
            "addressType": "IPv4", "ports": [{"name": "till", "port": 1, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["till.example.com"]}]}), "till.example.com")

    def test_half_a_file(self):
        self.refused("apiVersion: v1\nkind: Service\nmetadata: {name: x, names", "flow mapping")

    def test_an_unknown_field_of_a_policy(self):
        self.refused(manifests.to_yaml(manifests.authorization_policy(
            "typo", "shop", {"action": "DENY", "rulez": [{}]})), "rulez")

    def test_a_traffic_policy_that_does_not_hold_together(self):
        for spec, words in (
                ({"loadBalancing": {"algorithm": "Fastest"}}, ("Fastest", "PeakEwma")),
                ({"clusters": {"mode": "Weighted", "members": [{"name": "west", "weight": -1}]}}, ("-1", "weight")),
                ({"clusters": {"mode": "Weighted", "members": [{"name": "west", "weight": 4294967295},
                                                               {"name": "east", "weight": 1}]}}, ("4294967296",)),
                ({"clusters": {"members": [{"name": "west", "priority": 0}, {"name": "east", "priority": 2}]}},
                 ("priority", "2 is there, but not 1")),
                ({"clusters": {"members": [{"name": "east", "pricePerGB": "cheap"}]}}, ("cheap", "is not a price"))):
            with self.subTest(words[0]):
                self.refused(manifests.to_yaml({
                    "apiVersion": "isthmus.io/v1alpha1", "kind": "TrafficPolicy",
                    "metadata": {"name": "wrong", "namespace": "shop"},
                    "spec": {"targetRef": {"kind": "Service", "name": "till"}, **spec}}), *words)

    def test_a_route_that_is_wrong_takes_nothing_from_one_that_is_right(self):
        def route(name, rule):
            return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                    "metadata": {"name": name, "namespace": "shop"},
                    "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "pages"}], "rules": [rule]}}

        def shown():
            return [row["match"] for row in west.nodes[0].proxy.ctl("routes", "pages.shop")["routes"]]

        west = self.town.west
        backends = [{"name": "pages", "port": 80}]
        west.apply({**SERVICE, "metadata": {"name": "pages", "namespace": "shop"},
                    "spec": {"clusterIP": "10.101.9.10", "ports": [{"name": "http", "port": 80}]}},
                   route("right", {"matches": [{"path": {"value": "/a"}, "method": "GET"}], "backendRefs": backends}))
        try:
            wait_until("the route to be on the node", lambda: shown() == ["GET /a[/*]"])
            self.refused(manifests.to_yaml(route("wrong", {"backendRefs": backends, "matches": [
                {"path": {"type": "RegularExpression", "value": "/a.*"}}]})), "RegularExpression", "expected Exact")
            self.refused(manifests.to_yaml(route("wrong", {"backendRefs": backends, "filters": [
                {"type": "CORS", "cors": {}}]})), "CORS")
            self.assertEqual(shown(), ["GET /a[/*]"])
        finally:
            west.remove("HTTPRoute", "right", "shop")
            west.remove("Service", "pages", "shop")
        wait_until("the route to be gone", lambda: shown() == [])

    # ---- exports and addresses ----

    def test_an_export_of_nothing_is_an_error_of_check_and_a_condition_in_control(self):
        self.town.west.apply(manifests.service_export("ghost", "shop"))
        try:
            done = self.town.west.nodes[0].run([self.raised.isthmus, "check", self.town.west.manifests_dir])
            self.assertEqual(done.returncode, 1)
            self.assertIn("ghost", done.stderr)
            wait_until("the condition", lambda: "NoService" in str(self.town.west.control.ctl("services"))
                       or "NoService" in str(self.town.west.control.ctl("status")))
            self.assertEqual(served_by(self.client, self.vip), "west")
        finally:
            self.town.west.remove("ServiceExport", "ghost", "shop")

    def test_a_range_that_is_full_is_said_and_takes_nothing_from_those_who_have(self):
        west = self.town.west
        for i in range(4):
            west.add_service(f"more-{i}", "shop", [manifests.port(7000, "till", 7070)], {"app": "till"}, export="v1beta1")
        said = wait_until("the sentence", lambda: next(
            (line for line in west.control.process.err().splitlines() if "10.201.0.0/30" in line), None))
        self.assertIn("full", said)
        self.assertEqual(served_by(self.client, self.vip), "west")

    # ---- configuration files ----

    def wrong_config(self, verb, config, *words):
        path = os.path.join(self.raised.folder, "wrong-config.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(manifests.to_yaml(config))
        node = self.town.west.nodes[0]
        for argv in ([self.raised.isthmus, verb, "--config", path], [self.raised.isthmus, "check", path]):
            done = node.run(argv)
            self.assertEqual(done.returncode, 1, done.stdout)
            for word in (path, *words):
                self.assertIn(word, done.stderr)

    def test_a_key_that_does_not_exist(self):
        self.wrong_config("proxy", {**self.town.west.nodes[0].proxy.config, "wrokers": 2}, "wrokers", "workers")

    def test_two_peers_of_one_name(self):
        config = dict(self.town.west.control.config)
        config["peers"] = config["peers"] * 2
        self.wrong_config("control", config, "east", "twice")

    def test_help_is_no_error(self):
        for argument in ("--help", "-h"):
            done = self.town.west.nodes[0].run([self.raised.isthmus, "proxy", argument])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("isthmus proxy --config FILE", done.stdout)

    def test_a_word_that_there_is_not_is_told_in_one_line(self):
        for arguments, said in ((["chekc"], 'there is no command "chekc"; see isthmus --help'),
                                (["check", "--all"], 'check has no option "--all"; see isthmus check --help'),
                                (["proxy", "--all"], "expected --config FILE and nothing else")):
            done = self.town.west.nodes[0].run([self.raised.isthmus, *arguments])
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(said, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_a_table_of_verdicts_says_by_its_exit_status_how_it_went(self):
        examples = os.path.join(os.path.dirname(__file__), "..", "..", "config", "examples")
        table, shop = (os.path.join(examples, name) for name in ("policy-test.yaml", "shop.yaml"))
        with open(table, encoding="utf-8") as file:
            text = file.read()
        wrong = os.path.join(self.town.west.manifests_dir, "..", "table.yaml")
        rows = [("as it is", text, 0, "8 cases, 0 not as expected"),
                ("another verdict", text.replace("expect: allow", "expect: deny", 1), 1, "8 cases, 1 not as expected"),
                ("another word", text.replace("expect: allow", "expect: maybe", 1), 2, "neither allow nor deny")]
        for name, content, status, words in rows:
            with self.subTest(name):
                with open(wrong, "w", encoding="utf-8") as file:
                    file.write(content)
                done = self.town.west.nodes[0].run([self.raised.isthmus, "check", "--policy-test", wrong, shop])
                self.assertEqual(done.returncode, status, done.stdout + done.stderr)
                self.assertIn(words, done.stderr if status == 2 else done.stdout)
        os.unlink(wrong)

    def test_a_capability_that_is_missing(self):
        path = os.path.join(self.raised.folder, "config-without-capability.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(manifests.to_yaml(self.town.west.nodes[0].proxy.config))
        done = self.town.west.nodes[0].run(["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin",
                                            self.raised.isthmus, "proxy", "--config", path])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("CAP_NET_ADMIN", done.stderr)

    def test_a_state_folder_that_cannot_be_made(self):
        path = os.path.join(self.raised.folder, "config-without-state.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(manifests.to_yaml({**self.town.west.nodes[0].proxy.config, "stateDir": path}))
        done = self.town.west.nodes[0].run([self.raised.isthmus, "proxy", "--config", path])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(path + ": Not a directory", done.stderr)

    def test_a_hangup_changes_nothing(self):
        for daemon in (self.town.west.nodes[0].proxy, self.town.west.control):
            daemon.process.signal(signal.SIGHUP)
            wait_until("the sentence", lambda daemon=daemon: "SIGHUP changes nothing" in daemon.process.err())
            self.assertTrue(daemon.process.is_running())

    def test_a_state_folder_that_is_taken(self):
        for daemon in (self.town.west.control, self.town.west.nodes[0].proxy):
            with self.subTest(daemon.verb):
                done = daemon.namespace.run([self.raised.isthmus, daemon.verb, "--config", daemon.config_path])
                self.assertEqual(done.returncode, 1)
                self.assertIn("another process uses it", done.stderr)
                self.assertIn(daemon.config["stateDir"], done.stderr)

    def test_a_port_that_is_taken(self):
        node = self.town.west.nodes[0]
        path = os.path.join(self.raised.folder, "second.yaml")
        config = {**node.proxy.config, "stateDir": os.path.join(self.raised.folder, "second-state")}
        with open(path, "w", encoding="utf-8") as file:
            file.write(manifests.to_yaml(config))
        done = node.run([self.raised.isthmus, "proxy", "--config", path])
        self.assertEqual(done.returncode, 1)
        self.assertIn("15020", done.stderr)


if __name__ == "__main__":
    lab.main()
