#!/usr/bin/env python3
"""The corpus of HTTP/2 sequences beside nginx and HAProxy.

usage: test_http2_differential.py HTTP_PORT PAGE [--table]

Each row of test_http2_corpus.py goes to our server, and to nginx (listen ... http2) and HAProxy (proto h2) in front of a backend
that answers everything but /hold. A row that one of the others serves, refuses or leaves
without a word where ours does something else has a line in the page that says why ours; how a refusal is put (a status, a reset,
a GOAWAY, a close) is taste. A line must say of ours what is so, and be of rows that there are. --table prints the lines.
"""

import asyncio
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import threading

import test_http2_corpus as corpus
from test_http1_differential import SKIPPED, read_message, start_haproxy, start_nginx

SILENCE_S = 1.5
LONG_SILENCE_S = 5  # of a row that came out otherwise than the page says: the machine may be busy
AT_ONCE = 48
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Backend(threading.Thread):
    """HTTP/1.1, on its own thread: the rows are asked from threads, too."""

    def __init__(self):
        super().__init__(daemon=True)
        self.loop = asyncio.new_event_loop()
        self.is_open = threading.Event()
        self.start()
        self.is_open.wait()

    def run(self):
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self.is_open.set()
        self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    async def serve(self, reader, writer):
        try:
            while True:
                first = await reader.readuntil(b"\r\n")
                await read_message(reader)
                if b" /hold" in first:
                    await reader.read()
                    break
                writer.write(OK)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join()


def until_it_serves(port):
    request = corpus.GREETING + corpus.Row("", 0, "/is-open-%d").get()
    for _ in range(800):
        try:
            if corpus.ask(port, [request])[0] == "status 200":
                return
        except OSError:
            pass
        threading.Event().wait(0.05)
    raise SystemExit(f"nothing serves on {port}")


# ---- judging

def kind_of(verdict):
    """What comes of it: an answer, a refusal, nothing."""
    if verdict == "silence":
        return "silent"
    return "served" if verdict.startswith("status 2") else "refused"


def judge_rows(port, rows):
    def ask(row):
        return corpus.ask(port, row[3], row[1] == corpus.CALM)[0]

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, rows))


def short(verdict):
    return verdict.replace("_ERROR", "").replace("ENHANCE_YOUR_CALM", "CALM")


def read_page(path):
    """{a row's name: what the page says of ours}."""
    text = open(path).read().split("# HTTP/2, beside others", 1)[1].split("What holds beyond", 1)[0]
    said = {}
    for line in text.split("\n"):
        cells = [cell.strip() for cell in line.replace("\\_", "_").strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 5 and cells[0] != "sequence":
            said.update((name.strip(), short(cells[1])) for name in cells[0].split("; "))
    return said


def is_other(row, nginx, haproxy):
    return any(kind_of(theirs) != kind_of(row[1]) for theirs in (nginx, haproxy))


def ask_again(port, row, verdict):
    if kind_of(verdict) == kind_of(row[1]):
        return verdict
    corpus.PATIENCE_S = LONG_SILENCE_S
    return judge_rows(port, [row])[0]


def judge(rows, columns, ports, said, prints):
    faults, n_other = [], 0
    for row, ours, nginx, haproxy in zip(rows, *columns):
        name = row[0].strip()
        if kind_of(ours) != kind_of(row[1]):  # the very word is test_http2_corpus.py's matter
            faults.append(f"{name}: ours is {ours}, the corpus says {row[1]}")
        if name in said and said[name] != short(row[1]):
            faults.append(f"{name}: ours is {short(row[1])}, the page says {said[name]}")
        if name not in said and is_other(row, nginx, haproxy):
            nginx, haproxy = (ask_again(port, row, verdict) for port, verdict in zip(ports[1:], (nginx, haproxy)))
        if not is_other(row, nginx, haproxy):
            continue
        n_other += 1
        if prints:
            print(f"| {name} | {short(ours)} | {short(nginx)} | {short(haproxy)} |")
        elif name not in said:
            faults.append(f"{name}: ours is {ours}, nginx's {nginx}, HAProxy's {haproxy}; the page has no line for it")
    names = {row[0].strip() for row in rows}
    faults += [f"the page has a line for \"{name}\", which is no row" for name in said if name not in names]
    print(f"{len(rows)} rows, of {n_other} nginx or HAProxy judge otherwise, {len(faults)} faults")
    for fault in faults:
        print("FAULT", fault)
    return 1 if faults else 0


def run(http_port, page, prints):
    rows, said = corpus.rows(), read_page(page)
    backend = Backend()
    ours, port, _ = corpus.serve(http_port)
    children, ports = [ours], [port]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        try:
            for start, protocol in ((start_nginx, " http2"), (start_haproxy, " proto h2")):
                port, child = start(folder, backend.port, protocol)
                ports.append(port)
                children.append(child)
                until_it_serves(port)
            columns = [corpus.judge_all(ports[0], rows)]
            corpus.PATIENCE_S = SILENCE_S
            columns += [judge_rows(port, rows) for port in ports[1:]]
            return judge(rows, columns, ports, said, prints)
        finally:
            for child in children:
                child.terminate()
                child.wait()
            backend.stop()


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    missing = [peer for peer in ("nginx", "haproxy") if not shutil.which(peer)]
    if missing:
        print(f"skipped: {' and '.join(missing)} not installed (./dev deps)")
        return SKIPPED
    return run(sys.argv[1], sys.argv[2], "--table" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
