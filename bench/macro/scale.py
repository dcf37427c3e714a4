"""Large clusters, after all other rows: what 10,000 services with 100,000 endpoints change, and how a proxy starts with them.

Compared with itself: the same load in the same run, before the services came and without the changes.
"""

import dataclasses
import statistics
import sys
import threading
import time

from process import wait_until
from rows import HTTP, Row

SERVICES = 10000
LOADED_S = 120
CHANGES = 500  # endpoints a second
START_RATIO_S, START_LIMIT_BYTES = 1.0, 400e6
CONTROL_LIMIT_MS = 20  # of a core, in a second with CHANGES
STALLS_BEYOND = 0.1    # a second, more than without them

RPS = Row("scale-rps", "", "mesh", HTTP, ("http", "--connections", "64"), "rate", True, (), ())
TAIL = Row("scale-p99", "", "mesh", HTTP, ("http", "--connections", "64", "--rate", "5000"), "p99_us", False, (), ())
CPU = dataclasses.replace(RPS, figure="cpu_per_request", more_is_better=False)
NAMES = ("scale-rps", "scale-churn-cpu", "scale-churn-rps", "scale-churn-p99", "scale-churn-control", "scale-churn-stalls",
         "start-seconds", "start-memory")


def _knows_last(node):
    return len(node.proxy.page(f"/services?host=service-{SERVICES - 1}.")["services"]) > 0


class Stalls:
    """Turns of workers that were 2 ms and longer, a second since the beginning: {reason: number}."""

    REASONS = ("worked", "waited")

    def __init__(self, nodes):
        self.nodes, self.started, self.before = nodes, time.monotonic(), self._told(nodes)

    @staticmethod
    def _told(nodes):
        found = [node.proxy.metrics() for node in nodes]
        return {reason: sum(one[f'isthmus_long_turns_total{{reason="{reason}"}}'] for one in found) for reason in Stalls.REASONS}

    def rates(self):
        now, took = self._told(self.nodes), time.monotonic() - self.started
        return {reason: (now[reason] - self.before[reason]) / took for reason in Stalls.REASONS}


def _measure(bench, row):
    return [bench.window("ours", row) for _turn in range(bench.rounds)]


def _values(windows, figure):
    values = [one[figure] for one in windows]
    return {"value": statistics.median(values), "least": min(values), "most": max(values),
            "proxy_cpu": statistics.median(one.get("proxy_cpu", 0.0) for one in windows),
            "max_us": max(one.get("max_us", 0.0) for one in windows)}


def _against(name, what, row, before, after, ratio):
    proxies = {"before": _values(before, row.figure), "ours": _values(after, row.figure)}
    found = proxies["ours"]["value"] / max(proxies["before"]["value"], 1e-9)
    met = found >= ratio if row.more_is_better else found <= ratio
    return {"name": name, "what": what, "ztunnel": "", "figure": row.figure, "more_is_better": row.more_is_better,
            "load": row.load, "proxies": proxies,
            "goals": [{"peer": "before", "goal": ratio, "ratio": found, "met": met}]}


def _limited(name, what, figure, values, limit):
    value = statistics.median(values)
    return {"name": name, "what": what, "ztunnel": "", "figure": figure, "more_is_better": False, "load": "",
            "proxies": {"ours": {"value": value, "least": min(values), "most": max(values), "proxy_cpu": 0.0}},
            "goals": [{"peer": "the limit", "goal": 1.0, "ratio": value / limit, "met": value <= limit}]}


class Churn:
    """Changes endpoints in the background as long as it is open."""

    def __init__(self, crowd):
        self.crowd, self.over = crowd, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        ready = False
        while not self.over.wait(1.0):
            self.crowd.churn(ready)
            ready = not ready

    def __enter__(self):
        self.thread.start()

    def __exit__(self, kind, value, trace):
        self.over.set()
        self.thread.join()


def _start_once(node):
    """Seconds from exec to ready, and resident bytes then."""
    node.proxy.stop()
    started = time.monotonic()
    node.proxy.start()
    wait_until("the proxy to be ready", node.proxy.is_ready, timeout_s=60, every_s=0.005)
    took = time.monotonic() - started
    with open(f"/proc/{node.proxy.process.pid}/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))
    return took, resident


def run(bench, stage, wanted):
    """The rows, of those whose names are wanted."""
    print("bench: scale", file=sys.stderr, flush=True)
    before = {row.name: _measure(bench, row) for row in (RPS, TAIL)}
    stage.crowd.grow(SERVICES)
    for node in stage.lab.west.nodes:
        wait_until(f"{SERVICES} services on {node.name}", lambda node=node: _knows_last(node),
                   timeout_s=LOADED_S, every_s=0.5)
    loaded = f"{SERVICES:,} services with {SERVICES * 10:,} endpoints known"
    stalls = Stalls(stage.lab.west.nodes)
    rows = [_against("scale-rps", f"mesh-rps, {loaded}", RPS, before[RPS.name], _measure(bench, RPS), 0.95)]
    calm = stalls.rates()
    control = stage.lab.west.control.process.pid
    with Churn(stage.crowd):
        time.sleep(2.5)  # the first reading finds that what was written last has not changed
        started, burnt_ns, stalls = time.monotonic(), bench.cpu_ns(control), Stalls(stage.lab.west.nodes)
        during = _measure(bench, RPS)
        stalled = stalls.rates()
        rows.append(_against("scale-churn-cpu", f"the same while {CHANGES} endpoint changes a second arrive: processor "
                             "time of both proxies for a request, their control threads' in it", CPU,
                             before[RPS.name], during, 1.05))
        rows.append(_against("scale-churn-rps", "the same: requests, beside a control process on the load's core", RPS,
                             before[RPS.name], during, 0.95))
        rows.append(_against("scale-churn-p99", "open loop at 5,000/s while they arrive, p99", TAIL,
                             before[TAIL.name], _measure(bench, TAIL), 1.05))
        burnt_ms = (bench.cpu_ns(control) - burnt_ns) / 1e6 / (time.monotonic() - started)
    rows.append(_limited("scale-churn-control", "processor time of the control process in a second of them", "ms_per_s",
                         [burnt_ms], CONTROL_LIMIT_MS))
    rows.append(_limited("scale-churn-stalls", "turns in which a worker itself worked for 2 ms and longer, in a second of the "
                         f"first of them; without changes {calm['worked']:.2f}, which with {STALLS_BEYOND} is the limit. "
                         f"Those in which it worked for less and waited for the core: {stalled['waited']:.2f}, without "
                         f"changes {calm['waited']:.2f}", "per_s", [stalled["worked"]], calm["worked"] + STALLS_BEYOND))
    starts = [_start_once(stage.near) for _turn in range(min(bench.rounds, 3))]
    stage.note_ours()
    rows.append(_limited("start-seconds", f"from exec to ready from disk, {loaded}", "seconds",
                         [took for took, _resident in starts], START_RATIO_S))
    rows.append(_limited("start-memory", "resident memory when it is ready", "bytes",
                         [resident for _took, resident in starts], START_LIMIT_BYTES))
    return [row for row in rows if not wanted or row["name"] in wanted]
