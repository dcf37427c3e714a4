"""HTTP is routed, balanced and answered for request by request, across clusters, under the pods' identities."""

import base64
import hashlib
import json
import os
import sys
import time

import h2_client
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
            "clusters": {"mode": "ActiveActive"}, "protocolDetection": {"timeout": "100ms"}}))
        town.lab.start_mesh()
        cls.vip = await_address(cls.client, WEB)
        wait_until("the other cluster to answer", lambda: '"east"' in cls.curl("/who").stdout, timeout_s=20)
        cls.loris = cls.flood("loris", 200, 14)  # while all else goes on

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
        wait_until(f"{script} to listen", lambda: pod.can_connect("127.0.0.1", port), timeout_s=20)

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
        begin = time.monotonic()
        with self.client.connect(self.vip, 80, 15) as sock:
            sock.sendall(b"GET /events?n=20&ms=50 HTTP/1.1\r\nHost: web\r\n\r\n")
            seen, first, n = b"", None, 0
            while b"data: 19" not in seen:
                seen += sock.recv(4096)
                first = first or (b"data: 0" in seen and time.monotonic() - begin)
                n += 1
            took = time.monotonic() - begin
        self.assertLess(first, took / 2)
        self.assertGreater(n, 10)
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
            r for r in self.town.west.nodes[0].access_log() if r.get("request.path") in ("/who?x=2", "/up")][1:], timeout_s=10)
        self.assertEqual(records[0]["request.protocol"], "HTTP/2")
        for record in records:
            self.assertEqual((record["response.code"], record["why"], record["mtls"]), (200, "ok", True), record)

    def test_6_grpc_works_in_all_four_kinds_with_its_trailers(self):
        done = self.client.run([sys.executable, os.path.join(HERE, "grpc_client.py"), f"{self.vip}:90"], timeout_s=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), {
            "unary": "east hello", "trailer": "east", "client": "200 200000", "server": 1000, "both": True,
            "fail": ["FAILED_PRECONDITION", "not like this: 100 %"], "none": "UNIMPLEMENTED"})

    def test_7_one_client_connection_is_balanced_request_by_request(self):
        self.servers["west"].set_ready(True)
        self.addCleanup(self.servers["west"].set_ready, False)

        def seen():
            with self.client.connect(self.vip, 80, 15) as sock:
                found = set()
                for _ in range(4):
                    sock.sendall(b"GET /who HTTP/1.1\r\nHost: web\r\n\r\n")
                    answer = b""
                    while b'"fields"' not in answer or not answer.endswith(b"\n"):
                        answer += sock.recv(65536)
                    found.add(b'"cluster": "west"' in answer)
                return found

        wait_until("the near one to answer", lambda: True in seen(), timeout_s=20, every_s=0.2)

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
        self.servers["west"].set_ready(True)
        self.addCleanup(self.servers["west"].set_ready, False)
        wait_until("the canary to answer", lambda: any('"west"' in self.get("/canary") for _ in range(20)), timeout_s=20)
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

        def who(*arguments):
            answer = self.get("/who?[1-3]", *arguments, host=kept)
            seen = {name for name in ("east", "west") if f'"cluster": "{name}"' in answer}
            self.assertEqual(len(seen), 1, answer)
            return seen.pop()

        wait_until("both clusters to serve", lambda: len({
            name for name in ("east", "west") if f'"{name}"' in self.get("/who?[1-20]", host=kept)}) == 2, timeout_s=20)
        self.assertEqual({who("-H", f"X-User: {user}") for user in range(16)}, {"east", "west"})
        jar = os.path.join(self.client.log_dir, "jar")
        os.makedirs(self.client.log_dir, exist_ok=True)
        first = self.get("/who", "-c", jar, host=kept)
        self.assertIn(f'"cluster": "{who("-b", jar)}"', first)

    def test_r2d_a_port_that_says_nothing_is_http_by_its_first_bytes(self):
        self.assertIn("200", self.get("/who?unsaid", "-I", host="kept.shop.svc.clusterset.local:81").splitlines()[0])
        wait_until("the request's record", lambda: self.records(
            self.town.west.nodes[0], **{"request.path": "/who?unsaid"}), timeout_s=10)

    def test_r3_a_deadline_is_kept(self):
        begin = time.monotonic()
        answer = self.get("/late?ms=5000", "-i").lower()
        self.assertLess(time.monotonic() - begin, 3)
        self.assertIn(" 504 ", answer.splitlines()[0])
        self.assertIn("x-isthmus-reason: response_timeout", answer)
        self.assertIn(" 200 ", self.get("/late?ms=1", "-i").splitlines()[0])

    def test_r4_a_redirect_is_answered_here(self):
        answer = self.get("/moved", "-i").lower()
        self.assertIn(" 301 ", answer.splitlines()[0])
        self.assertIn(f"location: http://{WEB}/who", answer)

    def test_r5_a_mirror_gets_the_same_body_and_its_answer_is_nobodys(self):
        def count():
            return json.loads(self.shadow.run(["curl", "-sS", "http://127.0.0.1:8080/count?key=copy"]).stdout)["count"]

        before = count()
        self.assertIn('"east"', self.get("/copied?key=copy", "-d", "x" * 100000))
        wait_until("the mirror to see it", lambda: count() == before + 1, timeout_s=10)

    def test_z_floods_are_cut_and_counted_and_others_are_served(self):
        """The slow ones are there since the beginning; none of the tests before this one was kept from its answer."""
        def counted():
            metrics = self.town.west.nodes[0].proxy.metrics()
            return [sum(value for series, value in metrics.items() if series.startswith(name)) for name in
                    ("isthmus_http_connections_cut_total", "isthmus_http_refused_total",
                     "isthmus_http_connections_delayed_total")]

        before = counted()
        for kind in ("reset", "continuation", "head1", "head2"):
            process = self.flood(kind, 5, 1)
            while process.is_running():
                self.assertIn('"east"', self.get("/who"))
            found = json.loads(process.out())
            self.assertGreater(found["cut"], 0, kind)
        cut, refused, delayed = (now - then for now, then in zip(counted(), before))
        self.assertGreater(cut, 3)
        self.assertGreater(refused, 0)
        self.assertGreater(delayed, 0)
        self.loris.wait(30)
        found = json.loads(self.loris.out())
        self.assertGreaterEqual(found["cut"], 200)
        self.assertEqual(found["refused"], 0)


if __name__ == "__main__":
    lab.main()
