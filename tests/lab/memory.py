"""What a process holds in its memory: private keys that it should have wiped."""

import array
import base64
import re

PAGE = 4096
HELD = 3 << 62  # in an entry of pagemap: the page is in memory, or swapped out (Documentation/admin-guide/mm/pagemap.rst)
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


def _held(pid):
    """The spans of the writable memory that hold bytes. What was reserved and never written to is most of it under a
    sanitizer, and reading that takes longer than a certificate of a test lives."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for start, end in _writable(pid):
            pagemap.seek(start // PAGE * 8)
            entries = array.array("Q", pagemap.read((end - start) // PAGE * 8))
            first = None
            for number, entry in enumerate(entries):
                if entry & HELD:
                    first = number if first is None else first
                elif first is not None:
                    yield start + first * PAGE, start + number * PAGE
                    first = None
            if first is not None:
                yield start + first * PAGE, start + len(entries) * PAGE


def find(pid, scalars):
    """Which of the keys (name -> scalar) are in the writable memory of a process: name -> number of places."""
    names = {form: name for name, scalar in scalars.items() for form in needles(scalar)}
    # Of two hundred forms one begins with nearly any byte, zero among them: what they have in their first eight is
    # looked at before each is tried.
    lead = b"".join(b"[" + re.escape(bytes({form[at] for form in names})) + b"]" for at in range(8))
    pattern = re.compile(b"(?=" + lead + b")(?:" + b"|".join(re.escape(form) for form in names) + b")")
    found = {}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end in _held(pid):
            for at in range(start, end, CHUNK):
                try:
                    memory.seek(at)
                    part = memory.read(min(CHUNK + 64, end - at))
                except (OSError, ValueError):
                    break  # it is gone
                for match in pattern.finditer(part):
                    if match.start() < CHUNK:
                        name = names[match.group()]
                        found[name] = found.get(name, 0) + 1
    return found
