"""A gigabyte up and a gigabyte down, as HTTP, across clusters and under the pods' identities: every byte where it belongs.
And a pod that asks for hundreds of gigabytes and reads none of them: what it costs the others of its node."""

import json

import lab
import manifests
from process import wait_until
from town import Story, await_address

WEB = "web.shop.svc.clusterset.local"
GIB = 1 << 30
MIB = 1 << 20


class Large(Story):
    n_nodes = 1

    @classmethod
    def build(cls, town):
        cls.bulk = lab.find_program("ISTHMUS_LAB_BULK", "release/tests/lab/lab_bulk", "dev/tests/lab/lab_bulk")
        cls.client = town.add_client(town.west.nodes[0])
        cls.server = town.east.nodes[0].add_pod("web", "shop", "seller", {"app": "web"})
        cls.server.start([cls.bulk, "serve", "8080"], name="bulk")
        wait_until("the server to listen", lambda: cls.server.can_connect("127.0.0.1", 8080))
        for cluster in (town.east, town.west):
            cluster.add_service("web", "shop", [manifests.port(80, "http", 8080)], {"app": "web"}, export="v1beta1")
        town.lab.wan.set_delay_ms(2)  # else it would be the delay that this measures
        town.lab.start_mesh()
        await_address(cls.client, WEB)
        wait_until("the other cluster to answer", lambda: cls.shell("curl -sf http://$WEB/1").returncode == 0)
        cls.wanted = json.loads(cls.shell("$BULK give $GIB | $BULK sum").stdout)

    @classmethod
    def shell(cls, command, timeout_s=250):
        names = f"BULK={cls.bulk} WEB={WEB} GIB={GIB}; "
        return cls.client.run(["sh", "-c", names + command], timeout_s=timeout_s)

    def check(self, command):
        done = self.shell(command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), self.wanted)

    def test_1_a_gigabyte_goes_up_whole_over_http_1_1(self):
        self.check("$BULK give $GIB | curl -sS --fail --max-time 240 -H 'Expect:' -T - http://$WEB/sum")
        self.assertEqual(self.wanted["length"], GIB)

    def test_2_a_gigabyte_comes_down_whole_over_http_2(self):
        self.check("curl -sS --fail --max-time 240 --http2-prior-knowledge http://$WEB/$GIB | $BULK sum")

    def test_3_it_was_http_under_the_pods_identity(self):
        def records():
            return [r for r in self.town.west.nodes[0].access_log()
                    if r.get("bytes_recv", 0) >= GIB or r.get("bytes_sent", 0) >= GIB]

        found = wait_until("the records", lambda: len(records()) >= 2 and records())
        self.assertEqual({(r["request.protocol"], r["response.code"], r["dst.identity"], r["mtls"]) for r in found},
                         {(protocol, 200, self.server.spiffe_id, True) for protocol in ("HTTP/1.1", "HTTP/2")})


class AHog(Story):
    """With several workers the hog's connections are at some of them, and the honest pod's at any."""

    n_nodes = 1
    CONNECTIONS = 4           # of 100 streams each
    BOUND = 32 * MIB          # half of what they would hold
    SECONDS = 30              # at most
    ASKED = 200

    @classmethod
    def build(cls, town):
        cls.node = town.west.nodes[0]
        cls.flood = lab.find_program("ISTHMUS_LAB_FLOOD", "release/tests/lab/lab_flood", "dev/tests/lab/lab_flood")
        bulk = lab.find_program("ISTHMUS_LAB_BULK", "release/tests/lab/lab_bulk", "dev/tests/lab/lab_bulk")
        cls.client = town.add_client(cls.node)
        cls.hog = town.add_client(cls.node, "hog", "hog")
        server = cls.node.add_pod("web", "shop", "seller", {"app": "web"})
        server.start([bulk, "serve", "8080"], name="bulk")
        wait_until("the server to listen", lambda: server.can_connect("127.0.0.1", 8080))
        town.west.add_service("web", "shop", [manifests.port(80, "http", 8080)], {"app": "web"}, export="v1beta1")
        cls.node.proxy.config.update(workers=2, limits={"memoryBytes": cls.BOUND, "loopLag": "10s"})
        town.lab.start_mesh()
        cls.vip = await_address(cls.client, WEB)
        wait_until("an answer", lambda: cls.is_answered())

    @classmethod
    def is_answered(cls):
        try:
            with cls.client.connect(cls.vip, 80, 20) as sock:
                sock.sendall(b"GET /1 HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
                return sock.makefile("rb").readline().split()[1:2] == [b"200"]
        except OSError:
            return False

    def cut(self):
        return self.node.proxy.metrics()["isthmus_flows_cut_for_memory_total"]

    def test_a_pod_that_reads_nothing_costs_another_no_request_with_two_workers(self):
        self.hog.start([self.flood, "unread", self.vip, "80", str(self.CONNECTIONS), str(self.SECONDS)], name="flood")
        wait_until("the first of it to be cut", lambda: self.cut() > 0)
        answered = [self.is_answered() for _ in range(self.ASKED)]
        print(f"{answered.count(False)} of {len(answered)} failed, {self.cut():.0f} connections were cut", flush=True)
        self.assertLessEqual(answered.count(False) * 100, len(answered))
        whose = {line["src.addr"].rsplit(":", 1)[0] for line in self.node.access_log() if line.get("why") == "held_most"}
        self.assertEqual(whose, {self.hog.v4})


if __name__ == "__main__":
    lab.main()
