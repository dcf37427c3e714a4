"""Ports for programs that have to be told theirs."""

import random
import socket

_claims = []  # what is bound there says to every other test that the port is given


def free_port():
    """One of those that the system gives only to who asks for it by its number, and that was given to no test that
    still runs: none that it gave back may be taken by another before its program has it."""
    while True:
        port = random.randrange(20000, 32000)
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as sock:
            try:
                claim.bind("\0isthmus-test-port-%d" % port)
                sock.bind(("", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return port
