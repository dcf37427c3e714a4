"""./dev bench floods: what others notice while a pod of the same node means harm.

One cluster of two nodes. A pod calls a service of the other node over both proxies: 1,000 requests a second, open loop, at
random moments, over connections that stay, and beside nothing else one request after the other with a connection for each.
Its 99th percentile is measured alone and while another pod of its node floods the same service (tests/lab/flood.c), SETTLE_S
after the flood began: connections that send a head a byte a second, HTTP/2 requests that are reset at once, heads without
end, fields of 1 MB. Both proxies are on one core, load, backend and flood on the other, where the flood runs when nobody else
wants to (SCHED_IDLE): what it takes of the load's processor says nothing about a proxy.

Windows are short and the lower quartile of them counts, alone and under a flood: a machine that stands still for 4 ms now and
then delays a hundredth of the requests of whole seconds, and says nothing about a proxy either. Verdict: that quartile is at most
RATIO_MOST times what it is alone, no request of the other pod failed, and the offenders were cut and counted. Exit status 1 when
one of them does not hold.
"""

import argparse
import json
import os
import statistics
import sys
import time

import manifests
from process import wait_until

RATIO_MOST = 1.5
SETTLE_S = 3  # a flood goes on for so long before anything is measured: its first refusals are free
PORT, POD_PORT = 80, 9001
# name -> connections at once
FLOODS = {"loris": 5000, "reset": 20, "continuation": 20, "head1": 20, "head2": 20}
WINDOWS = 4  # of each load while a flood goes on
COUNTED = ("isthmus_http_refused_total",)
LOADS = {"requests": ("http", "--connections", "16", "--rate", "1000"),
         "connects": ("connect", "--connections", "1")}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench floods", description="What others notice of a flood.")
    parser.add_argument("floods", nargs="*", metavar="FLOOD", help=f"of {', '.join(FLOODS)} (all)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a window (1)")
    parser.add_argument("--rounds", type=int, default=3, help="of all floods, in turn (3)")
    parser.add_argument("--json", metavar="FILE", help="every window and the verdict; - prints it")
    options = parser.parse_args(arguments)
    for name in options.floods:
        if name not in FLOODS:
            parser.error(f"there is no flood {name}; there are {', '.join(FLOODS)}")
    return options


class Floods:
    def __init__(self, lab, programs, options):
        self.lab, self.programs, self.options = lab, programs, options
        west = lab.west
        west.add_namespace("shop")
        self.node = west.nodes[0]
        self.client = self.node.add_pod("client", "shop", "buyer")
        self.attacker = self.node.add_pod("attacker", "shop", "stranger")
        self.server = west.nodes[1].add_pod("server", "shop", "seller", {"app": "web"})
        west.add_service("web", "shop", [manifests.port(PORT, "http", POD_PORT)], {"app": "web"},
                                    export="v1beta1")
        self.windows = []

    def start(self):
        self.server.start(["taskset", "-c", "1", self.programs["bench_backend"], str(POD_PORT)], "backend",
                          own_session=False)
        wait_until("the backend", lambda: self.server.can_connect("127.0.0.1", POD_PORT))
        for node in self.lab.west.nodes:
            node.proxy.config["workers"] = 1
            node.proxy.config["log"] = {"access": False}
        self.lab.start_mesh()
        name = "web.shop.svc.clusterset.local"
        self.vip = wait_until("the address", lambda: self.client.run(["getent", "ahostsv4", name]).stdout.split()[:1],
                              timeout_s=20)[0]
        wait_until("an answer", lambda: self.client.run(
            ["curl", "-sf", "--max-time", "2", f"http://{self.vip}/1"]).returncode == 0, timeout_s=20)

    def load(self, kind):
        argv = ["taskset", "-c", "1", self.programs["bench_load"], LOADS[kind][0], "--to", f"{self.vip}:{PORT}",
                *LOADS[kind][1:], "--seconds", str(self.options.seconds), "--warm", "0.3"]
        return json.loads(self.client.check(argv, timeout_s=self.options.seconds + 30).stdout)

    def counted(self):
        metrics = self.node.proxy.metrics()
        return {name: sum(value for series, value in metrics.items() if series.startswith(name)) for name in COUNTED}

    def measure(self, flood):
        """Windows of each load under a flood, or under none."""
        found = {"flood": flood, **{kind: [] for kind in LOADS}}
        before, n_before = self.counted(), self.n_open()
        if flood:
            process = self.start_flood(flood)
        for _ in range(WINDOWS):
            for kind in LOADS:
                found[kind].append(self.load(kind))
        if flood:
            process.wait(60)
            found["offenders"] = json.loads(process.out().splitlines()[-1])
            wait_until("the flood to be over", lambda: self.n_open() <= n_before, timeout_s=20)
            found["counted"] = sum(self.counted().values()) - sum(before.values())
        self.windows.append(found)

    def start_flood(self, flood):
        """It begins before what is measured and ends after it."""
        seconds = SETTLE_S + int(WINDOWS * len(LOADS) * (self.options.seconds + 1)) + (4 if flood == "loris" else 1)
        process = self.attacker.start(["chrt", "--idle", "0", "taskset", "-c", "1", self.programs["lab_flood"], flood,
                                       self.vip, str(PORT), str(FLOODS[flood]), str(seconds)], f"flood-{flood}",
                                      own_session=False)
        wait_until("the flood to be there", lambda: self.is_there(flood), timeout_s=20)
        time.sleep(SETTLE_S)
        return process

    def n_open(self):
        return sum(value for series, value in self.node.proxy.metrics().items() if series.startswith("istio_tcp_sockets_open"))

    def is_there(self, flood):
        return self.n_open() > (0.9 * FLOODS[flood] if flood == "loris" else 0)

    def loads_of(self, flood, kind):
        return [load for windows in self.windows if windows["flood"] == flood for load in windows[kind]]

    def judge(self, flood):
        under = [windows for windows in self.windows if windows["flood"] == flood]
        verdict = {"flood": flood, "offenders": under[-1]["offenders"], "counted": under[-1]["counted"]}
        is_good = verdict["offenders"]["cut"] > 0 and verdict["counted"] > 0
        for kind in LOADS:
            p99 = [lower_quartile([load["p99_us"] for load in self.loads_of(name, kind)]) for name in (None, flood)]
            errors = sum(load["errors"] for load in self.loads_of(flood, kind))
            verdict[kind] = {"alone_p99_us": p99[0], "p99_us": p99[1], "ratio": round(p99[1] / p99[0], 2),
                             "errors": errors}
            is_good = is_good and p99[1] <= RATIO_MOST * p99[0] and errors == 0
        verdict["holds"] = is_good
        return verdict


def lower_quartile(values):
    return statistics.quantiles(values, n=4, method="inclusive")[0]


def show(verdicts):
    print(f"{'flood':14}{'load':10}{'alone p99':>12}{'under it':>12}{'ratio':>8}{'errors':>8}{'cut':>10}{'counted':>10}")
    for verdict in verdicts:
        for kind in LOADS:
            row = verdict[kind]
            print(f"{verdict['flood']:14}{kind:10}{row['alone_p99_us']:>9.0f} us{row['p99_us']:>9.0f} us{row['ratio']:>8.2f}"
                  f"{row['errors']:>8}{verdict['offenders']['cut']:>10}"
                  f"{verdict['counted']:>10.0f}")


def main(options, lab, programs):
    floods = Floods(lab, programs, options)
    floods.start()
    wanted = options.floods or list(FLOODS)
    for _ in range(options.rounds):
        floods.measure(None)
        for flood in wanted:
            print(f"bench: {flood}", file=sys.stderr, flush=True)
            floods.measure(flood)
    verdicts = [floods.judge(flood) for flood in wanted]
    everything = {"windows": floods.windows, "verdicts": verdicts}
    if options.json and options.json != "-":
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(everything, file, indent=1)
    if options.json == "-":
        print(json.dumps(everything, indent=1))
    else:
        show(verdicts)
    return 0 if all(verdict["holds"] for verdict in verdicts) else 1
