"""Ports for programs that have to be told theirs."""

import random
import socket


def free_port():
    """One of those that the system gives only to who asks for it by its number: none that it gave back may be taken by
    another test before its program has it."""
    while True:
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", random.randrange(20000, 32000)))
                return sock.getsockname()[1]
            except OSError:
                continue
