"""The WAN between two clusters of the lab: a late link that can be cut, and captured."""

import json
import os
import signal
import subprocess
import sys

import isolate
from net import DEAF, Namespace
from process import LabError, wait_until

V4_NET, V6_NET = "172.31.{link}.{host}", "fd00:ffff:{link}::{host}"


class Wan:
    """The relay between the routers of two clusters, in a namespace of its own.

    Its two interfaces are named like the clusters; what is seen on either end is what crossed, except that a frame
    shows on the far end 20 ms later.
    """

    def __init__(self, link, left, right, relay, delay_ms, queue_bytes, log_dir):
        self.left, self.right = left, right
        self.namespace = Namespace(f"wan-{left.name}-{right.name}", log_dir, DEAF)
        for near, far, host in ((left, right, 1), (right, left, 2)):
            self._join(link, near, far, host)
        self._relay = self.namespace.start(
            [relay, "--delay-us", str(int(delay_ms * 1000)), "--queue-bytes", str(queue_bytes), left.name, right.name],
            name="relay", stdin=subprocess.PIPE)
        self._n_answers = 0
        self._await_answer("the WAN relay to be ready")

    def _join(self, link, near, far, host):
        name, v4, v6 = f"wan-{far.name}", [V4_NET.format(link=link, host=h) for h in (host, 3 - host)], \
            [V6_NET.format(link=link, host=h) for h in (host, 3 - host)]
        near.router.ip(f"link add {name} type veth peer name {near.name} netns {self.namespace.name}",
                       f"address add {v4[0]}/30 dev {name}", f"address add {v6[0]}/126 dev {name} nodad",
                       f"link set {name} up")
        self.namespace.ip(f"link set {near.name} up")
        near.router.ip(f"route add 10.{far.number}.0.0/16 via {v4[1]} src {near.router.v4}",
                       f"route add fd00:{far.number}::/32 via {v6[1]} src {near.router.v6}")

    def _await_answer(self, what):
        def answered():
            self._relay.ensure_running()
            lines = self._relay.out().splitlines()
            return len(lines) > self._n_answers and lines[self._n_answers]

        answer = wait_until(what, answered, every_s=0.002)
        self._n_answers += 1
        return answer

    def command(self, line):
        """Tells the relay something (see wan.c); its answer."""
        self._relay.popen.stdin.write(line.encode() + b"\n")
        self._relay.popen.stdin.flush()
        answer = self._await_answer(f"the WAN relay to answer {line!r}")
        if answer.startswith("error"):
            raise LabError(f"the WAN relay refused {line!r}: {answer}")
        return answer

    def partition(self, side=""):
        """Drops everything, or only what comes from one cluster."""
        self.command(f"down {side}".rstrip())

    def heal(self, side=""):
        self.command(f"up {side}".rstrip())

    def set_delay_ms(self, one_way_ms):
        self.command(f"delay {int(one_way_ms * 1000)}")

    def set_loss_permille(self, permille):
        self.command(f"loss {permille}")

    def stats(self):
        """Counters by the cluster that the frames come from."""
        return json.loads(self.command("stats"))

    def capture(self, path, side=None):
        """Starts to capture on one end of the link (default: the left cluster's)."""
        return Capture(self.namespace, path, side or self.left.name)

    def close(self):
        self._relay.popen.stdin.close()
        self.namespace.close()


class Capture:
    """A running tcpdump (as an ordinary user: pcap.py); stop() gives the path of the whole file."""

    def __init__(self, namespace, path, interface):
        self.path, self._size, self._n_quiet = path, -1, 0
        if isolate.is_in_user_namespace():
            argv = [sys.executable, os.path.join(os.path.dirname(__file__), "pcap.py"), interface, path]
        else:
            argv = ["tcpdump", "-i", interface, "-s", "0", "-B", "65536", "-U", "-n", "--immediate-mode",
                    "-Z", "root", "-w", path]
        self.program = os.path.basename(argv[0 if argv[0] == "tcpdump" else 1])
        self._process = namespace.start(argv, name=self.program)

        def listens():
            self._process.ensure_running()
            return "listening on" in self._process.err()

        wait_until(f"{self.program} to listen", listens)

    def _is_quiet(self):
        size, self._size = self._size, os.path.getsize(self.path)
        self._n_quiet = self._n_quiet + 1 if size == self._size else 0
        return self._n_quiet >= 3

    def stop(self):
        """Ends the capture; LabError when packets were missed, for then it proves nothing."""
        wait_until("the capture to have written what it saw", self._is_quiet, every_s=0.1)
        self._process.stopped = True
        self._process.signal(signal.SIGINT)
        self._process.wait(10)
        for line in self._process.err().splitlines():
            if line.endswith("dropped by kernel") and line.split()[0] != "0":
                raise LabError(f"the capture is not whole: {line}")
        return self.path
