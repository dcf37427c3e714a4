#!/usr/bin/env python3
"""The demo: two clusters, a real Redis and a model server exported by both, and what the mesh does with them.

usage: ./dev demo [--check] [--json] [--keep]

Each step says what it shows in a line of plain words, with its figures. --check ends with 1 if any step failed, --json
prints the figures as one JSON object on standard output (the words go to standard error), --keep leaves the lab up.
"""

import argparse
import collections
import itertools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time

import isolate
import manifests
import pcap
from cluster import CONTROL_PORT
from lab import EXIT_SKIPPED, HERE, Lab
from process import LabError, wait_until

DOMAIN = "ml-services.svc.clusterset.local"
REDIS, MODEL = f"feature-store.{DOMAIN}", f"model-server.{DOMAIN}"
TUNNEL_PORT, MODEL_PORT, MODEL_POD_PORT, REDIS_PORT = 15008, 80, 8080, 6379
PROMISES = {300000: "5 minutes", 3600000: "1 hour", 86400000: "24 hours"}  # as DR tiers are written
TIERS = {"critical": "model-server", "batch": "batch-scoring", "development": "model-trial"}
AT_ONCE = {"loadBalancing": {"slowStart": {"window": "0s"}}}  # what is served here needs no warming up
DRILL_FOR = "2s"
CALLS = 100
CALLERS = 4
IN_A_ROW = 20  # answers of a cluster that is back
RECOVERY_MOST_S = 5.0
KUBELET_NOTICES_S = 1.0  # what a readiness probe of a cluster takes; the mesh must not need it


class StepFailed(Exception):
    """What a step saw is not what it is there to show."""


def require(condition, sentence):
    if not condition:
        raise StepFailed(sentence)


def ms(seconds):
    return round(seconds * 1e3, 1)


class Site:
    """What runs in one of the two clusters."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder = cluster, folder
        for name in ("ml-services", "apps"):
            cluster.add_namespace(name)
        near, far = cluster.nodes
        self.redis = near.add_pod("redis", "ml-services", "feature-store", {"app": "feature-store"})
        self.models = [node.add_pod(f"model-{i}", "ml-services", "model-server", {"app": "model-server"})
                       for i, node in enumerate((near, far))]
        self.app = far.add_pod("app", "apps", "web", {"app": "web"})
        self.intruder = far.add_pod("intruder", "apps", "intruder", {"app": "intruder"})
        cluster.add_service("feature-store", "ml-services", [manifests.port(REDIS_PORT, "redis")],
                            {"app": "feature-store"}, export="v1beta1")
        for tier, name in TIERS.items():
            cluster.add_service(name, "ml-services", [manifests.port(MODEL_PORT, "http", MODEL_POD_PORT)],
                                {"app": "model-server"}, export="v1beta1")
            cluster.apply(manifests.traffic_policy(name, "ml-services", name, {"tier": tier, **AT_ONCE}))
        cluster.apply(manifests.traffic_policy("feature-store", "ml-services", "feature-store", AT_ONCE))
        cluster.apply(manifests.authorization_policy(
            "only-web", "ml-services", manifests.allow_principals(["west.example/ns/apps/sa/web",
                                                                   "east.example/ns/apps/sa/web"])))

    def start_redis(self):
        self.redis.start(["redis-server", "--port", str(REDIS_PORT), "--bind", "0.0.0.0", "::", "--save", "",
                          "--appendonly", "no", "--protected-mode", "no", "--dir", self.folder])
        wait_until(f"Redis of {self.cluster.name}", lambda: self.redis.can_connect("127.0.0.1", REDIS_PORT))
        self.redis.check(["redis-cli", "set", "served-by", self.cluster.name])

    def start_models(self):
        for pod in self.models:
            pod.start([sys.executable, os.path.join(HERE, "model_server.py"), self.cluster.name, str(MODEL_POD_PORT)])
        for pod in self.models:
            wait_until(f"{pod.name} to listen", lambda pod=pod: pod.can_connect("127.0.0.1", MODEL_POD_PORT))

    def backends(self):
        return [self.redis, *self.models]

    def set_ready(self, ready):
        for pod in self.backends():
            pod.set_ready(ready)


class Calls:
    """Calls to /predict from a pod, by http_calls.py; prepared first, so that go() starts them at once."""

    def __init__(self, pod, count, workers=CALLERS, body=None, until=None, host=MODEL):
        argv = [sys.executable, os.path.join(HERE, "http_calls.py"), "--wait", "--count", str(count),
                "--workers", str(workers)]
        argv += ["--body", body] if body else []
        argv += ["--until", until, "--in-a-row", str(IN_A_ROW)] if until else []
        self._process = pod.start([*argv, f"http://{host}/predict"], name=f"calls-{host}", stdin=subprocess.PIPE)

    def go(self):
        self._process.popen.stdin.write(b"\n")
        self._process.popen.stdin.close()
        return self

    def stop(self):
        self._process.kill()

    def results(self):
        self._process.wait(60)
        lines = [json.loads(line) for line in self._process.out().splitlines()]
        require(lines, f"the calls did not start:\n{self._process.last_words()}")
        return lines


def counted(results):
    return dict(collections.Counter(result.get("cluster", "failed") for result in results))


def first_from(results, cluster):
    """When the first answer of a cluster came, or None."""
    return min((result["at_s"] for result in results if result.get("cluster") == cluster), default=None)


def first_of_the_last_row(results, cluster):
    """When the first of the answers came after which no other cluster answered."""
    row = list(itertools.takewhile(lambda result: result.get("cluster") == cluster, reversed(results)))
    require(row, f"the last answer is none of {cluster}")
    return row[-1]["at_s"]


def in_words(counts):
    return " and ".join(f"{count} by {name}" if name != "failed" else f"{count} failed"
                        for name, count in sorted(counts.items()))


class Demo:
    def __init__(self, lab):
        self.lab = lab
        self.figures = {}
        self.west, self.east = (Site(cluster, lab.folder) for cluster in (lab.west, lab.east))
        self.marker = secrets.token_hex(16)

    def start(self):
        started_s = time.monotonic()
        self.lab.start_controls()
        for site in (self.west, self.east):
            site.start_redis()
            site.start_models()
        self.lab.start_proxies()
        self.figures["mesh_up_s"] = round(time.monotonic() - started_s, 2)

    def steps(self):
        return [("names", self.names), ("redis", self.redis), ("curl", self.curl), ("identity", self.identity),
                ("drill", self.drill), ("failover", self.failover), ("wire", self.wire), ("denial", self.denial)]

    # ---- names ----

    def addresses(self, site, name, timeout_s=20):
        def resolved():
            done = site.app.run(["getent", "ahosts", name])
            return sorted({line.split()[0] for line in done.stdout.splitlines()})

        return wait_until(f"{name} to resolve in {site.cluster.name}", resolved, timeout_s, every_s=0.1)

    def names(self):
        asked = {name: self.addresses(self.west, name) for name in (REDIS, MODEL)}
        for name, found in asked.items():
            require(any(a.startswith("10.201.") for a in found), f"{name} is {found}: no address of west's range")
            require(any(a.startswith("fd00:201:") for a in found), f"{name} is {found}: no IPv6 address")
        outside = self.addresses(self.west, "www.example.com", timeout_s=5)
        require("192.0.2.80" in outside, f"www.example.com is {outside}, not what the pod's own resolver says")
        self.figures["names"] = {**asked, "www.example.com": outside}
        return (f"{REDIS} is {' and '.join(asked[REDIS])}; {MODEL} is {' and '.join(asked[MODEL])}; "
                f"other names are relayed to the pod's own resolver")

    # ---- calls ----

    def redis_cli(self, site, *command, pod=None):
        return (pod or site.app).run(["redis-cli", "-h", REDIS, *command], timeout_s=15)

    def redis(self):
        served = {}
        for site in (self.west, self.east):
            name = site.cluster.name
            done = self.redis_cli(site, "get", "served-by")
            served[name] = done.stdout.strip()
            require(served[name] == name, f"redis-cli in {name} said {(done.stdout + done.stderr).strip()!r}")
        self.figures["redis_served_by"] = served
        return f"redis-cli -h {REDIS}: asked in west, served by {served['west']}; in east, by {served['east']}"

    def curl(self):
        seen = {}
        for site in (self.west, self.east):
            name = site.cluster.name
            done = site.app.run(["curl", "-sS", "--max-time", "10", "-w", "%{time_total}", f"http://{MODEL}/predict"],
                                timeout_s=15)
            require(done.returncode == 0, f"curl in {name} ended with {done.returncode}: {done.stderr.strip()}")
            body, _, took_s = done.stdout.rpartition("\n")
            served = json.loads(body)["cluster"]
            require(served == name, f"curl in {name} was served by {served}")
            seen[name] = {"served_by": served, "took_ms": ms(float(took_s))}
        self.figures["curl"] = seen
        return (f"curl http://{MODEL}/predict: asked in west, served by {seen['west']['served_by']} in "
                f"{seen['west']['took_ms']} ms; in east, by {seen['east']['served_by']} in "
                f"{seen['east']['took_ms']} ms")

    # ---- identity ----

    def records(self, node, source, **wanted):
        """The access records of a node with this source identity, and with the other fields as asked."""
        return [record for record in node.access_log() if record.get("src.identity") == source
                and all(record.get(key.replace("_", ".")) == value for key, value in wanted.items())]

    def identity(self):
        source, destination = self.west.app.spiffe_id, self.west.redis.spiffe_id
        node = self.west.redis.node
        found = wait_until(f"the access record of the Redis connection on {node.name}",
                           lambda: self.records(node, source, dst_identity=destination))[-1]
        version = found.get("tls.version")
        require(version in ("TLSv1.3", "1.3"), f"the TLS version is {version}: {json.dumps(found)}")
        self.figures["identity"] = {"source": source, "destination": destination, "tls_version": version}
        return f"{source} called {destination} over {version}"

    # ---- the drill: a cluster is taken out of three services, each of another tier ----

    def drill(self):
        self.wait_for_the_other_cluster()
        callers = [Calls(self.west.app, 10 ** 9, workers=1, host=f"{name}.{DOMAIN}").go() for name in TIERS.values()]
        control = self.lab.west.control_namespace
        running = {tier: control.start([self.lab.isthmus, "ctl", "drill", "--service", f"ml-services/{name}",
                                        "--cluster", "west", "--for", DRILL_FOR, "--json"],
                                       name=f"drill-{tier}") for tier, name in TIERS.items()}
        for process in running.values():
            process.wait(40)
        for calls in callers:
            calls.stop()
        said = {tier: json.loads(process.out() or "{}") for tier, process in running.items()}
        self.figures["drill"] = said
        for tier, process in running.items():
            require(said[tier].get("verdict") == "pass" and process.popen.returncode == 0,
                    f"{tier}: {json.dumps(said[tier])} {process.err().strip()}")
        return "west is taken out for the clients of west: " + "; ".join(
            f"{TIERS[tier]} ({tier}) recovers in {one['recovery_ms']} ms, its tier promises "
            f"{PROMISES[one['promise_ms']]}; {one['failed_calls']} calls fail, back after {one['fail_back_ms']} ms: "
            f"{one['verdict']}"
            for tier, one in said.items())

    # ---- failover: the replicas of a cluster die ----

    def failover(self):
        self.wait_for_the_other_cluster()
        before = Calls(self.west.app, CALLS).go().results()
        self.capture = self.lab.wan.capture(os.path.join(self.lab.folder, "failover.pcap"))
        during, killed_s = self.fail_over()
        back_s, after = self.fail_back()
        recovered_s = first_from(during, "east")
        failed = sum(counted(results).get("failed", 0) for results in (before, during, after))
        self.figures["failover"] = {
            "before": counted(before), "local_dead": counted(during), "local_back": counted(after),
            "failed_calls": failed, "recovery_ms": recovered_s and ms(recovered_s - killed_s),
            "fail_back_ms": ms(back_s)}
        errors = sorted({result["error"] for result in before + during + after if "error" in result})
        require(recovered_s is not None, f"nobody answered after the kill: {in_words(counted(during))}: {errors}")
        words = (f"{CALLS} calls: {in_words(counted(before))}; west's replicas die: {in_words(counted(during))}, the "
                 f"first answer of east after {ms(recovered_s - killed_s)} ms; they return: "
                 f"{in_words(counted(after))}, after {ms(back_s)} ms; {failed} of {3 * CALLS} calls failed")
        # Not all of them: on a busy machine a connect may take so long that one to the other cluster overtakes it.
        at_home = min(counted(each).get("west", 0) for each in (before, after))
        require(failed == 0 and at_home >= CALLS * 0.9 and counted(during) == {"east": CALLS}
                and recovered_s - killed_s <= RECOVERY_MOST_S, words + (f": {errors}" if errors else ""))
        return words

    def wait_for_the_other_cluster(self):
        """Until west's proxy knows east's replicas: a failover before that would prove nothing about the mesh."""
        node = self.west.app.node
        addresses = [pod.v4 for pod in self.east.backends()]

        def known():
            text = node.run([self.lab.isthmus, "ctl", "endpoints"]).stdout
            return all(re.search(rf"\b{re.escape(address)}\b", text) for address in addresses)

        wait_until(f"{node.name} to know the endpoints of east", known, every_s=0.1)

    def fail_over(self):
        calls = Calls(self.west.app, CALLS, body=json.dumps({"marker": self.marker}))
        time.sleep(0.3)  # the callers are up and wait for the word
        killed_s = time.monotonic()
        # Waited for: until a killed process is gone its port takes calls, which then break off after the request.
        for pod in self.west.backends():
            for process in pod.processes:
                process.kill()
        kubelet = threading.Timer(KUBELET_NOTICES_S, self.west.set_ready, [False])
        kubelet.start()
        results = calls.go().results()
        self.send_marker_to_redis()
        kubelet.join()
        return results, killed_s

    def send_marker_to_redis(self):
        done = self.redis_cli(self.west, "set", "marker", self.marker)
        require(done.stdout.strip() == "OK", f"redis-cli in west said {(done.stdout + done.stderr).strip()!r}")

    def fail_back(self):
        self.west.start_redis()
        self.west.start_models()
        calls = Calls(self.west.app, 100000, workers=1, until="west")
        time.sleep(0.3)
        ready_s = time.monotonic()
        self.west.set_ready(True)
        # Its replicas come back one by one: it has its share when it answers call after call.
        back_s = first_of_the_last_row(calls.go().results(), "west")
        return back_s - ready_s, Calls(self.west.app, CALLS).go().results()

    # ---- the wire ----

    def wire(self):
        require(hasattr(self, "capture"), "there is no capture: the failover did not come that far")
        received = self.received_markers()
        require(received["redis"] == 1 and received["predict"] > 0, f"the marker did not reach east: {received}")
        clear = self.send_in_clear()
        path = self.capture.stop()
        with open(path, "rb") as file:
            content = file.read()
        require(clear.encode() in content, "the capture does not show a word that was sent in clear: it proves nothing")
        require(self.marker.encode() not in content, "the marker crossed the WAN in clear")
        payloads = collections.Counter()
        n_tls = 0
        for segment in pcap.segments(path):
            port = min(segment.sport, segment.dport, key=lambda p: p not in (TUNNEL_PORT, CONTROL_PORT))
            payloads[port] += len(segment.payload)
            n_tls += port == TUNNEL_PORT and segment.payload.startswith(pcap.TLS_APPLICATION_DATA)
        carrying = {port: size for port, size in payloads.items() if size}
        require(n_tls > 0, f"no TLS record on port {TUNNEL_PORT}: {carrying}")
        require(set(carrying) <= {TUNNEL_PORT, CONTROL_PORT}, f"TCP crossed on other ports: {carrying}")
        self.figures["wire"] = {
            "capture_bytes": len(content), "captured_by": self.capture.program, "tcp_bytes_by_port": carrying,
            "tls_segments": n_tls, "marker_found": False, "clear_word_found": True,
            "marker_received_by_east": received}
        return (f"{received['predict']} calls and a Redis value with a marker reached east; {self.capture.program} saw "
                f"{carrying[TUNNEL_PORT]} bytes of TLS on port {TUNNEL_PORT} of the WAN and the marker nowhere (a word "
                f"sent in clear beside it was found)")

    def received_markers(self):
        """What arrived, asked in the pods themselves and not through the mesh."""
        value = self.east.redis.check(["redis-cli", "get", "marker"]).stdout.strip()
        url = f"http://127.0.0.1:{MODEL_POD_PORT}/received?marker={self.marker}"
        counts = [json.loads(pod.check(["curl", "-sS", url]).stdout)["count"] for pod in self.east.models]
        return {"redis": int(value == self.marker), "predict": sum(counts)}

    def send_in_clear(self):
        """A datagram between two namespaces that are not in the mesh."""
        word = secrets.token_hex(16)
        with self.lab.west.control_namespace.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.sendto(word.encode(), (self.lab.east.control_v4, 9))
        return word

    # ---- denial ----

    def denial(self):
        intruder = self.west.intruder
        done = self.redis_cli(self.west, "get", "served-by", pod=intruder)
        said = (done.stdout + done.stderr).strip()
        require(not any(name in done.stdout for name in ("west", "east")) and (done.returncode != 0 or "rror" in said),
                f"the intruder was served: {said!r}")
        nodes = [each.redis.node for each in (self.west, self.east)]  # whichever Redis it asked

        def refusals():
            return [(node, record) for node in nodes for record in self.records(node, intruder.spiffe_id)]

        node, found = wait_until("the record of the refusal", refusals)[-1]
        require(found.get("why") == "denied", f"the record gives another reason: {json.dumps(found)}")
        self.figures["denial"] = {"client_saw": said, "record": found}
        return f"{intruder.spiffe_id} may not: redis-cli saw {said!r}; {node.name} logged {json.dumps(found)}"


class Report:
    """The words, and the outcome of each step."""

    def __init__(self, as_json):
        self.to = sys.stderr if as_json else sys.stdout
        self.steps = []

    def say(self, text=""):
        print(text, file=self.to, flush=True)

    def run_step(self, name, step):
        started_s = time.monotonic()
        try:
            words, good = step(), True
        except (StepFailed, LabError, OSError, ValueError, KeyError) as error:
            words, good = f"{type(error).__name__ + ': ' if not isinstance(error, StepFailed) else ''}{error}", False
        self.steps.append({"name": name, "ok": good, "words": words, "took_s": round(time.monotonic() - started_s, 2)})
        self.say(f"{'ok    ' if good else 'FAILED'} {name:9} {words}")

    def is_good(self):
        return all(step["ok"] for step in self.steps)


def run_demo(lab, report):
    """Runs the steps; the demo with its figures."""
    demo = Demo(lab)
    demo.start()
    nodes = sum(len(cluster.nodes) for cluster in lab.clusters.values())
    report.say(f"ok     mesh      2 clusters, {nodes} nodes, {sum(len(c.pods) for c in lab.clusters.values())} pods, "
               f"40 ms apart; up in {demo.figures['mesh_up_s']} s")
    for name, step in demo.steps():
        report.run_step(name, step)
    return demo


def keep_up(lab, report):
    app = lab.west.pods[[pod.pod_name for pod in lab.west.pods].index("app")]
    report.say(f"\nThe lab stays up. To run something in it:\n  {lab.how_to_enter(app)} curl http://{MODEL}/predict\n"
               f"  {lab.how_to_enter(app.node)} {lab.isthmus} ctl status\n"
               f"To end it, and remove all of it:\n  kill {isolate.outer_pid}")
    isolate.stay()
    while True:
        signal.pause()


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description="Two clusters, and what the mesh does for them.")
    parser.add_argument("--check", action="store_true", help="end with 1 if any step fails")
    parser.add_argument("--json", action="store_true", help="print the figures; the words go to standard error")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    options = parser.parse_args()
    report = Report(options.json)
    started_s = time.monotonic()
    try:
        isolate.enter()
        with Lab() as lab:
            demo = run_demo(lab, report)
            if options.json:
                print(json.dumps({"ok": report.is_good(), "took_s": round(time.monotonic() - started_s, 1),
                                  "steps": report.steps, "figures": demo.figures}, indent=2), flush=True)
            if options.keep:
                keep_up(lab, report)
    except isolate.IsolationError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(EXIT_SKIPPED if os.geteuid() != 0 else 1)
    except LabError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    report.say(f"{sum(step['ok'] for step in report.steps)} of {len(report.steps)} steps succeeded, "
               f"in {time.monotonic() - started_s:.1f} s")
    sys.exit(1 if options.check and not report.is_good() else 0)


if __name__ == "__main__":
    main()
