#!/usr/bin/env python3
"""A TCP server for scenarios: each connection says in its first line what it wants.

usage: tcp_server.py PORT

  duplex SEED N   sends N bytes of the sequence of SEED+1 while it receives N bytes of that of SEED; then "ok\\n"
  source SEED N   sends N bytes
  echo            sends back what it receives, as it comes, until the client's end; then ends too
  count           receives until the client's end, then says how many bytes came
  first_end       says "hello\\n", ends its own direction, receives until the client's end, and prints the count
  who             says the client's address and the cluster of the server (from ISTHMUS_CLUSTER), and ends
"""

import os
import socket
import sys
import threading

import tcp_pattern


def read_line(sock):
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        if not byte:
            raise ValueError("the connection ended before its first line")
        line += byte
    return line.decode().split()


def duplex(sock, seed, n_bytes):
    seed, n_bytes = int(seed), int(n_bytes)
    sender = threading.Thread(target=tcp_pattern.send, args=(sock, seed + 1, n_bytes))
    sender.start()
    tcp_pattern.receive(sock, seed, n_bytes)
    sender.join()
    sock.sendall(b"ok\n")


def source(sock, seed, n_bytes):
    tcp_pattern.send(sock, int(seed), int(n_bytes))


def echo(sock):
    while data := sock.recv(tcp_pattern.CHUNK):
        sock.sendall(data)


def drained(sock):
    total = 0
    while data := sock.recv(tcp_pattern.CHUNK):
        total += len(data)
    return total


def count(sock):
    sock.sendall(f"{drained(sock)}\n".encode())


def first_end(sock):
    sock.sendall(b"hello\n")
    sock.shutdown(socket.SHUT_WR)
    print(f"first_end {drained(sock)}", flush=True)


def who(sock):
    sock.sendall(f"{sock.getpeername()[0]} {os.environ.get('ISTHMUS_CLUSTER', '')}\n".encode())


WANTS = {f.__name__: f for f in (duplex, source, echo, count, first_end, who)}


def serve(sock):
    with sock:
        try:
            want, *arguments = read_line(sock)
            WANTS[want](sock, *arguments)
            sock.shutdown(socket.SHUT_WR)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"failed: {error!r}", flush=True)


def main():
    threading.stack_size(256 * 1024)
    listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
