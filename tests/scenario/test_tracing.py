"""Requests are spans: across clusters, under the application's own trace, and whatever the collector does."""

import json
import os
import sys

import lab
import manifests
from cluster import write_file
from process import wait_until
from town import HERE, Story, await_address

WEB = "web.shop.svc.clusterset.local"
CLIENT, SERVER = 3, 2
PARENT = "00f067aa0ba902b7"


class Tracing(Story):
    n_nodes = 1

    @classmethod
    def build(cls, town):
        cls.source, cls.destination = town.west.nodes[0], town.east.nodes[0]
        cls.client = town.add_client(cls.source)
        cls.web = cls.destination.add_pod("web", "shop", "seller", {"app": "web"})
        cls.web.start([sys.executable, os.path.join(HERE, "web_server.py"), "east", "8080"], name="web")
        town.east.add_service("web", "shop", [manifests.port(80, "http", 8080)], {"app": "web"}, export="v1beta1")
        # Asks what only requests show, so that the destination's node looks at each of them too.
        town.east.apply(manifests.authorization_policy("methods", "shop", {
            "action": "ALLOW", "rules": [{"to": [{"operation": {"methods": ["GET", "POST"]}}]}]}))
        cls.collectors = {}
        for node in (cls.source, cls.destination):
            node.proxy.config["tracing"] = {"otlp": "http://127.0.0.1:4318/v1/traces", "sampling": 0,
                                            "headers": {"x-tenant": "shop"}}
            cls.start_collector(node)
        town.lab.start_mesh()
        await_address(cls.client, WEB)
        wait_until("the other cluster to answer", lambda: '"east"' in cls.call("/who").stdout)

    @classmethod
    def state_path(cls, node):
        return os.path.join(node.log_dir, "collector.json")

    @classmethod
    def start_collector(cls, node, **state):
        write_file(cls.state_path(node), json.dumps(state))
        program = os.path.join(HERE, "otlp_collector.py")
        cls.collectors[node.name] = node.start([sys.executable, program, "4318", cls.state_path(node)],
                                               name="collector", log_name="collector")
        wait_until("the collector to listen", lambda: node.can_connect("127.0.0.1", 4318))

    @classmethod
    def call(cls, path, *arguments):
        return cls.client.run(["curl", "-sS", "--max-time", "20", *arguments, f"http://{WEB}{path}"], timeout_s=25)

    def traced(self, trace, path="/who", flags="01", *arguments):
        done = self.call(path, "-H", f"traceparent: 00-{trace}-{PARENT}-{flags}", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(json.loads(done.stdout)["fields"]) if path == "/who" else done.stdout

    def lines(self, node):
        return [json.loads(line) for line in self.collectors[node.name].out().splitlines() if line.endswith("}")]

    def span_of(self, node, trace):
        def found():
            return [line for line in self.lines(node) if line.get("trace") == trace]

        return wait_until(f"the span at {node.name}", found)[0]

    def metric(self, node, name, reason=None):
        return node.proxy.metrics()[f'{name}{{reason="{reason}"}}' if reason else name]

    def test_1_spans_of_both_nodes_and_the_applications_own_are_one_trace(self):
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        seen = self.traced(trace, "/who", "01", "-H", "tracestate: a=1", "-H", "tracestate: b=2")
        at_source, at_destination = self.span_of(self.source, trace), self.span_of(self.destination, trace)
        self.assertEqual((at_source["kind"], at_source["parent"]), (CLIENT, PARENT))
        self.assertEqual((at_destination["kind"], at_destination["parent"]), (SERVER, at_source["span"]))
        self.assertEqual(seen["traceparent"], f"00-{trace}-{at_destination['span']}-01")
        self.assertEqual((seen["tracestate"], at_source["state"]), ("a=1,b=2", "a=1,b=2"))
        for span in (at_source, at_destination):
            told = span["attributes"]
            self.assertEqual((span["name"], span["failed"], span["tenant"], span["scope"]),
                             ("GET", False, "shop", "isthmus"))
            self.assertEqual(
                (told["http.request.method"], told["http.response.status_code"], told["url.path"], told["server.address"],
                 told["network.protocol.version"]), ("GET", 200, "/who", WEB, "1.1"))
            self.assertEqual((told["isthmus.source.principal"], told["isthmus.destination.principal"]),
                             (self.client.spiffe_id, self.web.spiffe_id))
            self.assertEqual((told["isthmus.source.cluster"], told["isthmus.destination.cluster"]), ("west", "east"))
            self.assertGreater(span["took_ns"], 0)
        self.assertIn(at_source["attributes"]["network.peer.address"], (self.web.v4, self.web.v6))
        self.assertEqual((at_source["resource"]["k8s.node.name"], at_destination["resource"]["k8s.node.name"]),
                         (self.source.name, self.destination.name))
        record = wait_until("the record", lambda: [r for r in self.source.access_log() if r.get("trace.id") == trace])[0]
        self.assertEqual(record["span.id"], at_source["span"])

    def test_2_what_is_not_sampled_is_passed_on_and_not_exported(self):
        self.assertRegex(self.traced("11111111111111111111111111111111", "/who", "00")["traceparent"],
                         f"^00-1{{32}}-(?!{PARENT})[0-9a-f]{{16}}-00$")
        fresh = dict(json.loads(self.call("/who").stdout)["fields"])["traceparent"]
        self.assertRegex(fresh, "^00-[0-9a-f]{32}-[0-9a-f]{16}-00$")  # sampling: 0
        broken = self.traced("22222222222222222222222222222222", "/who", "0")["traceparent"]
        self.assertNotIn("2" * 32, broken)
        marker = "33333333333333333333333333333333"
        self.traced(marker, "/status/503")
        span = self.span_of(self.source, marker)
        self.assertEqual((span["failed"], span["attributes"]["error.type"]), (True, "503"))
        traces = {line.get("trace") for line in self.lines(self.source)}
        self.assertFalse(traces & {"1" * 32, "2" * 32, fresh.split("-")[1]})

    def test_3_a_collector_that_says_later_gets_the_spans_later(self):
        write_file(self.state_path(self.source), json.dumps({"status": 503, "retry_after": 1}))
        trace = "44444444444444444444444444444444"
        self.traced(trace)
        wait_until("the refusal", lambda: any(line.get("refused") == 503 for line in self.lines(self.source)))
        write_file(self.state_path(self.source), "{}")
        self.span_of(self.source, trace)
        self.assertGreaterEqual(self.metric(self.source, "isthmus_trace_exports_failed_total"), 1)

    def test_4_a_collector_that_is_gone_costs_spans_and_no_request(self):
        taken = sum("trace" in line for line in self.lines(self.source))
        wait_until("every span that it took to be known as such",
                   lambda: self.metric(self.source, "isthmus_trace_spans_exported_total") >= taken)
        self.collectors[self.source.name].kill()
        failed = self.metric(self.source, "isthmus_trace_exports_failed_total")
        for i in range(20):
            self.assertIn("traceparent", self.traced(f"{i + 1:032x}"))
        wait_until("an export to fail",
                   lambda: self.metric(self.source, "isthmus_trace_exports_failed_total") > failed)
        self.start_collector(self.source, status=400)
        wait_until("the spans to be dropped and counted",
                   lambda: self.metric(self.source, "isthmus_trace_spans_dropped_total", "refused") == 20, timeout_s=60)

    def test_5_the_end_of_a_proxy_sends_what_it_has(self):
        write_file(self.state_path(self.source), "{}")
        trace = "55555555555555555555555555555555"
        self.traced(trace)
        self.assertEqual(self.source.proxy.stop(), 0)
        self.span_of(self.source, trace)


if __name__ == "__main__":
    lab.main()
