#!/usr/bin/python3
"""The corpus of HTTP/1.1 requests beside nginx and HAProxy.

usage: test_http1_differential.py HTTP1_PORT CORPUS PAGE [--table]

Each row goes raw to nginx and HAProxy as proxies in front of a backend, and to our server, which answers what it has read
whole; a verdict is how many requests were answered so, and the status of what was refused ("silent": neither answered nor
closed; "closed": without a word). Ours has to judge as the corpus says. Where one of the others judges otherwise, the page has a line for the row that says why ours. --table prints
those lines, for the page.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile

from ports import free_port

IDLE_S = 0.7
LONG_IDLE_S = 5  # of a row that came out otherwise than was said: the machine may be busy
AT_ONCE = 24
SKIPPED = 77


def unescape(text):
    text = re.sub(r"\\\*(\d+)\{([^}]*)\}", lambda m: m.group(2) * int(m.group(1)), text)
    plain = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
    return re.sub(r"\\(x..|.)", lambda m: plain.get(m.group(1)) or chr(int(m.group(1)[1:], 16)), text).encode("latin-1")


def read_corpus(path):
    lines = [line for line in open(path).read().split("\n") if line and not line.startswith("#")]
    return [(lines[i], unescape(lines[i + 1]), lines[i + 2]) for i in range(0, len(lines), 3)]


def expected(verdict):
    match = re.fullmatch(r"(?:serve (\d+))? ?(?:(?:refuse|cut) (\d+) .*)?", verdict)
    return int(match.group(1) or 0), match.group(2) or "-"


# ---- the backend: it answers what is well formed enough to be answered, and nothing else

async def read_message(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(":", 1) for line in lines[1:] if ":" in line)
    if "chunked" in fields.get("transfer-encoding", ""):
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
    elif "content-length" in fields:
        await reader.readexactly(int(fields["content-length"]))


async def serve_backend(reader, writer):
    try:
        while True:
            await read_message(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Backend: 1\r\n\r\nok")
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError, ConnectionError, ValueError):
        pass
    finally:
        writer.close()


# ---- the three

def start_nginx(folder, backend, protocol=""):
    port = free_port()
    with open(f"{folder}/nginx.conf", "w") as conf:
        conf.write(f"""
daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 1000; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port}{protocol};
    location / {{ proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}""")
    return port, subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)


def start_haproxy(folder, backend, protocol=""):
    port = free_port()
    with open(f"{folder}/haproxy.cfg", "w") as conf:
        conf.write(f"""
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend f
  bind 127.0.0.1:{port}{protocol}
  default_backend b
backend b
  server s 127.0.0.1:{backend}
""")
    return port, subprocess.Popen(["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"], stderr=subprocess.DEVNULL)


def start_ours(program):
    child = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
    return int(child.stdout.readline()), child


async def until_open(port):
    for _ in range(800):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


# ---- asking

async def ask(port, message, idle_s=IDLE_S):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer, is_closed = b"", False
    try:
        writer.write(message)
        while True:
            part = await asyncio.wait_for(reader.read(65536), idle_s)
            if not part:
                is_closed = True
                break
            answer += part
    except asyncio.TimeoutError:
        pass
    except ConnectionError:
        is_closed = True
    writer.close()
    return verdict_of(answer, is_closed)


def verdict_of(answer, is_closed):
    n_served = answer.lower().count(b"\r\nx-backend: 1\r\n")
    statuses = [int(s) for s in re.findall(rb"HTTP/1\.[01] (\d\d\d)", answer)]
    refused = [status for status in statuses if status >= 300]
    if refused:
        return n_served, str(refused[0])
    if n_served:
        return n_served, "-"
    return 0, "closed" if is_closed else "silent"


def words(verdict):
    n_served, refused = verdict
    served = f"serves {n_served}" if n_served else ""
    return " then ".join(part for part in (served, refused if refused != "-" else "") if part)


async def ask_all(rows, ports):
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(message):
        async with gate:
            return await asyncio.gather(*(ask(port, message) for port in ports))

    return await asyncio.gather(*(one(message) for _, message, _ in rows))


def is_other(ours, theirs):
    """Another judgement: of what reaches the backend. How a refusal is put (its status, or a close) is taste."""
    return ours[0] != theirs[0] or (ours[1] == "-") != (theirs[1] == "-")


def is_as_said(row, verdicts, text):
    name, _, wanted = row
    ours, *theirs = verdicts
    return ours == expected(wanted) and (f"| {name} |" in text or not any(is_other(ours, their) for their in theirs))


async def run(program, corpus, page, prints):
    rows = read_corpus(corpus)
    with open(page) as file:
        text = file.read()
    backend = await asyncio.start_server(serve_backend, "127.0.0.1", 0)
    backend_port = backend.sockets[0].getsockname()[1]
    children = []
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        try:
            ports = []
            for port, child in (start_ours(program), start_nginx(folder, backend_port),
                                start_haproxy(folder, backend_port)):
                ports.append(port)
                children.append(child)
                await until_open(port)
            verdicts = await ask_all(rows, ports)
            for i, row in enumerate(rows):
                if not is_as_said(row, verdicts[i], text):
                    verdicts[i] = [await ask(port, row[1], LONG_IDLE_S) for port in ports]
        finally:
            for child in children:
                child.terminate()
                child.wait()
    return judge(rows, verdicts, page, text, prints)


def judge(rows, verdicts, page, text, prints):
    n_bad = n_other = 0
    for (name, _, wanted), (ours, nginx, haproxy) in zip(rows, verdicts):
        if ours != expected(wanted):
            print(f"{name}: ours is {words(ours)}, the corpus says {wanted}")
            n_bad += 1
        if not is_other(ours, nginx) and not is_other(ours, haproxy):
            continue
        n_other += 1
        if prints:
            print(f"| {name} | {words(ours)} | {words(nginx)} | {words(haproxy)} |")
        elif f"| {name} |" not in text:
            print(f"{name}: ours is {words(ours)}, nginx's {words(nginx)}, HAProxy's {words(haproxy)}; {page} has no line for it")
            n_bad += 1
    print(f"{len(rows)} rows, of {n_other} nginx or HAProxy judge otherwise, {n_bad} faults")
    return 1 if n_bad else 0


def main():
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    if not shutil.which("nginx") or not shutil.which("haproxy"):
        return SKIPPED
    return asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], "--table" in sys.argv))


if __name__ == "__main__":
    sys.exit(main())
