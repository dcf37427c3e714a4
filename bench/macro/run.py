#!/usr/bin/env python3
"""./dev bench: our proxy beside HAProxy and nginx, in one run, on one machine.

usage: ./dev bench [--rounds N] [--seconds S] [--quick] [--json FILE] [--svg FILE] [--markdown] [ROW...]
       ./dev bench soak [SECONDS] [--json FILE]
       ./dev bench floods [--json FILE] [FLOOD...]

Rules it keeps: both proxies of a path on one core, load and backend on the other; rounds interleave the proxies; what
counts is the median of the rounds and the ratio to the best peer of the same run; the processor is kept from sleeping
(an idle virtual processor wakes too late for latencies to mean anything), the congestion control is reno everywhere; a
window in which others used more than 12 % of a core is measured again, as long as the run has time for that. A difference
under 5 % is none.
"""

import argparse
import dataclasses
import json
import os
import statistics
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lab"))
sys.path.insert(0, HERE)

import floods  # noqa: E402
import isolate  # noqa: E402
import report  # noqa: E402
import scale  # noqa: E402
import soak  # noqa: E402
from lab import Lab, find_program  # noqa: E402
from process import LabError, wait_until  # noqa: E402
from rows import ROWS  # noqa: E402
from stage import LOAD_CORE, PROXY_CORE, Stage  # noqa: E402

FOREIGN_MOST = 0.12  # of a core
TRIES = 4
REPEATS, REPEATS_QUICK = 120, 30  # of all windows together: where it is never quiet the run must end in its time all the same
UNLOGGED = "ours-unlogged"
IDLE_AFTER_S = 5  # what a connection needs while something comes now and then is not what it needs when it waits
IDLE_MOST_S = 60  # to open what then does nothing; a handshake each costs the L4 chains 5,000 ms of processor


def cpu_ns(pid):
    """Processor time of all threads of a process, in ns."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    except OSError:
        pass
    return total


def busy_s():
    """Processor time that the whole machine has spent, in s."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, irq, softirq = (int(word) for word in file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def user_bytes(pid):
    """Memory that is a process's alone or its share of, in bytes."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Bench:
    def __init__(self, stage, load, options):
        self.stage, self.load, self.handshake = stage, load, options.handshake
        self.seconds, self.warm, self.rounds = options.seconds, options.warm, options.rounds
        self.idle_most = options.idle_most
        self.n_noisy, self.repeats_left = 0, options.repeats
        self.windows = {}  # what two rows read different figures of is measured once

    cpu_ns = staticmethod(cpu_ns)

    def command(self, address, arguments, seconds):
        program = self.handshake if arguments[0] == "handshake" else self.load
        return ["taskset", "-c", LOAD_CORE, program, arguments[0], "--to", address, *arguments[1:],
                "--seconds", str(seconds), "--warm", str(self.warm)]

    def idle(self, proxy, row):
        """What connections cost that do nothing: memory for each, and processor time."""
        pod, address = self.stage.target(proxy, row)
        pids = self.stage.pids.get(proxy, [])
        at = row.arguments.index("--connections") + 1
        n = min(int(row.arguments[at]), self.idle_most)
        arguments = (*row.arguments[:at], str(n), *row.arguments[at + 1:])
        if row.is_fresh:  # what is made once is there before it is counted
            pod.check(self.command(address, ("http", "--connections", "32", *row.arguments[at + 1:]), 0.3), timeout_s=20)
        before = sum(map(user_bytes, pids))
        hold, release = os.pipe()
        with open(hold, "rb") as stdin, open(release, "wb"):
            load = pod.start(self.command(address, arguments, IDLE_MOST_S), "idle", stdin=stdin)
            wait_until(f"{n} connections through {proxy}", lambda: load.out() or not load.is_running(),
                       timeout_s=IDLE_MOST_S + 10)
            figures = json.loads(load.out())
            if figures["n"] < n:
                raise LabError(f"{row.name} through {proxy}: {figures['n']} of {n} connections: {load.err().strip()}")
            time.sleep(IDLE_AFTER_S)
            bytes_each = (sum(map(user_bytes, pids)) - before) / n
            spent, started = sum(map(cpu_ns, pids)), time.monotonic()
            time.sleep(max(self.seconds, 1))
            figures["proxy_cpu"] = (sum(map(cpu_ns, pids)) - spent) / 1e9 / (time.monotonic() - started)
            load.kill()
        time.sleep(0.5)  # until the proxies have seen their ends
        figures.update(bytes_each=bytes_each, cpu_per_gb=0.0, cpu_per_request=0.0, bytes_per_near_cpu_s=0.0,
                       bytes_per_far_cpu_s=0.0)
        return figures

    def once(self, proxy, row):
        """One window: bench_load's figures, with the CPU that the proxies burnt."""
        if row.arguments[0] == "idle":
            if row.is_fresh and proxy == "ours":
                self.stage.restart([self.stage.near])
            return self.idle(proxy, row)
        if not row.beside:
            return self.window(proxy, row)
        port, arguments = row.beside
        pod, address = self.stage.target(proxy, dataclasses.replace(row, port=port))
        beside = pod.start(self.command(address, arguments, self.seconds + 30), "beside")
        time.sleep(0.3)
        try:
            return self.window(proxy, row)
        finally:
            beside.kill()

    def window(self, proxy, row):
        pod, address = self.stage.target(proxy, row)
        argv = self.command(address, row.arguments, self.seconds)
        if row.path == "far end":
            argv += ["--credentials", self.stage.credentials(proxy)]
        pids = self.stage.pids.get(proxy, [])
        sides = {side: self.stage.of_node.get((proxy, side), []) for side in ("near", "far")}
        others = [pid for name, all_of in self.stage.pids.items() if name != proxy for pid in all_of]
        for tries_left in reversed(range(TRIES)):
            before, before_all, before_others = sum(map(cpu_ns, pids)), busy_s(), sum(map(cpu_ns, others))
            before_sides = {side: sum(map(cpu_ns, of)) for side, of in sides.items()}
            started = time.monotonic()
            done = pod.check(argv, timeout_s=self.seconds + 20)
            took = time.monotonic() - started
            proxy_s = (sum(map(cpu_ns, pids)) - before) / 1e9
            figures = json.loads(done.stdout)
            # Load and backend may use their core whole; what is beyond that and the proxies is foreign.
            foreign_s = busy_s() - before_all - proxy_s - (sum(map(cpu_ns, others)) - before_others) / 1e9
            if foreign_s / took - 1 <= FOREIGN_MOST:
                break
            if tries_left == 0 or self.repeats_left == 0:
                self.n_noisy += 1
                break
            self.repeats_left -= 1
        if figures["errors"]:
            raise LabError(f"{row.name} through {proxy}: {figures['errors']} errors: {done.stderr.strip()}")
        share = self.seconds / took  # of the proxies' time that fell into the measured window
        figures["proxy_cpu"] = proxy_s / took
        figures["cpu_per_gb"] = proxy_s * share / max(figures["bytes_per_s"] * self.seconds / 1e9, 1e-9)
        for side, of in sides.items():
            side_s = (sum(map(cpu_ns, of)) - before_sides[side]) / 1e9 * share
            figures[f"bytes_per_{side}_cpu_s"] = figures["bytes_per_s"] * self.seconds / max(side_s, 1e-9)
        figures["cpu_per_request"] = proxy_s * share / max(figures["n"], 1) * 1e6
        return figures

    def unlogged(self, row):
        """Ours without its audit log. Not interleaved with the others: our proxies start anew for it, and again afterwards."""
        self.stage.restart(self.stage.lab.west.nodes, audit={"events": []})
        try:
            return [self.once("ours", row) for _turn in range(self.rounds)]
        finally:
            self.stage.restart(self.stage.lab.west.nodes)

    def row(self, row):
        """{proxy: [figures, one a round]}"""
        proxies = ("ours", *row.peers) if row.arguments[0] in ("idle", "handshake") else ("direct", "ours", *row.peers)
        key = (row.path, row.port, row.arguments, row.is_http, proxies)
        if key not in self.windows:
            found = {proxy: [] for proxy in proxies}
            # A heap that has grown does not shrink: what idle connections need shows the first time only.
            for turn in range(self.rounds if row.arguments[0] != "idle" else 1):
                for proxy in proxies[turn % len(proxies):] + proxies[:turn % len(proxies)]:
                    found[proxy].append(self.once(proxy, row))
            if row.also_unlogged:
                found[UNLOGGED] = self.unlogged(row)
            self.windows[key] = found
        return self.windows[key]


def judge(row, found):
    """The row as it is printed: medians, spreads, the ratio to the best of each goal's peers."""
    def middle(proxy, figure):
        return statistics.median(one[figure] for one in found[proxy])

    proxies = {}
    for proxy, windows in found.items():
        if proxy == "direct" and "cpu" in row.figure:
            continue  # no proxy, no processor time of one
        values = [one[row.figure] for one in windows]
        value = statistics.median(values)
        proxies[proxy] = {"value": value, "least": min(values), "most": max(values),
                          "proxy_cpu": middle(proxy, "proxy_cpu"), "rate": middle(proxy, "rate"),
                          "bytes_per_s": middle(proxy, "bytes_per_s"), "p50_us": middle(proxy, "p50_us"),
                          "p99_us": middle(proxy, "p99_us")}
    goals = []
    for goal in row.goals:
        best = (max if row.more_is_better else min)(goal.peers, key=lambda peer: proxies[peer]["value"])
        ratio = proxies["ours"]["value"] / proxies[best]["value"] if proxies[best]["value"] else 0.0
        met = ratio >= goal.ratio if row.more_is_better else ratio <= goal.ratio
        goals.append({"peer": best, "goal": goal.ratio, "ratio": ratio, "met": met})
    if row.limit:
        ratio = proxies["ours"]["value"] / row.limit
        goals.append({"peer": "the limit", "goal": 1.0, "ratio": ratio, "met": ratio <= 1.0})
    if row.added:
        ratio = (proxies["ours"]["value"] - proxies["direct"]["value"]) / row.added
        goals.append({"peer": f"{row.added:g} us over direct", "goal": 1.0, "ratio": ratio, "met": ratio <= 1.0})
    return {"name": row.name, "what": row.what, "ztunnel": row.ztunnel, "figure": row.figure,
            "more_is_better": row.more_is_better, "load": row.load, "proxies": proxies, "goals": goals}


def keep_awake():
    """Holds the processor from sleeping as long as the file is open. None where that may not be done."""
    try:
        awake = os.open("/dev/cpu_dma_latency", os.O_WRONLY)
        os.write(awake, struct.pack("i", 0))
        return awake
    except OSError:
        return None


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Our proxy beside HAProxy and nginx.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join([*(row.name for row in ROWS), *scale.NAMES]))
    parser.add_argument("--rounds", type=int, default=5, help="windows for each proxy and row (5)")
    parser.add_argument("--seconds", type=float, default=1.4, help="length of a window (1.4)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.3 s, fewer idle connections: the picture, not the proof")
    parser.add_argument("--json", metavar="FILE", help="write everything there; - prints it in place of the table")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/performance.md has it")
    parser.add_argument("--svg", metavar="FILE", help="write the ratios as a plot")
    options = parser.parse_args()
    options.warm, options.idle_most, options.repeats = 0.3, 1 << 20, REPEATS
    unknown = set(options.rows) - {row.name for row in ROWS} - set(scale.NAMES)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if options.quick:
        options.rounds, options.seconds, options.warm, options.idle_most = 2, 0.3, 0.2, 1000
        options.repeats = REPEATS_QUICK
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    return options


def measure(bench, stage, options):
    """The rows that were asked for, and of those that could not be measured why: one that fails loses no other."""
    results, failed = [], {}
    for row in ROWS:
        if options.rows and row.name not in options.rows:
            continue
        print(f"bench: {row.name}", file=sys.stderr, flush=True)
        try:
            results.append(judge(row, bench.row(row)))
        except (LabError, ValueError) as error:
            failed[row.name] = error
            print(f"bench: {row.name} was not measured: {error}", file=sys.stderr, flush=True)
    if not options.rows or set(options.rows) & set(scale.NAMES):
        try:
            results += scale.run(bench, stage, options.rows)
        except LabError as error:
            failed["scale"] = error
    return results, failed


def main():
    soaking = soak.parse(sys.argv[2:]) if sys.argv[1:2] == ["soak"] else None
    flooding = floods.parse(sys.argv[2:]) if sys.argv[1:2] == ["floods"] else None
    options = None if soaking or flooding else parse()
    if os.cpu_count() < 2:
        sys.exit("bench: two processors are needed, one for the proxies and one for the load")
    awake = keep_awake()
    try:
        isolate.enter()
        programs = {name: find_program(name.upper(), f"release/bench/{name}") for name in ("bench_load", "bench_backend", "bench_handshake")}
        if flooding:
            programs["lab_flood"] = find_program("ISTHMUS_LAB_FLOOD", "release/tests/lab/lab_flood")
        with Lab(n_clusters=1, n_nodes=2, wrapper=["taskset", "-c", PROXY_CORE]) as lab:
            if flooding:
                sys.exit(floods.main(flooding, lab, programs))
            stage = Stage(lab, programs)
            stage.start()
            if soaking:
                sys.exit(soak.main(soaking, stage, programs["bench_load"]))
            stage.start_peers()
            options.handshake = programs["bench_handshake"]
            bench = Bench(stage, programs["bench_load"], options)
            results, failed = measure(bench, stage, options)
    except (LabError, isolate.IsolationError) as error:
        sys.exit(f"bench: {error}")
    everything = {"machine": report.machine(awake is not None), "rounds": options.rounds, "seconds": options.seconds,
                  "noisy_windows": bench.n_noisy, "rows": results}
    if options.json and options.json != "-":
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(everything, file, indent=1)
    print(json.dumps(everything, indent=1) if options.json == "-" else (report.markdown if options.markdown else report.table)(everything))
    if options.svg:
        with open(options.svg, "w", encoding="utf-8") as file:
            file.write(report.svg(everything))
    if failed:
        sys.exit("".join(f"bench: {name} was not measured: {why}\n" for name, why in failed.items()))


if __name__ == "__main__":
    main()
