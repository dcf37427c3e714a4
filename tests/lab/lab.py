#!/usr/bin/env python3
"""The lab: clusters out of network namespaces, with a WAN between them. tests/lab/README.md is its manual.

usage: lab.py hold [--clusters N] [--nodes N]     raises an empty lab, says so, and keeps it up until it is ended
"""

import argparse
import itertools
import os
import shutil
import signal
import sys
import time
import unittest

import isolate
from cluster import Cluster
from isolate import IsolationError, enter
from process import LabError, LabTimeout, PATIENCE_S
from wan import Wan

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FOLDER = os.path.join(isolate.RUN_DIR, "lab")
CLUSTER_NAMES = ("west", "east", "north", "south")
EXIT_SKIPPED = 77  # what ctest takes for "skipped"

# For people: runs a command in any namespace of the lab by its name.
IN_SCRIPT = """#!/bin/sh
# in NAMESPACE COMMAND...
if [ $# -lt 2 ]; then
    echo "usage: $0 NAMESPACE COMMAND..., a namespace of:" /run/netns/* >&2
    exit 2
fi
name=$1
shift
exec nsenter --net=/run/netns/"$name" -- {folder}/enter {folder}/"${{name%%-*}}"/resolv.conf "$@"
"""

# Runs a command in a pod: with the resolv.conf of its cluster, and without the host's opinion about names.
ENTER_SCRIPT = """#!/bin/sh
# enter RESOLV_CONF COMMAND... (called in the pod's network namespace)
exec unshare --mount sh -c '
    mount --bind "$1" /etc/resolv.conf || exit 125
    [ ! -e /etc/nsswitch.conf ] || mount --bind {nsswitch} /etc/nsswitch.conf || exit 125
    shift
    exec "$@"' sh "$@"
"""


def find_program(variable, *candidates):
    """A program of ours: from the environment, else the first that was built. LabError when there is none."""
    named = os.environ.get(variable)
    paths = [named] if named else [os.path.join(ROOT, "build", path) for path in candidates]
    for path in paths:
        if os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise LabError(f"no {variable}: looked for {', '.join(paths)}; build it, or set {variable}")


class Lab:
    """Clusters with nodes, joined by late links. Use it in a with statement, after enter().

    Leaving the with statement ends all processes, isthmus ones gently, and removes all namespaces and files.
    """

    def __init__(self, n_clusters=2, n_nodes=2, delay_ms=20.0, queue_bytes=64 << 20, wrapper=()):
        """delay_ms: of one way. queue_bytes: what a link holds a way. wrapper: a command in front of isthmus."""
        if not isolate.has_entered:
            raise LabError("a lab is raised only after enter(), in namespaces of its own")
        self.folder = FOLDER
        self.isthmus_wrapper = list(wrapper)
        self.daemon_env = None
        self.clusters, self.wans = {}, {}
        self.enter_script = os.path.join(FOLDER, "enter")
        self._shape = (n_clusters, n_nodes, delay_ms, queue_bytes)

    # ---- birth and death ----

    def __enter__(self):
        n_clusters, n_nodes, delay_ms, queue_bytes = self._shape
        os.makedirs(self.folder)
        try:
            self._write_scripts()
            for number, name in enumerate(CLUSTER_NAMES[:n_clusters], 1):
                self.clusters[name] = Cluster(self, name, number, n_nodes)
            for link, (left, right) in enumerate(itertools.combinations(self.clusters.values(), 2)):
                relay = find_program("ISTHMUS_LAB_WAN", "release/tests/lab/lab_wan", "dev/tests/lab/lab_wan")
                self.wans[left.name, right.name] = Wan(link, left, right, relay, delay_ms, queue_bytes,
                                                       os.path.join(self.folder, "wan"))
                left.peer_with(right)
                right.peer_with(left)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        try:
            if not isinstance(value, (KeyboardInterrupt, SystemExit)):  # who interrupts does not want to wait
                self.stop_mesh()
        except LabError:
            if value is None:
                raise  # else what went wrong first is what is worth telling
        finally:
            self.close()

    def _write_scripts(self):
        nsswitch = os.path.join(self.folder, "nsswitch.conf")
        with open(nsswitch, "w", encoding="ascii") as file:
            file.write("passwd: files\ngroup: files\nhosts: files dns\n")
        for path, text in ((self.enter_script, ENTER_SCRIPT.format(nsswitch=nsswitch)),
                           (os.path.join(self.folder, "in"), IN_SCRIPT.format(folder=self.folder))):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            os.chmod(path, 0o755)

    def how_to_enter(self, namespace):
        """The command line by which a person outside runs something in a namespace of this lab."""
        kinds = "-U --preserve-credentials -m -n -p" if isolate.is_in_user_namespace() else "-m -n -p"
        return f"nsenter -t {isolate.outer_pid} {kinds} {self.folder}/in {namespace.name}"

    def close(self):
        """Removes everything. ISTHMUS_LAB_LOGS names a folder that gets a copy of the logs first."""
        keep = os.environ.get("ISTHMUS_LAB_LOGS")
        if keep:
            shutil.copytree(self.folder, os.path.join(keep, f"lab-{time.time_ns()}"), symlinks=True)
        for wan in self.wans.values():
            wan.close()
        for cluster in self.clusters.values():
            cluster.close()
        shutil.rmtree(self.folder)

    @property
    def wan(self):
        """The link of a lab with two clusters."""
        (wan,) = self.wans.values()
        return wan

    @property
    def west(self):
        return self.clusters["west"]

    @property
    def east(self):
        return self.clusters["east"]

    # ---- the mesh ----

    @property
    def isthmus(self):
        """The path of the program under test."""
        return find_program("ISTHMUS_BIN", "release/proxy/run/isthmus", "dev/proxy/run/isthmus")

    def isthmus_command(self):
        return [*self.isthmus_wrapper, self.isthmus]

    def all_nodes(self):
        return [node for cluster in self.clusters.values() for node in cluster.nodes]

    def start_controls(self):
        """Starts control in every cluster, and hands the roots around."""
        for cluster in self.clusters.values():
            cluster.control.start()
        for cluster in self.clusters.values():
            cluster.hand_out_root()
        for cluster in self.clusters.values():
            cluster.control.await_ready()

    def start_proxies(self):
        for node in self.all_nodes():
            node.proxy.start()
        for node in self.all_nodes():
            node.proxy.await_ready()

    def start_mesh(self):
        self.start_controls()
        self.start_proxies()

    def stop_mesh(self, timeout_s=PATIENCE_S):
        """Stops all isthmus processes gently. LabError when one had ended by itself, or ends with an error."""
        running = [daemon for cluster in self.clusters.values() for daemon in cluster.daemons()
                   if daemon.process is not None and not daemon.process.stopped]
        for daemon in running:  # one signal each: a second one would cut the draining short
            daemon.process.stopped = True
            daemon.process.signal(signal.SIGTERM)
        bad = []
        for daemon in running:
            try:
                status = daemon.process.wait(timeout_s)
            except LabTimeout as error:
                bad.append(str(error))
                continue
            if status != 0:
                bad.append(f"{daemon.name} ended with {status}\n{daemon.last_words()}")
        if bad:
            raise LabError("\n".join(bad))


def main():
    """For a test file: enters the namespaces and runs its tests. As root a failure to enter is a failure."""
    try:
        enter(tied=True)
    except IsolationError as error:
        print(f"skipped: {error}" if os.geteuid() != 0 else f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_SKIPPED if os.geteuid() != 0 else 1)
    unittest.main(verbosity=2)


def hold():
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Raises an empty lab and keeps it up until it is ended.")
    parser.add_argument("command", choices=["hold"])
    parser.add_argument("--clusters", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=2)
    options = parser.parse_args()
    try:
        enter()
        with Lab(options.clusters, options.nodes):
            print(f"the lab is up, held by process {isolate.outer_pid}", flush=True)
            signal.pause()
    except (IsolationError, LabError) as error:
        sys.exit(f"lab.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    hold()
