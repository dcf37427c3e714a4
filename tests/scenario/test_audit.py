"""The audit log of a node: every connection in it once, over kills, restarts and rotations, and whole; a changed one is named."""

import collections
import contextlib
import glob
import json
import os
import signal
import threading
import time

import lab
import manifests
from process import wait_until
from town import Story, TILL_PORT, await_address, served_by

MAX_BYTES = 64 << 10  # small, so that files rotate
N_MIXED = 40


def log_path(node):
    return os.path.join(node.proxy.config["stateDir"], "audit", "audit.log")


def log_files(node):
    """Oldest first."""
    return sorted(glob.glob(log_path(node) + ".*")) + [log_path(node)]


def log_lines(node):
    lines = []
    for path in log_files(node):
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:  # between two files
            lines += [json.loads(line) for line in file if line.endswith("\n")]
    return lines


class Audit(Story):
    @classmethod
    def build(cls, town):
        cls.buyer = town.add_client(town.west.nodes[0], "buyer", "buyer")
        cls.thief = town.add_client(town.west.nodes[0], "thief", "thief")
        cls.neighbour = town.add_client(town.east.nodes[0], "neighbour", "buyer")
        cls.till = town.add_till(town.east.nodes[0])
        town.add_service(town.east)
        town.east.apply(
            manifests.authorization_policy("buyers", "shop", manifests.allow_principals(
                [f"{cluster}.example/ns/shop/sa/buyer" for cluster in ("west", "east")])),
            manifests.authorization_policy("watched", "shop", {"action": "AUDIT", "rules": [{}]}),
            manifests.authorization_policy(
                "tomorrow", "shop", {"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]},
                annotations={"istio.io/dry-run": "true"}))
        for node in town.lab.all_nodes():
            node.proxy.config["audit"] = {"maxBytes": MAX_BYTES, "keep": 100}
        town.lab.start_mesh()
        cls.vip, cls.near_vip = await_address(cls.buyer), await_address(cls.neighbour)
        cls.caller, cls.called = town.west.nodes[0], town.east.nodes[0]
        for node in (cls.caller, cls.called):
            town.await_endpoints(node, 1)

    def verify(self, node, files, *options):
        return node.run([self.raised.isthmus, "ctl", "audit", "verify", *options, *files])

    def ends(self, node, **wanted):
        return [line for line in log_lines(node) if line["event"] == "end"
                and all(line.get(key) == value for key, value in wanted.items())]

    def verdicts(self, node, **wanted):
        return [line for line in log_lines(node) if line["event"] == "verdict"
                and all(line.get(key) == value for key, value in wanted.items())]

    def call(self, pod, vip):
        """The caller's port when it was served, which names its connection; None when it was refused."""
        try:
            with pod.connect(vip, TILL_PORT, 15) as sock:
                sock.sendall(b"who\n")
                with sock.makefile() as file:
                    return sock.getsockname()[1] if file.readline().split()[-1:] else None
        except OSError:
            return None

    def test_1_an_allowed_connection_is_told_at_both_ends_with_the_same_trace(self):
        self.assertEqual(served_by(self.buyer, self.vip), "east")
        near = wait_until("the end at the caller", lambda: self.ends(self.caller, **{"src.workload": "buyer"}))[-1]
        far = wait_until("the end at the called", lambda: self.ends(self.called, trace=near["trace"]))
        self.assertEqual(len(far), 1)
        far = far[0]
        self.assertEqual((near["direction"], far["direction"]), ("outbound", "inbound"))
        for line in (near, far):
            self.assertEqual(line["src.identity"], self.buyer.spiffe_id)
            self.assertEqual(line["dst.identity"], self.till.spiffe_id)
            self.assertEqual((line["why"], line["fault"], line["mtls"]), ("ok", "none", True))
            self.assertEqual(line["tls.version"], "TLSv1.3")
            self.assertIn("GCM", line["tls.cipher"])
            self.assertRegex(line["peer.serial"], "^[0-9a-fA-F]+$")
            self.assertGreater(line["peer.not_after"], line["time"])
            self.assertGreater(line["config.generation"], 0)
        self.assertEqual((near["src.proof"], near["dst.proof"], near["peer.trust_domain"]), ("node", "mtls", "east.example"))
        self.assertEqual((far["src.proof"], far["dst.proof"], far["peer.trust_domain"]), ("mtls", "node", "west.example"))
        self.assertEqual((near["bytes_sent"], near["bytes_recv"]), (far["bytes_recv"], far["bytes_sent"]))
        verdict, = self.verdicts(self.called, connection=far["connection"], decision="allow")
        self.assertEqual((verdict["action"], verdict["policy"], verdict["rule"], verdict["mode"], verdict["sentence"]),
                         ("ALLOW", "shop/buyers", 0, "enforced", "allowed by"))
        self.assertRegex(verdict["revision"], "^[0-9a-f]{16}$")
        self.assertEqual((far["decision"], far["policy"], far["revision"]), ("allow", "shop/buyers", verdict["revision"]))
        watched, = self.verdicts(self.called, connection=far["connection"], decision="audit")
        self.assertEqual((watched["action"], watched["policy"]), ("AUDIT", "shop/watched"))
        tomorrow, = self.verdicts(self.called, connection=far["connection"], decision="would-deny")
        self.assertEqual((tomorrow["action"], tomorrow["policy"], tomorrow["mode"]), ("DENY", "shop/tomorrow", "dry-run"))

    def test_2_a_denial_names_who_and_why(self):
        self.assertIsNone(self.call(self.thief, self.vip))
        end = wait_until("the end", lambda: self.ends(self.called, **{"src.workload": "thief"}))[-1]
        self.assertEqual((end["why"], end["fault"], end["src.identity"]), ("denied", "policy", self.thief.spiffe_id))
        verdict, = self.verdicts(self.called, connection=end["connection"], decision="deny")
        self.assertEqual(verdict["sentence"], "allow policies exist, but none allowed")
        self.assertNotIn("policy", verdict)
        self.assertNotIn("late", verdict)

    def test_3_two_pods_of_a_node_are_told_once(self):
        port = self.call(self.neighbour, self.near_vip)
        end, = wait_until("the end", lambda: self.ends(self.called, **{"src.addr": f"{self.neighbour.v4}:{port}"}))
        self.assertEqual((end["direction"], end["mtls"], end["src.proof"], end["dst.proof"]),
                         ("local", False, "node", "node"))
        self.assertEqual(len(self.verdicts(self.called, connection=end["connection"], decision="allow")), 1)

    def mixed(self, ports):
        """Allowed, denied and local calls, side by side. ports gets those that were served, by their caller's address."""
        def calls(pod, vip):
            for _ in range(N_MIXED):
                port = self.call(pod, vip)
                if port:
                    ports.append(f"{pod.v4}:{port}")

        threads = [threading.Thread(target=calls, args=who) for who in
                   ((self.buyer, self.vip), (self.thief, self.vip), (self.neighbour, self.near_vip)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until("every end to be told", lambda: self.are_told(ports), every_s=0.2)

    def are_told(self, addresses):
        """What was served, by its callers' addresses."""
        for node, prefix in ((self.caller, "10.1."), (self.called, "10.2.")):
            told = collections.Counter(end["src.addr"] for end in self.ends(node, why="ok") if end["direction"] != "inbound")
            wanted = collections.Counter(address for address in addresses if address.startswith(prefix))
            if wanted - told:
                return False
        return True

    def await_served(self, addresses):
        port = wait_until("calls to be served again", lambda: self.call(self.buyer, self.vip))
        addresses.append(f"{self.buyer.v4}:{port}")

    def expect_each_once(self, served):
        for node in (self.caller, self.called):
            mine = [address for address in served if address.startswith("10.2." if node is self.called else "10.1.")]
            known = {}
            for end in self.ends(node, why="ok"):
                if end["direction"] != "inbound":
                    known.setdefault(end["src.addr"], []).append(end)
            for address in mine:  # a port may come again after a while
                self.assertEqual(len(known.get(address, [])), mine.count(address), f"{node.name} {address}")
            names = [end["connection"] for end in self.ends(node)]
            self.assertEqual(len(names), len(set(names)), f"{node.name}: a connection ended twice")
            numbers = [line["seq"] for line in log_lines(node)]
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)), node.name)

    def test_4_over_kills_restarts_and_rotations_it_is_whole_and_has_every_connection_once(self):
        served = []
        self.mixed(served)
        for node in (self.caller, self.called):
            node.proxy.kill()
            node.proxy.restart()
        self.await_served(served)
        self.mixed(served)
        for node in (self.caller, self.called):
            node.proxy.restart()
        self.await_served(served)
        self.mixed(served)
        self.assertGreater(len(served), 10 * N_MIXED)
        self.expect_each_once(served)
        for node in (self.caller, self.called):
            self.assertGreater(len(log_files(node)), 2, "the log has not rotated")
            done = self.verify(node, log_files(node))
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            starts = [line["after"] for line in log_lines(node) if line["event"] == "start"]
            self.assertEqual(starts, ["nothing", "crash", "stop"])
            self.assertEqual(node.proxy.metrics()["isthmus_audit_lost_overrun_total"], 0)
            self.assertGreater(node.proxy.metrics()["isthmus_audit_records_total"], N_MIXED)
        self.assertEqual(oct(os.stat(log_path(self.called)).st_mode & 0o777), "0o600")

    def test_5_every_checkpoint_of_the_event_log_is_an_anchor(self):
        anchors = [f"{line['audit.seq']}:{line['audit.hash']}" for line in self.called.proxy.log() if "audit.hash" in line]
        self.assertGreater(len(anchors), 3)
        options = [word for anchor in anchors[-60:] for word in ("--anchor", anchor)]
        done = self.verify(self.called, log_files(self.called), *options)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_6_a_tampered_copy_is_named_with_its_line(self):
        with open(log_files(self.called)[0], encoding="utf-8") as file:
            lines = file.read().splitlines()
        copy = os.path.join(self.called.log_dir, "copy.log")
        at = 9
        edited = lines[:at] + [lines[at].replace("spiffe://", "spiffy://", 1)] + lines[at + 1:]
        if edited == lines:
            edited[at] = lines[at].replace('"node":"east-1"', '"node":"east-2"')
        swapped = lines[:at] + [lines[at + 1], lines[at]] + lines[at + 2:]
        for name, changed, named in (("edited byte", edited, (at + 1, at + 2)), ("deleted line", lines[:at] + lines[at + 1:], (at + 1,)),
                                     ("swapped lines", swapped, (at + 1,)), ("nothing", lines, ())):
            with self.subTest(name):
                with open(copy, "w", encoding="utf-8") as file:
                    file.write("\n".join(changed) + "\n")
                done = self.verify(self.called, [copy])
                self.assertEqual(done.returncode, 1 if named else 0, done.stdout)
                if named:
                    print(f"{name}: {done.stdout.splitlines()[0]}", flush=True)
                    self.assertTrue(any(f"{copy}:{line}" in done.stdout for line in named), done.stdout)

    def test_7_the_metrics_say_when_each_certificate_ends(self):
        ends = {series: value for series, value in self.called.proxy.metrics().items()
                if series.startswith("isthmus_certificate_expiry_seconds{")}
        self.assertIn(f'isthmus_certificate_expiry_seconds{{identity="{self.till.spiffe_id}"}}', ends)
        self.assertTrue(all(time.time() < end < time.time() + 400 * 86400 for end in ends.values()), ends)

    def test_8_a_file_that_was_renamed_ends_and_the_next_one_goes_on_at_a_hangup(self):
        moved = log_path(self.caller) + ".99999999999999999999"
        os.rename(log_path(self.caller), moved)
        self.caller.proxy.process.signal(signal.SIGHUP)
        wait_until("the next file", lambda: os.path.exists(log_path(self.caller)))
        address = f"{self.buyer.v4}:{self.call(self.buyer, self.vip)}"
        wait_until("its end in the next file", lambda: os.path.exists(log_path(self.caller)) and self.ends(
            self.caller, **{"src.addr": address}))
        done = self.verify(self.caller, log_files(self.caller))
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    lab.main()
