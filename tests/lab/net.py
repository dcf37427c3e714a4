"""Network namespaces and the wires between them."""

import contextlib
import os
import socket

import isolate
from process import LabError, Process, check, run

NETNS_DIR = "/run/netns"
GATEWAY_V6 = "fe80::1"  # the near end of every link

# Buffers that let one connection fill 40 ms at several Gbit/s; duplicate address detection would cost a second a link.
SYSCTLS = {
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/tcp_rmem": "4096 131072 67108864",
    "net/ipv4/tcp_wmem": "4096 65536 67108864",
}
FORWARDING = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
}
DEAF = {  # an end of the WAN relay: it carries frames and has nothing to say itself
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}


class Namespace:
    """A network namespace with a name under /run/netns, which is private to the lab."""

    def __init__(self, name, log_dir, sysctls=None):
        self.name = name
        self.log_dir = log_dir
        self.path = os.path.join(NETNS_DIR, name)
        self.processes = []
        self._n_links = self._n_started = 0
        self._fd = _make_namespace(self.path)
        self.set_sysctls({**SYSCTLS, **(sysctls or {})})
        self.ip("link set lo up")

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in this namespace; sockets and processes made meanwhile stay in it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            isolate.setns(self._fd, isolate.CLONE_NEWNET)
            yield self
        finally:
            isolate.setns(home, isolate.CLONE_NEWNET)
            os.close(home)

    def set_sysctls(self, values):
        with self.entered():
            for key, value in values.items():
                try:
                    with open(os.path.join("/proc/sys", key), "w", encoding="ascii") as file:
                        file.write(value)
                except OSError as error:
                    raise LabError(f"{self.name}: cannot set {key}: {error}") from None

    def ip(self, *commands):
        """Runs ip(8) commands, one string each."""
        with self.entered():
            check(["ip", "-batch", "-"], input_text="\n".join(commands) + "\n")

    def next_link(self):
        """A name for the near end of a new link."""
        self._n_links += 1
        return f"link{self._n_links}"

    def start(self, argv, name=None, log_name=None, **options):
        """Starts a process here. Its output: process.out(), process.err(), unless log_name names a log to share."""
        name = name or os.path.basename(argv[0])
        self._n_started += 1
        with self.entered():
            process = Process(name, self.command(argv), self.log_dir,
                              log_name or f"{name}-{self._n_started}", **options)
        self.processes.append(process)
        return process

    def run(self, argv, **options):
        """Runs a command here to its end: returncode, stdout, stderr."""
        with self.entered():
            return run(self.command(argv), **options)

    def check(self, argv, **options):
        """run(), and LabError when the command fails."""
        with self.entered():
            return check(self.command(argv), **options)

    def command(self, argv):
        """How a command line is started in here; pods add a resolv.conf of their own."""
        return list(argv)

    def connect(self, host, port, timeout_s=2.0):
        """A connected TCP socket of this namespace."""
        with self.entered():
            return socket.create_connection((host, port), timeout=timeout_s)

    def can_connect(self, host, port):
        try:
            self.connect(host, port).close()
            return True
        except OSError:
            return False

    def kill_all(self):
        for process in self.processes:
            if process.is_running():
                process.kill()

    def close(self):
        self.kill_all()
        os.close(self._fd)
        isolate.unmount(self.path)
        os.unlink(self.path)


def _make_namespace(path):
    os.makedirs(NETNS_DIR, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o444))
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        isolate.unshare(isolate.CLONE_NEWNET)
        isolate.mount("/proc/thread-self/ns/net", path, None, isolate.MS_BIND)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        isolate.setns(home, isolate.CLONE_NEWNET)
        os.close(home)


def attach(child, parent, v4, v6):
    """Links child to parent: its interface is eth0 with these two addresses, its way out is the parent.

    The parent has its own IPv4 address on the near end too: one that all links share (169.254.1.1, as some CNIs have
    it) would be the child's own as well when the child is a parent, and a request from it would be a martian.
    """
    link = parent.next_link()
    parent.ip(f"link add {link} type veth peer name eth0 netns {child.name}",
              f"address add {parent.v4}/32 dev {link}",
              f"address add {GATEWAY_V6}/64 dev {link} nodad",
              f"link set {link} up")
    child.ip("link set eth0 up",
             f"address add {v4}/32 dev eth0",
             f"address add {v6}/128 dev eth0 nodad",
             f"route add default via {parent.v4} dev eth0 onlink src {v4}",
             f"route add default via {GATEWAY_V6} dev eth0 src {v6}")
    parent.ip(f"route add {v4}/32 dev {link} src {parent.v4}",
              f"route add {v6}/128 dev {link} src {parent.v6}")
    return link
