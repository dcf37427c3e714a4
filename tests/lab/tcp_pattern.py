"""Bytes that both ends of a connection know: what arrives is compared with what must arrive, without hashing."""

import random

CHUNK = 65536
POOL_BYTES = 4 << 20


POOL = memoryview(random.Random(20).randbytes(POOL_BYTES))


def chunk(seed, index):
    """The index-th CHUNK bytes of the sequence of a seed: windows of the pool that move, so that a lost or repeated
    chunk shows, and so does one of another seed."""
    start = (seed * 104729 + index * 7919) % (POOL_BYTES - CHUNK)
    return POOL[start:start + CHUNK]


def send(sock, seed, n_bytes):
    """Sends the first n_bytes of the sequence."""
    index = 0
    while n_bytes > 0:
        part = chunk(seed, index)[:n_bytes]
        sock.sendall(part)
        n_bytes -= len(part)
        index += 1


def receive(sock, seed, n_bytes):
    """Receives n_bytes; ValueError with the place of the first byte that is not the sequence's, or of an early end."""
    index, place = 0, 0
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while place < n_bytes:
        want = min(CHUNK, n_bytes - place)
        have = 0
        while have < want:
            got = sock.recv_into(view[have:want])
            if got == 0:
                raise ValueError(f"the connection ended after {place + have} of {n_bytes} bytes")
            have += got
        if view[:want] != chunk(seed, index)[:want]:
            raise ValueError(f"bytes {place} to {place + want} are not what was sent")
        place += want
        index += 1
