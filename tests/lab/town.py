"""What most scenarios stand on: two clusters, a service `till` in both, clients, and helpers to look at what happened."""

import os
import socket
import sys
import unittest

import lab
import manifests
from process import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
TILL = "till.shop.svc.clusterset.local"
TILL_PORT, TILL_POD_PORT = 7000, 7070


class Town:
    """A raised lab with namespace `shop` in every cluster; tills are added where a scenario wants them."""

    def __init__(self, raised):
        self.lab = raised
        self.west, self.east = raised.west, raised.east
        self.tills = {cluster.name: [] for cluster in raised.clusters.values()}
        for cluster in raised.clusters.values():
            cluster.add_namespace("shop")

    def add_client(self, node, name="client", service_account="buyer"):
        return node.add_pod(name, "shop", service_account, {"app": name})

    def add_till(self, node, name="till"):
        """A replica of the service on a node, with its server running."""
        pod = node.add_pod(name, "shop", "seller", {"app": "till"})
        self.tills[node.cluster.name].append(pod)
        self.start_till(pod)
        return pod

    def start_till(self, pod):
        process = pod.start([sys.executable, os.path.join(HERE, "tcp_server.py"), str(TILL_POD_PORT)], name="till",
                            env={**os.environ, "ISTHMUS_CLUSTER": pod.cluster.name})
        wait_until(f"{pod.name} to listen", lambda: pod.can_connect("127.0.0.1", TILL_POD_PORT))
        return process

    def add_service(self, cluster, export="v1beta1"):
        cluster.add_service("till", "shop", [manifests.port(TILL_PORT, "till", TILL_POD_PORT)], {"app": "till"},
                            export=export)

    def await_endpoints(self, node, count):
        """Until the node's proxy knows so many ready replicas of the till."""
        def known():
            found = node.proxy.ctl("endpoints", TILL)["endpoints"]
            return len({(e["cluster"], e["workload"]) for e in found if e["service"] == TILL and e["ready"]}) >= count

        wait_until(f"{node.name} to know {count} replicas", known, every_s=0.1)


def address(pod, host=TILL):
    """What the host resolves to in a pod; the first IPv4 address, or None."""
    done = pod.run(["getent", "ahostsv4", host])
    return done.stdout.split()[0] if done.stdout.split() else None


def await_address(pod, host=TILL):
    return wait_until(f"{host} to resolve in {pod.name}", lambda: address(pod, host), every_s=0.1)


def ask(pod, want, vip, timeout_s=15.0, port=TILL_PORT):
    """Connects, says what is wanted, ends our direction, and gives all that comes back."""
    with pod.connect(vip, port, timeout_s) as sock:
        sock.sendall(want.encode() + b"\n")
        sock.shutdown(socket.SHUT_WR)
        parts = []
        while data := sock.recv(65536):
            parts.append(data)
        return b"".join(parts).decode()


def served_by(pod, vip, timeout_s=15.0):
    """The cluster that answers."""
    return ask(pod, "who", vip, timeout_s).split()[-1]


def resident_kib(process):
    """Memory of a process, in KiB. The wrapper in front of isthmus, if there is one, has replaced itself by it."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


class Story(unittest.TestCase):
    """A test case in a town: subclasses say in build() who lives there."""

    n_nodes = 2

    @classmethod
    def setUpClass(cls):
        cls.raised = lab.Lab(n_nodes=cls.n_nodes)
        cls.raised.__enter__()
        cls.addClassCleanup(cls.raised.__exit__, None, None, None)
        cls.town = Town(cls.raised)
        cls.build(cls.town)

    @classmethod
    def build(cls, town):
        raise NotImplementedError
