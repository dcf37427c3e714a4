"""Bytes that both ends of a connection know: what arrives is compared with what must arrive, without hashing."""

import random

CHUNK = 65536
POOL_BYTES = 4 << 20


class Pattern:
    """An endless sequence of bytes, the same for the same seed."""

    def __init__(self, seed):
        self._pool = memoryview(random.Random(seed).randbytes(POOL_BYTES))

    def chunk(self, index):
        """The index-th CHUNK bytes: windows of the pool that move, so that a lost or repeated chunk shows."""
        start = index * 7919 % (POOL_BYTES - CHUNK)
        return self._pool[start:start + CHUNK]


def send(sock, seed, n_bytes):
    """Sends the first n_bytes of the sequence."""
    pattern, index = Pattern(seed), 0
    while n_bytes > 0:
        part = pattern.chunk(index)[:n_bytes]
        sock.sendall(part)
        n_bytes -= len(part)
        index += 1


def receive(sock, seed, n_bytes):
    """Receives n_bytes; ValueError with the place of the first byte that is not the sequence's, or of an early end."""
    pattern, index, place = Pattern(seed), 0, 0
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
        if view[:want] != pattern.chunk(index)[:want]:
            raise ValueError(f"bytes {place} to {place + want} are not what was sent")
        place += want
        index += 1
