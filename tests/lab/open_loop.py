"""Calls a URL at a steady rate, whatever the answers do, each call on a connection of its own.

usage: open_loop.py [--rate N] [--seconds S] [--timeout S] [--callers N] URL

A call is due at a time that was fixed at the start; how long it took counts from then, also when every caller was busy
(no coordinated omission). Prints one JSON object a call as it ends: due_s (CLOCK_MONOTONIC), took_ms, late_ms (by how much
this program itself was late to hand it to a caller), and who answered (the body's "pod" and "cluster") or error. Bounds:
rate times seconds calls, as many callers as said.
"""

import argparse
import json
import queue
import socket
import sys
import threading
import time
import urllib.parse

ANSWER_MAX_BYTES = 65536


def call(address, request, timeout_s):
    """One call: the object that was answered. Raises OSError or ValueError."""
    with socket.create_connection(address, timeout_s) as sock:
        sock.sendall(request)
        answer = b""
        while len(answer) < ANSWER_MAX_BYTES and (piece := sock.recv(4096)):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise ValueError(f"answer {head[:40]!r}")
    return json.loads(body)


def work(due, address, request, timeout_s, lock):
    while (item := due.get()) is not None:
        due_s, late_ms = item
        try:
            outcome = call(address, request, timeout_s)
        except (OSError, ValueError) as error:
            outcome = {"error": f"{type(error).__name__}: {error}"}
        took_ms = round((time.monotonic() - due_s) * 1e3, 3)
        with lock:
            sys.stdout.write(json.dumps({"due_s": due_s, "took_ms": took_ms, "late_ms": late_ms, **outcome}) + "\n")
            sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--timeout", type=float, default=5)
    parser.add_argument("--callers", type=int, default=128)
    parser.add_argument("url")
    options = parser.parse_args()
    url = urllib.parse.urlsplit(options.url)
    address = socket.getaddrinfo(url.hostname, url.port, type=socket.SOCK_STREAM)[0][4][:2]
    request = f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode()
    due, lock = queue.SimpleQueue(), threading.Lock()
    callers = [threading.Thread(target=work, args=(due, address, request, options.timeout, lock))
               for _ in range(options.callers)]
    for caller in callers:
        caller.start()
    start_s = time.monotonic() + 0.1
    for i in range(int(options.rate * options.seconds)):
        due_s = start_s + i / options.rate
        time.sleep(max(0.0, due_s - time.monotonic()))
        due.put((due_s, round((time.monotonic() - due_s) * 1e3, 3)))
    for _ in callers:
        due.put(None)
    for caller in callers:
        caller.join()


if __name__ == "__main__":
    main()
