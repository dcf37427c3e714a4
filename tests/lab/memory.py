"""What a process holds in its memory: private keys that it should have wiped."""

import base64
import re

CHUNK = 1 << 24
SPAN_MAX = 1 << 32  # larger ones are the shadow of a sanitizer, which holds no bytes of the program's


def needles(scalar):
    """How a private key of 32 bytes may lie in memory: as it is written (DER), as OpenSSL's numbers are, as PEM."""
    forms = [scalar, scalar[::-1]]
    for skipped in range(3):  # base64 of it at each of the three alignments, without what its neighbours decide
        text = base64.b64encode(bytes(skipped) + scalar)
        forms.append(text[4 if skipped else 0:][:40 - 4])
    return forms


def _writable(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as file:
        for line in file:
            span, access = line.split(None, 2)[:2]
            start, end = (int(number, 16) for number in span.split("-"))
            if access.startswith("rw") and end - start <= SPAN_MAX:
                yield start, end


def find(pid, scalars):
    """Which of the keys (name -> scalar) are in the writable memory of a process: name -> number of places."""
    names = {form: name for name, scalar in scalars.items() for form in needles(scalar)}
    pattern = re.compile(b"|".join(re.escape(form) for form in names))
    found = {}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end in _writable(pid):
            for at in range(start, end, CHUNK):
                try:
                    memory.seek(at)
                    part = memory.read(min(CHUNK + 64, end - at))
                except (OSError, ValueError):
                    break  # a guard page, or it is gone
                for match in pattern.finditer(part):
                    if match.start() < CHUNK:
                        name = names[match.group()]
                        found[name] = found.get(name, 0) + 1
    return found
