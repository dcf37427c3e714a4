"""A cluster is taken out of a service and comes back: by the word, by its end, and when anybody dies meanwhile."""

import json
import threading
import time

import lab
import manifests
from process import PATIENCE_S, wait_until
from town import Story, TILL, await_address, served_by

LEASE_S = 5
SERVICE = "shop/till"


class Callers:
    """A client that calls on and on, each call on a connection of its own; what each came to."""

    def __init__(self, pod, vip):
        self.pod, self.vip = pod, vip
        self.results, self.is_over = [], False
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.is_over:
            try:
                outcome = served_by(self.pod, self.vip, 5)
            except (OSError, IndexError) as error:
                outcome = f"failed: {error}"
            self.results.append((time.monotonic(), outcome))
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join(20)

    def since(self, at_s):
        return [outcome for ended_s, outcome in list(self.results) if ended_s > at_s]

    def latest(self):
        return self.results[-1][1] if self.results else None


class Drills(Story):
    tier = "critical"

    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        for cluster in (town.west, town.east):
            town.add_till(cluster.nodes[1])
            town.add_service(cluster)
        town.west.apply(manifests.traffic_policy("till", "shop", "till", {"tier": cls.tier}))
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(town.west.nodes[0], 2)

    def command(self, *arguments, cluster="west"):
        return [self.raised.isthmus, "ctl", "drill", "--service", SERVICE, "--cluster", cluster, *arguments]

    def start_drill(self, *arguments):
        process = self.town.west.control_namespace.start(self.command(*arguments, "--json"), name="drill",
                                                         log_name=f"drill-{time.monotonic_ns()}")
        self.addCleanup(process.stop)
        return process

    def drill(self, *arguments, cluster="west", status=0):
        done = self.town.west.control_namespace.run(self.command(*arguments, "--json", cluster=cluster), timeout_s=60)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def drills(self):
        return self.town.west.control.page("/drills")["drills"]

    def await_out(self, callers):
        wait_until("calls to go east", lambda: callers.latest() == "east")

    def await_back(self, callers, timeout_s):
        started_s = time.monotonic()
        wait_until("calls to go west again", lambda: callers.latest() == "west", timeout_s=timeout_s)
        return time.monotonic() - started_s


class ADrill(Drills):
    def test_1_all_new_connections_move_and_come_back_and_none_fails(self):
        with Callers(self.client, self.vip) as callers:
            wait_until("calls to go west", lambda: callers.latest() == "west")
            said = self.drill("--for", "4s")
        print(json.dumps(said), flush=True)
        self.assertEqual(said["verdict"], "pass", said)
        self.assertEqual((said["tier"], said["promise_ms"], said["service"]), ("critical", 300000, TILL))
        self.assertEqual(said["failed_calls"], 0)
        self.assertGreater(said["before"]["opened"]["west"], 0)
        self.assertGreater(said["during"]["opened"]["east"], 20)
        self.assertLess(said["recovery_ms"], 3000)
        self.assertLess(said["fail_back_ms"], 5000)
        self.assertEqual([outcome for outcome in callers.since(0) if outcome.startswith("failed")], [])
        self.assertEqual(self.drills(), [])

    def test_2_what_nobody_calls_proves_nothing(self):
        said = self.drill("--for", "2s", status=1)
        self.assertEqual(said["verdict"], "fail")
        self.assertIn("no call went to west before: nothing is proven", said["reasons"])

    def test_3_a_killed_ctl_undoes_it_within_the_lease(self):
        with Callers(self.client, self.vip) as callers:
            process = self.start_drill("--for", "40s")
            self.await_out(callers)
            process.kill()
            took_s = self.await_back(callers, PATIENCE_S)
        print(f"back {took_s:.1f} s after ctl was killed", flush=True)
        self.assertLess(took_s, LEASE_S + 10)
        wait_until("control to forget the drill", lambda: self.drills() == [])

    def test_4_an_interrupted_ctl_undoes_it_at_once(self):
        for _ in range(3):  # the machine may stand still, but not always
            with Callers(self.client, self.vip) as callers:
                process = self.start_drill("--for", "40s")
                self.await_out(callers)
                status = process.stop()
                took_s = self.await_back(callers, PATIENCE_S)
            self.assertEqual(status, 1)
            self.assertIn("interrupted", json.loads(process.out())["reasons"][0])
            if took_s < LEASE_S - 1:
                break
        self.assertLess(took_s, LEASE_S - 1, "well before the lease is over")

    def test_5_one_drill_a_service(self):
        process = self.start_drill("--for", "40s")
        wait_until("the drill to begin", self.drills)
        said = self.drill("--for", "2s", status=1)
        self.assertEqual(said["verdict"], "refused")
        self.assertIn("is being drilled without cluster west already", said["reasons"][0])
        process.stop()

    def test_6_what_does_not_exist_is_refused(self):
        said = self.drill(cluster="south", status=1)
        self.assertIn("there is no cluster \"south\"; there are west, east", said["reasons"][0])

    def test_7_control_dies_meanwhile_and_the_nodes_let_go(self):
        control = self.town.west.control
        with Callers(self.client, self.vip) as callers:
            process = self.start_drill("--for", "40s")
            self.await_out(callers)
            control.kill()
            took_s = self.await_back(callers, PATIENCE_S)
            print(f"back {took_s:.1f} s after control was killed", flush=True)
            self.assertLess(took_s, LEASE_S + 10)
            self.assertEqual(process.wait(), 1)
            self.assertIn("the nodes let go of the drill by themselves", json.loads(process.out())["reasons"][0])
            control.start()
            control.await_ready()
            node = self.town.west.nodes[0]
            wait_until("the node to have control again",
                       lambda: node.proxy.ctl("status")["control"]["connected"])
            since_s = time.monotonic()
            # A control that starts anew knows of no drill.
            wait_until("twenty calls in a row to go west", lambda: callers.since(since_s)[-20:] == ["west"] * 20)

    def test_8_it_is_refused_when_nobody_else_is_ready_unless_it_is_forced(self):
        (pod,) = self.town.tills["east"]
        pod.set_ready(False)
        wait_until("west's control to hear of it", lambda: self.ready_in("east") == 0)
        said = self.drill("--for", "2s", status=1)
        self.assertEqual(said["verdict"], "refused")
        self.assertIn("no other cluster has a ready endpoint", said["reasons"][0])
        self.assertEqual(self.drills(), [])
        pod.kill_all()
        with Callers(self.client, self.vip) as callers:
            wait_until("calls to go west", lambda: callers.latest() == "west")
            said = self.drill("--for", "2s", "--force", status=1)
        self.assertEqual(said["verdict"], "fail", said)
        self.assertGreater(said["failed_calls"], 0)

    def ready_in(self, cluster):
        found = self.town.west.control.ctl("endpoints", TILL)["endpoints"]
        return sum(1 for e in found if e["cluster"] == cluster and e["service"] == TILL and e["ready"])


if __name__ == "__main__":
    lab.main()
