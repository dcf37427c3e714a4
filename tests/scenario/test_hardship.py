"""Full disks, a peer that freezes, a reader of the access log that stops reading, too few descriptors, too many callers."""

import contextlib
import fcntl
import json
import os
import resource
import signal
import time

import isolate
import lab
import manifests
from process import wait_until
from town import Story, TILL, TILL_PORT, address, await_address, served_by

DISK_BYTES = 128 << 10
LATER = "later.shop.svc.clusterset.local"


def fill(folder):
    """Takes what is left of the disk that the folder is on; gives the file's path."""
    path = os.path.join(folder, "filler")
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


def says(daemon, sentence):
    return any(sentence in line["message"] for line in daemon.log())


class FullDisks(Story):
    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        town.add_till(town.west.nodes[1])
        town.add_service(town.west)
        for daemon in (town.west.control, town.west.nodes[0].proxy):
            isolate.mount("tmpfs", daemon.config["stateDir"], "tmpfs", 0, f"size={DISK_BYTES},mode=0700")
            cls.addClassCleanup(isolate.unmount, daemon.config["stateDir"])
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(town.west.nodes[0], 1)

    def test_1_an_address_that_cannot_be_written_is_not_handed_out_and_all_else_goes_on(self):
        west, control = self.town.west, self.town.west.control
        filler = fill(control.config["stateDir"])
        west.add_service("later", "shop", [manifests.port(TILL_PORT, "till", 7070)], {"app": "till"}, export="v1beta1")
        wait_until("control to say so", lambda: says(control, "could not be written"))
        self.assertEqual(self.reasons(control), {"No space left on device"})
        time.sleep(1)
        self.assertIsNone(address(self.client, LATER))
        self.assertEqual(served_by(self.client, self.vip), "west")
        os.unlink(filler)
        later = await_address(self.client, LATER)
        wait_until("it to be served", lambda: self.serves(later))

    def serves(self, vip):
        try:
            return served_by(self.client, vip) == "west"
        except (OSError, IndexError):
            return False

    def test_2_a_proxy_that_cannot_keep_its_state_says_so_once_and_follows_changes(self):
        node = self.town.west.nodes[0]
        wait_until("the state to be kept", lambda: os.path.exists(self.state_file(node)))
        filler = fill(node.proxy.config["stateDir"])
        self.town.add_till(self.town.west.nodes[0], "till-2")
        self.town.await_endpoints(node, 2)
        wait_until("the proxy to say so", lambda: says(node.proxy, "could not be written"))
        self.assertEqual(self.reasons(node.proxy), {"No space left on device"})
        self.assertEqual(served_by(self.client, self.vip), "west")
        os.unlink(filler)
        wait_until("the state to be kept", lambda: b"till-2" in self.state(node))
        self.assertEqual(sum("could not be written" in line["message"] for line in node.proxy.log()), 1)

    def test_3_an_audit_log_that_cannot_be_written_holds_nobody_up_and_has_or_counts_every_connection(self):
        node = self.town.west.nodes[0]
        path = os.path.join(node.proxy.config["stateDir"], "audit", "audit.log")
        metric = lambda name: node.proxy.metrics()[f"isthmus_audit_{name}"]
        ends_before = self.audited(path)[0]
        filler = fill(node.proxy.config["stateDir"])
        for _ in range(20):
            self.assertEqual(served_by(self.client, self.vip), "west")
        wait_until("the proxy to say so", lambda: metric("blocked") == 1)
        os.unlink(filler)
        wait_until("the log to be written again", lambda: metric("blocked") == 0)
        wait_until("every connection to be in it or counted", lambda: sum(self.audited(path)) - ends_before >= 20)
        done = node.run([self.raised.isthmus, "ctl", "audit", "verify", path])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @staticmethod
    def reasons(process):
        """Why what could not be written was not."""
        return {line["error"] for line in process.log() if "could not be written" in line["message"]}

    @staticmethod
    def audited(path):
        """Connections whose end is in the log, and records that it counts as lost."""
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return sum(line["event"] == "end" for line in lines), sum(line.get("lost.count", 0) for line in lines)

    @staticmethod
    def state_file(node):
        return os.path.join(node.proxy.config["stateDir"], "state.pb")

    def state(self, node):
        with open(self.state_file(node), "rb") as file:
            return file.read()


class AFrozenPeer(Story):
    n_nodes = 1
    LEASE_S = 10

    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        town.add_till(town.east.nodes[0])
        town.add_service(town.east)
        town.west.control.config["peerLease"] = f"{cls.LEASE_S}s"
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(town.west.nodes[0], 1)

    def known(self):
        found = self.town.west.nodes[0].proxy.ctl("endpoints", TILL)["endpoints"]
        return len({e["workload"] for e in found if e["service"] == TILL and e["ready"]})

    def test_the_lease_counts_from_the_last_sign_of_life_and_the_endpoints_come_back(self):
        control = self.town.east.control.process
        with self.client.connect(self.vip, TILL_PORT, 15) as sock:
            sock.sendall(b"echo\nx")
            self.assertEqual(sock.recv(1), b"x")
            control.signal(signal.SIGSTOP)
            frozen_s = time.monotonic()
            try:
                time.sleep(self.LEASE_S / 4)
                self.assertEqual(self.known(), 1)
                wait_until("the endpoints to be gone", lambda: self.known() == 0)
            finally:
                control.signal(signal.SIGCONT)
            gone_s = time.monotonic() - frozen_s
            print(f"gone after {gone_s:.1f} s with a lease of {self.LEASE_S} s", flush=True)
            self.assertLess(gone_s, self.LEASE_S + 10)  # it is asked for the while, and asking takes time
            sock.sendall(b"y")
            self.assertEqual(sock.recv(1), b"y")
        wait_until("the endpoints to be back", lambda: self.known() == 1)
        self.assertEqual(served_by(self.client, self.vip), "east")


class ALogReaderStops(Story):
    n_nodes = 1

    @classmethod
    def build(cls, town):
        cls.node = town.west.nodes[0]
        cls.client = town.add_client(cls.node)
        town.add_till(cls.node)
        town.add_service(town.west)
        cls.node.proxy.config["workers"] = 1  # so that there is one ring to fill
        # What the proxy writes to is a pipe whose reader we are.
        path = os.path.join(cls.node.log_dir, "proxy.out")
        os.mkfifo(path)
        cls.addClassCleanup(os.unlink, path)
        cls.reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        cls.addClassCleanup(os.close, cls.reader)
        fcntl.fcntl(cls.reader, fcntl.F_SETPIPE_SZ, 4096)  # there is the ring behind it to fill
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(cls.node, 1)

    def dropped(self):
        return self.node.proxy.metrics()["isthmus_log_lines_dropped_total"]

    def read(self):
        """What the pipe holds now."""
        parts = []
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.reader, 1 << 16):
                parts.append(part)
        return b"".join(parts)

    def test_connections_go_on_lines_are_dropped_and_counted_and_come_whole_when_it_reads_again(self):
        slowest_s, n_calls = 0.0, 0
        deadline_s = time.monotonic() + 240
        while self.dropped() == 0 and time.monotonic() < deadline_s:
            for _ in range(50):
                started_s = time.monotonic()
                self.assertEqual(served_by(self.client, self.vip), "west")
                slowest_s = max(slowest_s, time.monotonic() - started_s)
                n_calls += 1
        print(f"{n_calls} calls, the slowest {slowest_s * 1e3:.0f} ms, {self.dropped():.0f} lines dropped", flush=True)
        self.assertGreater(self.dropped(), 0)
        self.assertLess(slowest_s, 5.0)  # who waited for the reader would wait for as long as it stands
        wait_until("the held lines", self.drained)
        before, text = self.dropped(), b""
        self.assertEqual(served_by(self.client, self.vip), "west")

        def has_line():
            nonlocal text
            text += self.read()
            return text.endswith(b"}\n")

        wait_until("the new line", has_line)
        for line in text.splitlines():
            json.loads(line)
        self.assertEqual(self.dropped(), before)

    def drained(self):
        """All lines that waited; each of them whole."""
        text, quiet_s = b"", time.monotonic()
        while not text.endswith(b"\n") or time.monotonic() < quiet_s + 0.5:
            if part := self.read():
                text, quiet_s = text + part, time.monotonic()
            time.sleep(0.02)
        for line in text.splitlines():
            json.loads(line)
        return text


class Crowds(Story):
    n_nodes = 1
    LIMIT = 20

    @classmethod
    def build(cls, town):
        cls.node = town.west.nodes[0]
        cls.client = town.add_client(cls.node)
        town.add_till(cls.node)
        town.add_service(town.west)
        cls.node.proxy.config.update(workers=1, limits={"connections": cls.LIMIT})
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(cls.node, 1)

    @contextlib.contextmanager
    def crowd(self, n):
        """Connections that have echoed something, at most n; the rest failed."""
        with contextlib.ExitStack() as stack:
            held = []
            for _ in range(n):
                with contextlib.suppress(OSError):
                    sock = stack.enter_context(self.client.connect(self.vip, TILL_PORT, 15))
                    sock.sendall(b"echo\nx")
                    if sock.recv(1):
                        held.append(sock)
            yield held

    def test_1_connections_beyond_the_limit_are_refused_with_a_reason_and_the_others_go_on(self):
        with self.crowd(self.LIMIT + 10) as held:
            self.assertEqual(len(held), self.LIMIT)
            for sock in held:
                sock.sendall(b"y")
                self.assertEqual(sock.recv(1), b"y")
        wait_until("the refusals in the access log", lambda: sum(
            line.get("why") == "overload" for line in self.node.access_log()) == 10)
        self.assertGreaterEqual(self.node.proxy.metrics()["isthmus_flows_shed_total"], 10)
        wait_until("room again", self.serves)

    def serves(self):
        try:
            return served_by(self.client, self.vip) == "west"
        except (OSError, IndexError):
            return False

    def cpu_s(self):
        with open(f"/proc/{self.node.proxy.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return {int(name) for name in os.listdir(f"/proc/{self.node.proxy.process.pid}/fd")}

    def lowest_free(self):
        """Of the descriptors, once those of connections before are closed: what still closes would be free later."""
        looks = []

        def is_at_rest():
            looks.append(self.descriptors())
            return len(looks) > 5 and all(look == looks[-1] for look in looks[-5:])

        wait_until("the descriptors to be at rest", is_at_rest, every_s=0.2)
        return next(fd for fd in range(len(looks[-1]) + 1) if fd not in looks[-1])

    def test_2_without_descriptors_it_rests_instead_of_spinning_and_goes_on_when_there_are_some(self):
        pid = self.node.proxy.process.pid
        usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        lowest_free = self.lowest_free()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, usual[1]))
        try:
            waiting = self.client.connect(self.vip, TILL_PORT, 15)  # the kernel accepts it; the proxy cannot
            started, started_s = self.cpu_s(), time.monotonic()
            time.sleep(2)
            used = (self.cpu_s() - started) / (time.monotonic() - started_s)
            print(f"{used * 100:.0f} % of a processor without descriptors", flush=True)
            self.assertLess(used, 0.5)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
        with waiting:
            waiting.settimeout(20)
            waiting.sendall(b"echo\nx")
            self.assertEqual(waiting.recv(1), b"x")

    def test_3_before_descriptors_run_out_new_connections_are_refused_and_the_others_go_on(self):
        pid = self.node.proxy.process.pid
        usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        with self.crowd(5) as held:
            self.assertEqual(len(held), 5)
            lowest_free = self.lowest_free()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free * 100 // 96 + 1, usual[1]))
            try:
                wait_until("new connections to be refused", lambda: not self.serves())
                for sock in held:
                    sock.sendall(b"y")
                    self.assertEqual(sock.recv(1), b"y")
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
        wait_until("the reason in the access log", lambda: any(
            line.get("why") == "overload" and "descriptors" in line.get("error", "") for line in self.node.access_log()))
        wait_until("room again", self.serves)


if __name__ == "__main__":
    lab.main()
