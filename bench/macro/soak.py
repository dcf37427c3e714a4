"""./dev bench soak [SECONDS]: our proxies under load for long, and whether they stay as they are.

Load: keep-alive requests and new connections (each ended by a reset) at 70 % of what the machine does at most, over both
nodes and within one; an upload that never ends; an AuthorizationPolicy that comes and goes every five seconds and denies
somebody who is not there, so that every flow is judged anew. Verdict: from minute five on the memory of neither proxy grows
by more than noise, and where it does, by no more than 3 % in all, in a heap that grows by no more than 1 % from the first
half of that time to the second: pages of buffers that are filled deeper than ever before, which ends with them. At the end
no descriptor is left over; no error that the load did not ask for. Exit status 1 when one of them does not hold.
"""

import argparse
import json
import os
import statistics
import sys
import time

import manifests
from process import LabError, wait_until
from rows import HTTP, SINK, Row

SHARE = 0.7
SAMPLE_S = 5.0
SETTLED_S = 300.0  # from then on memory has to be flat; in a shorter run from its middle on
PATHS = {"mesh": Row("mesh", "", "mesh", HTTP, (), "", True, (), ()),
         "node": Row("node", "", "node", HTTP, (), "", True, (), ()),
         "sink": Row("sink", "", "mesh", SINK, (), "", True, (), ())}
SLOPE_SHARE = 0.03  # of the mean over the whole time: within it pages of the heap may be touched for the first time
HEAP_SHARE = 0.01   # by which the heap itself may be larger in the second half of it: malloc takes what it needs in steps
ARENA = 64 << 20    # glibc's arenas of threads begin at multiples of it
DESCRIPTORS_OVER = 8


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench soak", description="Hours in the life of a proxy.")
    parser.add_argument("seconds", nargs="?", type=float, default=1800.0, help="how long (1800)")
    parser.add_argument("--json", metavar="FILE", help="every sample and the verdict; - prints it")
    options = parser.parse_args(arguments)
    if options.seconds < 30:
        parser.error("under 30 seconds nothing is to be seen")
    return options


def slope(points):
    """Least squares over (x, y): by how much y grows for one x, and the standard error of that."""
    n = len(points)
    mean_x, mean_y = (statistics.fmean(values) for values in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _y in points)
    gradient = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = sum((y - mean_y - gradient * (x - mean_x)) ** 2 for x, y in points)
    return gradient, (left / max(n - 2, 1) / spread) ** 0.5


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def heap(pid):
    """What malloc has from the kernel, touched or not: the break's mapping and the arenas of threads."""
    total = 0
    with open(f"/proc/{pid}/maps", encoding="ascii") as file:
        for line in file:
            words = line.split()
            begin, end = (int(word, 16) for word in words[0].split("-"))
            if words[-1] == "[heap]" or (words[1] == "rw-p" and len(words) == 5 and begin % ARENA == 0):
                total += end - begin
    return total


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Soak:
    def __init__(self, stage, load):
        self.stage, self.load = stage, load
        self.nodes = stage.lab.west.nodes
        self.pids = {node.name: node.proxy.process.pid for node in self.nodes}
        self.running, self.samples = [], []

    def command(self, path, mode, *arguments, seconds):
        _pod, address = self.stage.target("ours", PATHS[path])
        return ["taskset", "-c", "1", self.load, mode, "--to", address, *arguments, "--seconds", str(seconds),
                "--warm", "0.2"]

    def most(self, path, mode):
        """What the path does at most, a second."""
        pod, _address = self.stage.target("ours", PATHS[path])
        done = pod.check(self.command(path, mode, "--connections", "32", seconds=2), timeout_s=30)
        return json.loads(done.stdout)["rate"]

    def begin(self, seconds):
        pod, _address = self.stage.target("ours", PATHS["mesh"])
        shares = [("mesh", "http", 0.4), ("mesh", "connect", 0.3), ("node", "http", 0.2), ("node", "connect", 0.1)]
        rates = [self.most(path, mode) * SHARE * part for path, mode, part in shares]
        for (path, mode, _part), rate in zip(shares, rates):
            # A connect load has no rate: two at once take about their share.
            arguments = ("--connections", "32", "--rate", f"{rate:.0f}") if mode == "http" else ("--connections", "2")
            self.running.append((f"{path} {mode}", pod.start(self.command(path, mode, *arguments, seconds=seconds),
                                                            f"soak-{path}-{mode}")))
        self.running.append(("mesh upload", pod.start(self.command("sink", "upload", "--connections", "1",
                                                                   seconds=seconds), "soak-upload")))

    def change_policy(self, is_there):
        west = self.stage.lab.west
        if is_there:
            west.remove("AuthorizationPolicy", "soak", "mesh")
        else:
            spec = {"action": "DENY", "rules": [{"from": [{"source": {"principals": ["west.example/ns/x/sa/nobody"]}}]}]}
            west.apply(manifests.authorization_policy("soak", "mesh", spec))

    def sample(self, started):
        self.samples.append({"at_s": time.monotonic() - started,
                             **{f"{name}.bytes": resident(pid) for name, pid in self.pids.items()},
                             **{f"{name}.heap": heap(pid) for name, pid in self.pids.items()},
                             **{f"{name}.descriptors": descriptors(pid) for name, pid in self.pids.items()}})

    def watch(self, seconds):
        started, is_there = time.monotonic(), False
        while time.monotonic() - started < seconds:
            time.sleep(SAMPLE_S)
            self.change_policy(is_there)
            is_there = not is_there
            self.sample(started)
            for name, process in self.running:
                if not process.is_running() and time.monotonic() - started < seconds - 2:
                    raise LabError(f"the load {name} ended: {process.err().strip()}")

    def failures(self):
        """Connections that failed, by the metrics of both nodes."""
        return sum(value for node in self.nodes for series, value in node.proxy.metrics().items()
                   if series.startswith("istio_tcp_connections_failed_total"))

    def verdict(self, seconds, fds_before, failed_before):
        faults, figures = [], {}
        settled = [one for one in self.samples if one["at_s"] >= min(SETTLED_S, seconds / 2)]
        for name in self.pids:
            points = [(one["at_s"], one[f"{name}.bytes"]) for one in settled]
            gradient, error = slope(points)
            grown, noise = gradient * seconds, 3 * error * seconds
            mean = statistics.fmean(y for _x, y in points)
            heaps = [max(one[f"{name}.heap"] for one in half) for half in (settled[:len(settled) // 2], settled[len(settled) // 2:])]
            figures[name] = {"bytes": mean, "bytes_an_hour": gradient * 3600, "noise_an_hour": 3 * error * 3600,
                             "is_flat": grown <= noise, "heap_first": heaps[0], "heap_second": heaps[1],
                             "most_descriptors": max(one[f"{name}.descriptors"] for one in self.samples),
                             "descriptors_before": fds_before[name], "descriptors_after": descriptors(self.pids[name])}
            if grown > noise and (grown > SLOPE_SHARE * mean or heaps[1] > (1 + HEAP_SHARE) * heaps[0]):
                faults.append(f"{name}: memory grows by {gradient * 3600 / 1e6:.1f} MB an hour")
            if figures[name]["descriptors_after"] > fds_before[name] + DESCRIPTORS_OVER:
                faults.append(f"{name}: {fds_before[name]} descriptors before, "
                              f"{figures[name]['descriptors_after']} after")
        errors = 0
        for name, process in self.running:
            said = json.loads(process.out())
            errors += said["errors"]
            figures[name] = {"rate": said["rate"], "bytes_per_s": said["bytes_per_s"], "p99_us": said["p99_us"],
                             "errors": said["errors"]}
            if said["errors"]:
                faults.append(f"{name}: {said['errors']} errors: {process.err().strip()}")
        failed = self.failures() - failed_before
        if failed > 0:
            faults.append(f"{failed:.0f} connections failed, by the proxies' own count")
        return {"seconds": seconds, "holds": not faults, "faults": faults, "figures": figures, "samples": self.samples}

    def run(self, seconds):
        for path in ("mesh", "node"):
            self.most(path, "http")  # tunnels and pools are there before descriptors are counted
        time.sleep(1)
        fds_before = {name: descriptors(pid) for name, pid in self.pids.items()}
        failed_before = self.failures()
        self.begin(seconds)
        self.watch(seconds)
        for name, process in self.running:
            wait_until(f"the load {name} to end", lambda process=process: not process.is_running(), timeout_s=60)
        for name, pid in self.pids.items():
            try:
                wait_until(f"descriptors of {name}", lambda name=name, pid=pid:
                           descriptors(pid) <= fds_before[name] + DESCRIPTORS_OVER, timeout_s=20)
            except LabError:
                pass  # the verdict says it
        return self.verdict(seconds, fds_before, failed_before)


def told(result):
    lines = [f"soak of {result['seconds']:.0f} s"]
    for name, of in result["figures"].items():
        if "bytes" in of:
            lines.append(f"  {name}: {of['bytes'] / 1e6:.1f} MB resident, {of['bytes_an_hour'] / 1e6:+.2f} MB an hour "
                         f"(noise {of['noise_an_hour'] / 1e6:.2f}{'' if of['is_flat'] else ', which is more than noise'}), "
                         f"heap at most {of['heap_first'] / 1e6:.1f} MB in the first half of it, {of['heap_second'] / 1e6:.1f} in "
                         f"the second; descriptors "
                         f"{of['descriptors_before']} before, at most {of['most_descriptors']}, {of['descriptors_after']} after")
        else:
            lines.append(f"  {name}: {of['rate']:,.0f}/s, {of['bytes_per_s'] / 1e6:,.0f} MB/s, p99 {of['p99_us']:,.0f} "
                         f"us, {of['errors']} errors")
    lines += [f"  FAULT: {fault}" for fault in result["faults"]]
    lines.append("  -> " + ("holds" if result["holds"] else "does NOT hold"))
    return "\n".join(lines)


def main(options, stage, load):
    result = Soak(stage, load).run(options.seconds)
    if options.json and options.json != "-":
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    print(json.dumps(result, indent=1) if options.json == "-" else told(result))
    sys.stdout.flush()
    return 0 if result["holds"] else 1
