"""Calls a URL a number of times, each on a connection of its own, and prints one JSON object a call as it ends.

usage: http_calls.py [--count N] [--workers N] [--timeout S] [--body TEXT] [--until CLUSTER [--in-a-row N]] [--wait] URL

An object has at_s (CLOCK_MONOTONIC when the call ended), took_ms, and either cluster or error. --until stops at the
first answer of that cluster, or when so many came in a row, after N calls at most. --wait starts at the first line on standard input.
"""

import argparse
import http.client
import json
import sys
import threading
import time
import urllib.parse


def call(url, body, timeout_s):
    """One call: the cluster that answered. Raises OSError, http.client.HTTPException or ValueError."""
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout_s)
    try:
        connection.request("POST" if body else "GET", url.path, body, {"Connection": "close"})
        response = connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        return json.loads(data)["cluster"]
    finally:
        connection.close()


class Caller:
    def __init__(self, options):
        self.options = options
        self.url = urllib.parse.urlsplit(options.url)
        self.left = options.count
        self.in_a_row = 0
        self.lock = threading.Lock()

    def take(self):
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def work(self):
        while self.take():
            started_s = time.monotonic()
            try:
                outcome = {"cluster": call(self.url, self.options.body, self.options.timeout)}
            except (OSError, http.client.HTTPException, ValueError) as error:
                outcome = {"error": f"{type(error).__name__}: {error}"}
            ended_s = time.monotonic()
            with self.lock:
                print(json.dumps({"at_s": ended_s, "took_ms": round((ended_s - started_s) * 1e3, 3), **outcome}),
                      flush=True)
                self.in_a_row = self.in_a_row + 1 if outcome.get("cluster") == self.options.until else 0
                if self.options.until and self.in_a_row >= self.options.in_a_row:
                    self.left = 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--body")
    parser.add_argument("--until")
    parser.add_argument("--in-a-row", type=int, default=1)
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("url")
    caller = Caller(parser.parse_args())
    if caller.options.wait:
        sys.stdin.readline()
    threads = [threading.Thread(target=caller.work) for _ in range(caller.options.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
