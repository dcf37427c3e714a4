"""HTTP is routed, balanced and answered for request by request, across clusters, under the pods' identities."""

import base64
import hashlib
import json
import os
import sys
import time

import h2_client
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

import lab
import manifests
from process import wait_until
from town import HERE, Story, await_address

WEB = "web.shop.svc.clusterset.local"
MIB = 1 << 20


class Http(Story):
    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        cls.attacker = town.add_client(town.west.nodes[0], "attacker", "stranger")
        cls.servers = {}
        for cluster in (town.east, town.west):
            pod = cluster.nodes[0].add_pod("web", "shop", "seller",
                                           {"app": "web", "kept": "yes" if cluster is town.east else "no"})
            cls.servers[cluster.name] = pod
            cls.start(pod, "web_server.py", 8080)
            cls.start(pod, "grpc_server.py", 9090)
            cls.start(pod, "h2_server.py", 9091)
            cluster.add_service("nobody", "shop", [manifests.port(80, "http", 8080)], {"app": "nobody"},
                                export="v1beta1")
            cluster.add_service("kept", "shop", [manifests.port(80, "http", 8080), manifests.port(81, "unsaid", 8080)],
                                {"kept": "yes"}, export="v1beta1")
            cluster.add_service("web", "shop", [manifests.port(80, "http", 8080),
                                                manifests.port(90, "grpc", 9090),
                                                manifests.port(91, "http2", 9091)], {"app": "web"}, export="v1beta1")
        cls.servers["west"].set_ready(False)
        cls.shadow = town.west.nodes[1].add_pod("shadow", "shop", "seller", {"app": "shadow", "kept": "yes"})
        cls.start(cls.shadow, "web_server.py", 8080)
        town.west.add_service("shadow", "shop", [manifests.port(80, "http", 8080)], {"app": "shadow"})
        town.west.apply(cls.routes(), manifests.traffic_policy("kept", "shop", "kept", {
            "loadBalancing": {"algorithm": "Maglev",
                              "hashKeys": [{"header": "X-User"}, {"cookie": {"name": "at", "ttl": "1h"}}]},
            "clusters": {"mode": "ActiveActive"}, "protocolDetection": {"timeout": "10s"}}))
        town.lab.start_mesh()
        cls.vip = await_address(cls.client, WEB)
        wait_until("the other cluster to answer", lambda: '"east"' in cls.curl("/who").stdout)
        cls.loris = cls.flood("loris", 200, 24)  # while all else goes on; their heads have 10 s

    @staticmethod
    def backend(cluster=None, weight=1):
        ref = {"group": "multicluster.x-k8s.io", "kind": "ServiceImport", "name": "web", "port": 80, "weight": weight}
        if cluster:
            ref["filters"] = [{"type": "ExtensionRef",
                               "extensionRef": {"group": "isthmus.io", "kind": "Cluster", "name": cluster}}]
        return ref

    @classmethod
    def routes(cls):
        def rule(path, to, **rest):
            filters = [{"type": "URLRewrite",
                        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": to}}}]
            return {"matches": [{"path": {"type": "PathPrefix", "value": path}}],
                    "filters": filters + rest.pop("filters", []), "backendRefs": [cls.backend("east")], **rest}

        moved = {"type": "RequestRedirect", "requestRedirect": {
            "statusCode": 301, "path": {"type": "ReplaceFullPath", "replaceFullPath": "/who"}}}
        copied = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shadow", "port": 80}}}
        return manifests.http_route("web", "shop", {
            "parentRefs": [{"group": "multicluster.x-k8s.io", "kind": "ServiceImport", "name": "web", "port": 80}],
            "rules": [
                {**rule("/canary", "/who"), "backendRefs": [cls.backend("east", 90), cls.backend("west", 10)]},
                rule("/again", "/flaky", retry={"attempts": 3, "codes": [503], "backoff": "10ms"}),
                rule("/late", "/slow", timeouts={"request": "300ms"}),
                rule("/copied", "/hash", filters=[copied]),
                {"matches": [{"path": {"value": "/moved"}}], "filters": [moved]},
                {"backendRefs": [cls.backend()]}]})

    @staticmethod
    def start(pod, script, port):
        pod.start([sys.executable, os.path.join(HERE, script), pod.cluster.name, str(port)], name=script)
        wait_until(f"{script} to listen", lambda: pod.can_connect("127.0.0.1", port))

    @classmethod
    def curl(cls, path, *arguments, timeout_s=30, host=WEB):
        return cls.client.run(["curl", "-sS", "--max-time", str(timeout_s), *arguments, f"http://{host}{path}"],
                              timeout_s=timeout_s + 5)

    @classmethod
    def flood(cls, kind, n_connections, seconds):
        program = lab.find_program("ISTHMUS_LAB_FLOOD", "release/tests/lab/lab_flood", "dev/tests/lab/lab_flood")
        return cls.attacker.start([program, kind, cls.vip, "80", str(n_connections), str(seconds)], name=f"flood-{kind}")

    def get(self, path, *arguments, **options):
        done = self.curl(path, *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @staticmethod
    def records(node, **wanted):
        return [r for r in node.access_log() if all(r.get(key) == value for key, value in wanted.items())]

    def test_1_a_request_reaches_the_other_cluster_under_the_pods_identity(self):
        seen = json.loads(self.get("/who?x=1", "-H", "X-Mine: yes"))
        self.assertEqual((seen["cluster"], seen["method"], seen["target"]), ("east", "GET", "/who?x=1"))
        fields = dict(seen["fields"])
        self.assertEqual((fields["host"], fields["x-mine"]), (WEB, "yes"))
        record = wait_until("the record", lambda: self.records(
            self.town.west.nodes[0], **{"request.path": "/who?x=1"}))[-1]
        self.assertEqual((record["response.code"], record["dst.identity"], record["mtls"]),
                         (200, self.servers["east"].spiffe_id, True))

    def test_2_bodies_are_whole_both_ways(self):
        data = os.urandom(4 * MIB)
        os.makedirs(self.client.log_dir, exist_ok=True)
        path = os.path.join(self.client.log_dir, "body")
        with open(path, "wb") as file:
            file.write(data)
        answer = json.loads(self.get("/hash", "--data-binary", f"@{path}", timeout_s=60))
        self.assertEqual((answer["sha256"], answer["length"]), (hashlib.sha256(data).hexdigest(), len(data)))
        out = os.path.join(self.client.log_dir, "out")
        self.get("/echo", "-H", "Transfer-Encoding: chunked", "-T", path, "-X", "POST", "-o", out, timeout_s=60)
        with open(out, "rb") as file:
            self.assertEqual(hashlib.sha256(file.read()).hexdigest(), hashlib.sha256(data).hexdigest())
        self.get(f"/bytes?n={20 * MIB}", "-o", out, timeout_s=60)
        self.assertEqual(os.path.getsize(out), 20 * MIB)

    def test_3_hints_heads_and_empty_answers_pass(self):
        early = self.get("/early", "-i")
        self.assertIn("103", early.splitlines()[0])
        self.assertIn("/style.css", early)
        self.assertIn("200", self.get("/who", "-I").splitlines()[0])
        self.assertIn("404", self.get("/nothing", "-i").splitlines()[0])
        done = self.get("/hash", "-d", "x" * 100, "-H", "Expect: 100-continue", "-i")
        self.assertIn('"length": 100', done)

    def test_4_events_leave_as_they_come(self):
        def one_by_one():  # who stands still meanwhile has them together
            begin = time.monotonic()
            with self.client.connect(self.vip, 80, 15) as sock:
                sock.sendall(b"GET /events?n=40&ms=50 HTTP/1.1\r\nHost: web\r\n\r\n")
                seen, first, n = b"", None, 0
                while b"data: 39" not in seen:
                    data = sock.recv(4096)
                    self.assertTrue(data, seen)
                    seen += data
                    first = first or (b"data: 0" in seen and time.monotonic() - begin)
                    n += 1
                took = time.monotonic() - begin
            return first < took / 2 and n > 10

        wait_until("events to come one by one", one_by_one)
        self.assertEqual(self.get("/events?n=1000").count("data:"), 1000)

    def test_5_a_websocket_is_upgraded_and_carries_bytes_both_ways(self):
        key = base64.b64encode(os.urandom(16))
        with self.client.connect(self.vip, 80, 15) as sock:
            sock.sendall(b"GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % key)
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(4096)
            self.assertTrue(head.startswith(b"HTTP/1.1 101"), head)
            for i in range(50):
                sent = os.urandom(1 + i * 100)
                sock.sendall(sent)
                got = b""
                while len(got) < len(sent):
                    got += sock.recv(65536)
                self.assertEqual(got, sent)

    def test_51_a_websocket_over_http_2_reaches_servers_of_either_version(self):
        for port, path in ((91, "/chat"), (80, "/ws")):
            with self.client.connect(self.vip, port, 15) as sock:
                tunnel = h2_client.Tunnel(sock, "web", path)
                for i in range(20):
                    sent = os.urandom(1 + i * 900)
                    self.assertEqual(tunnel.exchange(sent), sent, f"port {port}")
                tunnel.end()

    def test_52_curl_speaks_http_2_to_servers_of_either_version(self):
        curl = ("--http2-prior-knowledge", "-w", "%{http_version}")
        seen = self.get("/who?x=2", *curl)
        self.assertTrue(seen.endswith("2"), seen)
        seen = json.loads(seen.rsplit("\n", 1)[0])
        self.assertEqual((seen["cluster"], seen["method"], seen["target"]), ("east", "GET", "/who?x=2"))
        self.assertEqual(dict(seen["fields"])["host"], WEB)
        done = self.get("/up", *curl, "--data-binary", "x" * 100000, host=f"{WEB}:91").rsplit("\n", 1)
        seen = json.loads(done[0])
        self.assertEqual((done[1], seen["version"], seen["cluster"], seen["length"]), ("2", "2", "east", 100000))
        records = wait_until("the records", lambda: [
            r for r in self.town.west.nodes[0].access_log() if r.get("request.path") in ("/who?x=2", "/up")][1:])
        self.assertEqual(records[0]["request.protocol"], "HTTP/2")
        for record in records:
            self.assertEqual((record["response.code"], record["why"], record["mtls"]), (200, "ok", True), record)

    def test_6_grpc_works_in_all_four_kinds_with_its_trailers(self):
        done = self.client.run([sys.executable, os.path.join(HERE, "grpc_client.py"), f"{self.vip}:90"], timeout_s=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), {
            "unary": "east hello", "trailer": "east", "client": "200 200000", "server": 1000, "both": True,
            "fail": ["FAILED_PRECONDITION", "not like this: 100 %"], "none": "UNIMPLEMENTED"})

    def take_west_in(self):
        """Until the end of the test."""
        def take_out():
            self.servers["west"].set_ready(False)
            wait_until("the near one to be out", lambda: not any(
                row["ready"] for row in self.town.west.nodes[0].proxy.ctl("endpoints", WEB)["endpoints"]
                if row["service"] == WEB and row["cluster"] == "west"))

        self.addCleanup(take_out)
        self.servers["west"].set_ready(True)

    def test_7_one_client_connection_is_balanced_request_by_request(self):
        self.take_west_in()

        def seen():
            with self.client.connect(self.vip, 80, 15) as sock:
                found = set()
                for _ in range(4):
                    sock.sendall(b"GET /who HTTP/1.1\r\nHost: web\r\n\r\n")
                    answer = b""
                    while b'"fields"' not in answer or not answer.endswith(b"\n"):
                        data = sock.recv(65536)
                        self.assertTrue(data, "the connection ended")
                        answer += data
                    found.add(b'"cluster": "west"' in answer)
                return found

        wait_until("the near one to answer", lambda: True in seen(), every_s=0.2)

    def test_8_what_is_no_http_is_refused_and_reaches_nobody(self):
        with self.client.connect(self.vip, 80, 15) as sock:
            sock.sendall(b"GET /who?key=smuggled HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n"
                         b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            answer = b""
            while data := sock.recv(65536):
                answer += data
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertEqual(json.loads(self.get("/count?key=smuggled"))["count"], 0)

    def test_9_when_nobody_is_there_the_answer_says_so_and_whose_it_is(self):
        answer = self.get("/who", "-i", host="nobody.shop.svc.clusterset.local").lower()
        self.assertIn(" 503 ", answer.splitlines()[0])
        self.assertIn("server: isthmus", answer)
        self.assertIn("x-isthmus-reason: no_healthy_upstream", answer)

    def test_r1_a_tenth_of_the_requests_goes_to_the_canary(self):
        self.take_west_in()
        wait_until("the canary to answer", lambda: any('"west"' in self.get("/canary") for _ in range(20)))
        answers = self.get("/canary?n=[1-200]").count('"west"')
        self.assertTrue(0 < answers <= 42, f"{answers} of 200 went to the tenth")  # 5 standard deviations

    def test_r2_what_failed_is_tried_again_and_the_backend_sees_each_try(self):
        self.assertIn(" 200 ", self.get("/again?key=twice&fails=2", "-i").splitlines()[0])
        self.assertEqual(json.loads(self.get("/count?key=twice"))["count"], 3)
        self.assertIn(" 503 ", self.get("/again?key=always&fails=99", "-i").splitlines()[0])
        self.assertEqual(json.loads(self.get("/count?key=always"))["count"], 4)

    def test_r2b_a_body_is_said_again_with_it(self):
        self.assertIn(" 200 ", self.get("/again?key=posted&fails=2", "-d", "x" * 20000, "-i").splitlines()[0])
        self.assertEqual(json.loads(self.get("/count?key=posted"))["count"], 3)

    def test_r2c_a_header_and_a_cookie_keep_to_one_endpoint(self):
        kept = "kept.shop.svc.clusterset.local"

        def who(*arguments, n=3):
            answer = self.get(f"/who?[1-{n}]", *arguments, host=kept)
            seen = [name for name in ("east", "west") if f'"cluster": "{name}"' in answer]
            return seen[0] if len(seen) == 1 else None

        def are_kept():  # one whose node stood still for long is kept off for a while
            seen = {who("-H", f"X-User: {user}") for user in range(16)}
            return seen == {"east", "west"}

        wait_until("both clusters to serve", lambda: len({
            name for name in ("east", "west") if f'"{name}"' in self.get("/who?[1-20]", host=kept)}) == 2)
        wait_until("each of sixteen users to keep to one", are_kept)
        jar = os.path.join(self.client.log_dir, "jar")
        os.makedirs(self.client.log_dir, exist_ok=True)

        def is_kept_by_cookie():
            first = self.get("/who", "-c", jar, host=kept)
            return f'"cluster": "{who("-b", jar, n=20)}"' in first

        wait_until("the one with the cookie to be kept", is_kept_by_cookie)

    def test_r2d_a_port_that_says_nothing_is_http_by_its_first_bytes(self):
        self.assertIn("200", self.get("/who?unsaid", "-I", host="kept.shop.svc.clusterset.local:81").splitlines()[0])
        wait_until("the request's record", lambda: self.records(
            self.town.west.nodes[0], **{"request.path": "/who?unsaid"}))

    def test_r3_a_deadline_is_kept(self):
        begin = time.monotonic()
        answer = self.get("/late?ms=20000", "-i").lower()
        self.assertLess(time.monotonic() - begin, 15)
        self.assertIn(" 504 ", answer.splitlines()[0])
        self.assertIn("x-isthmus-reason: response_timeout", answer)
        wait_until("an answer in time", lambda: " 200 " in self.get("/late?ms=1", "-i").splitlines()[0])  # 300 ms

    def test_r4_a_redirect_is_answered_here(self):
        answer = self.get("/moved", "-i").lower()
        self.assertIn(" 301 ", answer.splitlines()[0])
        self.assertIn(f"location: http://{WEB}/who", answer)

    def test_r5_a_mirror_gets_the_same_body_and_its_answer_is_nobodys(self):
        def count():
            return json.loads(self.shadow.run(["curl", "-sS", "http://127.0.0.1:8080/count?key=copy"]).stdout)["count"]

        before = count()
        self.assertIn('"east"', self.get("/copied?key=copy", "-d", "x" * 100000))
        wait_until("the mirror to see it", lambda: count() == before + 1)  # whose client has left

    # ---- who may ask for what is decided where the pod is ----

    def guard(self, *operations, when=()):
        """Only the client may ask, and only for this; in both clusters, whatever serves in the namespace."""
        rule = {"from": [{"source": {"principals": [self.client.spiffe_id.removeprefix("spiffe://")]}}]}
        if operations:
            rule["to"] = [{"operation": operation} for operation in operations]
        rules = [rule] + [{"to": [{"operation": operation}], "when": [condition]} for operation, condition in when]
        for cluster in (self.town.west, self.town.east):
            cluster.apply(manifests.authorization_policy("asked", "shop", {"action": "ALLOW", "rules": rules}))

    def status(self, path, *arguments):
        return self.get(path, "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", *arguments)

    @staticmethod
    def say(sock, request):
        """The status of the answer on a connection that goes on."""
        sock.sendall(request.encode() + b" HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(65536)
            if not data:
                return None
            answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += sock.recv(65536)
        return int(head.split()[1])

    def guard_some(self):
        self.guard({"methods": ["GET"], "paths": ["/who*", "/slow*"]}, {"paths": ["/lab.Echo/Unary"]},
                   when=[({"paths": ["/hash"]}, {"key": "request.headers[x-tier]", "values": ["gold"]})])
        wait_until("the policy to hold", lambda: (self.status("/count"), self.status("/slow?ms=1")) == ("403", "200"))

    def test_s1_each_request_is_judged_where_the_pod_is(self):
        self.guard_some()
        with self.client.connect(self.vip, 80, 15) as sock:
            asked = ("GET /who", "GET /count", "POST /who", "GET /who?count")
            self.assertEqual([self.say(sock, request) for request in asked], [200, 403, 403, 200])
        self.assertEqual([self.status("/hash", "-d", "x", "-H", f"X-Tier: {tier}") for tier in ("gold", "silver")],
                         ["200", "403"])
        for path in ("/who/../count", "/who/%2e%2e/count", "//count", "/Who", "/count;/who", "/./count?/who"):
            self.assertEqual(self.status(path), "403", path)
        self.assertEqual(self.status("//who/./x/../"), "404")  # allowed, and forwarded as /who/
        answer = self.get("/count", "-i").lower()
        self.assertIn("x-isthmus-reason: denied", answer)
        self.assertIn("rbac: access denied", answer)
        node = self.town.east.nodes[0]
        record = wait_until("the record at the pod's node", lambda: self.records(
            node, why="denied", direction="inbound", **{"request.path": "/count"}))[-1]
        self.assertEqual((record["src.identity"], record["response.code"], record["response.code_details"]),
                         (self.client.spiffe_id, 403, "rbac_access_denied_matched_policy[none]"))
        counted = [labels for labels in node.proxy.metrics() if labels.startswith("istio_requests_total{")]
        self.assertTrue(any('reporter="destination"' in labels and 'response_code="403"' in labels
                            for labels in counted), counted)

    @staticmethod
    def audited(nodes, **wanted):
        lines = []
        for node in nodes:
            with open(os.path.join(node.proxy.config["stateDir"], "audit", "audit.log"), encoding="utf-8") as file:
                lines += [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def test_s1b_the_audit_log_counts_what_was_allowed_and_tells_each_denial(self):
        self.guard({"methods": ["GET"], "paths": ["/who*"]})
        wait_until("the policy to hold", lambda: self.status("/count") == "403")
        nodes = self.town.lab.all_nodes()
        with self.client.connect(self.vip, 80, 15) as sock:
            self.assertEqual([self.say(sock, "GET /whoever") for _ in range(60)], [self.say(sock, "GET /whoever")] * 60)
            self.assertEqual([self.say(sock, f"GET /count/{i}") for i in range(3)], [403] * 3)
        counted = lambda: sum(line["count"] for line in self.audited(
            nodes, event="requests", direction="inbound", **{"request.path": "/whoever"}))
        wait_until("each request to be told", lambda: counted() == 61)
        lines = self.audited(nodes, event="requests", **{"request.path": "/whoever"})
        self.assertLess(len(lines), 30, "they were not folded")
        self.assertEqual({(line["decision"], line["policy"], line["src.identity"]) for line in lines},
                         {("allow", "shop/asked", self.client.spiffe_id)})
        for i in range(3):
            line, = self.audited(nodes, event="verdict", decision="deny", **{"request.path": f"/count/{i}"})
            self.assertEqual((line["request.method"], line["src.identity"]), ("GET", self.client.spiffe_id))
        for node in nodes:
            done = node.run([self.raised.isthmus, "ctl", "audit", "verify",
                             os.path.join(node.proxy.config["stateDir"], "audit", "audit.log")])
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_s2_a_grpc_call_is_denied_in_the_words_of_grpc(self):
        self.guard_some()
        done = self.client.run([sys.executable, os.path.join(HERE, "grpc_client.py"), f"{self.vip}:90"], timeout_s=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("PERMISSION_DENIED", done.stderr)  # the second call: the first, Unary, is allowed
        self.assertIn("RBAC: access denied", done.stderr)
        self.assertIn("_client.py\", line 20", done.stderr.replace(", line 19", ", line 20"))

    def test_s3_connections_to_a_pod_are_read_where_its_policies_ask(self):
        for pod in (self.shadow, self.servers["west"]):  # of another node, through a tunnel; of the client's own
            with self.client.connect(pod.v4, 8080, 15) as sock:
                asked = ("GET /who", "GET /count", "GET /who")
                self.assertEqual([self.say(sock, request) for request in asked], [200, 403, 200], pod.pod_name)
            with self.client.connect(pod.v4, 8080, 15) as sock:
                sock.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
                self.assertTrue(sock.recv(4096).startswith(b"HTTP/1.1 400 "), pod.pod_name)

    def test_s4_a_change_ends_what_is_under_way_and_not_the_connection(self):
        self.guard_some()
        with self.client.connect(self.vip, 80, 30) as sock:
            sock.sendall(b"GET /slow?ms=20000&key=live HTTP/1.1\r\nHost: web\r\n\r\n")
            wait_until("the request to be under way", lambda: json.loads(
                self.servers["east"].run(["curl", "-sS", "http://127.0.0.1:8080/count?key=live"]).stdout)["count"] > 0)
            time.sleep(0.2)
            self.guard({"paths": ["/count"]})
            answer = sock.recv(65536)
            while b"\r\n\r\n" not in answer and (data := sock.recv(65536)):
                answer += data
            self.assertTrue(answer.startswith(b"HTTP/1.1 403 "), answer)
            self.assertIn(b"x-isthmus-reason: denied_late", answer)
            self.assertEqual([self.say(sock, "GET /count?key=live"), self.say(sock, "GET /who")], [200, 403])

    def test_s5_where_no_policy_asks_for_requests_bytes_pass_unread(self):
        def exchanges():
            return [node.proxy.metrics()["isthmus_exchanges_total"] for node in self.town.west.nodes]

        def are_still():
            nonlocal before
            last, before = before, exchanges()
            return before == last

        def is_let_in():
            with self.client.connect(self.shadow.v4, 8080, 15) as sock:
                return self.say(sock, "GET /who") == 200

        self.guard()
        wait_until("the policy to hold", lambda: self.status("/who") == "200")
        wait_until("it to hold at the other node", is_let_in)
        before = []
        wait_until("what was read until then to be counted", are_still, every_s=0.3)
        with self.client.connect(self.shadow.v4, 8080, 15) as sock:  # a new one: those that are read are read on
            self.assertEqual([self.say(sock, "GET /who"), self.say(sock, "POST /who")], [200, 200])
        self.assertEqual(exchanges(), before)

    def test_s6_a_token_is_asked_for_where_the_pod_is(self):
        def part(value):
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

        def token(subject, signer):
            body = part({"alg": "EdDSA", "kid": "k"}) + "." + part({
                "iss": "https://id.example", "sub": subject, "exp": int(time.time()) + 600})
            return "Authorization: Bearer " + body + "." + part(signer.sign(body.encode()))

        key, other = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        jwks = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA", "x": part(public)}]}
        rule = {"from": [{"source": {"requestPrincipals": ["https://id.example/alice"]}}]}
        self.town.east.apply(
            manifests.request_authentication("tokens", "shop", {
                "jwtRules": [{"issuer": "https://id.example", "jwks": json.dumps(jwks)}]}),
            manifests.authorization_policy("asked", "shop", {"action": "ALLOW", "rules": [rule]}))
        wait_until("who says nothing to be denied", lambda: self.status("/who") == "403")
        wait_until("the one who says who it is to be let in",
                   lambda: self.status("/who", "-H", token("alice", key)) == "200")
        self.assertEqual(self.status("/who", "-H", token("bob", key)), "403")
        answer = self.get("/who", "-i", "-H", token("alice", other)).lower()
        self.assertIn(" 401 ", answer.splitlines()[0])
        self.assertIn("www-authenticate: bearer realm=", answer)
        seen = json.loads(self.get("/who", "-H", token("alice", key)))
        self.assertNotIn("authorization", dict(seen["fields"]))
        seen = json.loads(self.get("/who?a&access%5Ftoken=" + token("alice", key).split()[-1]))
        self.assertEqual(seen["target"], "/who?a")
        hidden = {"request.path": "/who?a&access%5Ftoken=REDACTED"}
        for node in (self.town.west.nodes[0], self.town.east.nodes[0]):
            wait_until("the record", lambda node=node: self.records(node, **hidden))
            self.assertNotIn("eyJ", json.dumps(node.access_log()))
        for cluster in (self.town.west, self.town.east):
            cluster.remove("AuthorizationPolicy", "asked", "shop")
        self.town.east.remove("RequestAuthentication", "tokens", "shop")
        wait_until("all to be let in again", lambda: self.status("/who") == "200")

    def test_z_floods_are_cut_and_counted_and_others_are_served(self):
        """The slow ones are there since the beginning; none of the tests before this one was kept from its answer."""
        kinds = ("rapid_reset", "continuation_flood", "head_limit")

        def counted():
            metrics = self.town.west.nodes[0].proxy.metrics()
            return [sum(value for series, value in metrics.items() if series.startswith("isthmus_http_refused_total")
                        and f'reason="{kind}"' in series) for kind in kinds] + [
                   sum(value for series, value in metrics.items()
                       if series.startswith("isthmus_http_connections_delayed_total"))]

        before = counted()
        for kind in ("reset", "continuation", "head1", "head2"):
            process = self.flood(kind, 5, 4)  # a nuisance is heard late by 3 s at most
            while process.is_running():
                self.assertIn('"east"', self.get("/who"))
            found = json.loads(process.out())
            self.assertGreater(found["cut"], 0, kind)
        for what, after, already in zip((*kinds, "connections that were heard late"), counted(), before):
            self.assertGreater(after, already, what)
        self.loris.wait(30)
        found = json.loads(self.loris.out())
        self.assertGreaterEqual(found["cut"], 200)
        self.assertEqual(found["refused"], 0)


if __name__ == "__main__":
    lab.main()
