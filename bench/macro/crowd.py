"""Many services that nobody calls: what a node of a large cluster has to know.

They are written as JSON documents in few files, since a file a service would take longer to make than to read.
"""

import json
import os

import manifests
from cluster import write_file

PER_SERVICE = 10
PER_FILE = 1000  # services; control takes a bounded number of nodes a file
NAMESPACE = "crowd"
CHURNING = 50  # services whose endpoints change: all 500 of them once a second


def _address(first, idx):
    return f"10.{first + (idx >> 16)}.{(idx >> 8) & 255}.{idx & 255}"


def _slice(name, number, ready):
    backing = [number * PER_SERVICE + i for i in range(PER_SERVICE)]
    endpoints = [manifests.endpoint(_address(64, i), f"pod-{i}", NAMESPACE, "elsewhere", "zone-x", ready, None)
                 for i in backing]
    return manifests.endpoint_slice(name, NAMESPACE, "IPv4", [manifests.port(80)], endpoints)


def _documents(objects):
    return "".join("---\n" + json.dumps(item) + "\n" for item in objects)


class Crowd:
    """n services with ten endpoints each, in a cluster of the lab."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.n_services = 0

    def _put(self, name, objects):
        pending = os.path.join(self.cluster.control.folder, "pending.yaml")
        write_file(pending, _documents(objects))
        os.rename(pending, os.path.join(self.cluster.manifests_dir, name))

    def grow(self, n_services):
        """Adds what is missing to n services. Those that churn are the first ones, in a file of their own."""
        if self.n_services == 0:
            self._put("crowd-namespace.yaml", [manifests.namespace(NAMESPACE, enrolled=False),
                                               manifests.node("elsewhere", ["192.0.2.9"])])
            self.churn(True)
        for first in range(self.n_services, n_services, PER_FILE):
            numbers = range(first, min(first + PER_FILE, n_services))
            self._put(f"crowd-{first}.yaml", [item for number in numbers for item in self._service(number)])
        self.n_services = n_services

    def _service(self, number):
        name = f"service-{number}"
        yield manifests.service(name, NAMESPACE, [manifests.port(80)], {"app": name}, [_address(32, number)])
        for i in range(number * PER_SERVICE, (number + 1) * PER_SERVICE):
            yield manifests.pod(f"pod-{i}", NAMESPACE, "elsewhere", "192.0.2.9", [_address(64, i)], "crowd",
                                {"app": name})
        if number >= CHURNING:
            yield _slice(name, number, True)

    def churn(self, ready):
        """All endpoints of the churning services become ready, or not."""
        self._put("crowd-churn.yaml", [_slice(f"service-{number}", number, ready) for number in range(CHURNING)])
