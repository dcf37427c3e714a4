"""Certificates that live for seconds are renewed again and again under traffic."""

import base64
import glob
import json
import os
import signal
import threading
import time

import lab
import memory
from process import wait_until
from town import Story, TILL_PORT, await_address, served_by

TTL_S = 20
ROTATIONS = 3
MOST_S = 120


def scalar_of(path):
    """The private key out of a file that holds it as PKCS#8, as OpenSSL writes a P-256 key."""
    with open(path, encoding="ascii") as file:
        text = file.read().split("PRIVATE KEY-----")[1].rpartition("-----")[0]
    der = base64.b64decode("".join(text.split()))
    return der.split(b"\x02\x01\x01\x04\x20")[1][:32]


class Rotations(Story):
    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        town.add_till(town.east.nodes[0])
        town.add_service(town.east)
        for cluster in (town.west, town.east):
            cluster.control.config["workloadCertificateTTL"] = f"{TTL_S}s"
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(town.west.nodes[0], 1)

    def ends(self):
        """When the client's and the server's certificates end, as their nodes say."""
        return [certificate["not_after"]
                for node in (self.town.west.nodes[0], self.town.east.nodes[0])
                for certificate in node.proxy.ctl("certs")["certificates"] if "/ns/shop/" in certificate["identity"]]

    def call(self, outcomes):
        try:
            outcomes.append(served_by(self.client, self.vip))
        except (OSError, IndexError) as error:
            outcomes.append(f"{time.strftime('%H:%M:%S')} {error!r}")

    def test_no_connection_fails_and_an_old_one_goes_on_over_three_rotations(self):
        stop, outcomes = threading.Event(), []

        def load():
            while not stop.is_set():
                self.call(outcomes)
                time.sleep(0.02)

        with self.client.connect(self.vip, TILL_PORT, 15) as sock:
            sock.sendall(b"echo\nfirst")
            self.assertEqual(sock.recv(16), b"first")
            threads = [threading.Thread(target=load) for _ in range(2)]
            for thread in threads:
                thread.start()
            n_seen, last, deadline_s = 0, self.ends(), time.monotonic() + MOST_S
            while n_seen < ROTATIONS and time.monotonic() < deadline_s:
                time.sleep(0.5)
                now = self.ends()
                # Both have to have changed: the client's and the server's are renewed each at its own time.
                if len(now) == len(last) == 2 and all(new != old for new, old in zip(now, last)):
                    n_seen, last = n_seen + 1, now
                sock.sendall(b"still")
                self.assertEqual(sock.recv(16), b"still")
            stop.set()
            for thread in threads:
                thread.join()
        print(f"{n_seen} rotations, {len(outcomes)} connections", flush=True)
        self.assertEqual(n_seen, ROTATIONS)
        self.assertEqual([what for what in outcomes if what != "east"], [])

    def test_keys_are_in_no_log_no_answer_and_no_core(self):
        node = self.town.west.nodes[0]
        said = json.dumps(node.proxy.ctl("certs"))
        for folder, _, names in os.walk(self.town.west.folder):
            for name in (n for n in names if n.endswith((".out", ".err", ".log"))):
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                    said += file.read()
        self.assertIn("/ns/shop/", said)
        self.assertNotIn("PRIVATE KEY", said)
        keys = glob.glob(os.path.join(self.town.west.folder, "**", "svids", "*"), recursive=True)
        self.assertTrue(keys)
        type(self).first_keys = {path: scalar_of(path) for path in keys}
        for path in keys:
            with open(path, encoding="utf-8") as file:
                lines = file.read().split("PRIVATE KEY-----")[1].splitlines()[1:-1]
            for line in lines:
                self.assertNotIn(line, said)
        for process in ("proxy", "control"):
            pid = node.proxy.process.pid if process == "proxy" else self.town.west.control.process.pid
            with open(f"/proc/{pid}/limits", encoding="utf-8") as file:
                core = [line for line in file if line.startswith("Max core file size")]
            self.assertEqual(core[0].split()[4:6], ["0", "0"], process)


    def test_z_no_key_that_was_replaced_is_left_in_memory(self):
        kept = glob.glob(os.path.join(self.town.west.folder, "**", "svids", "*"), recursive=True)
        before = {("before", path): scalar for path, scalar in self.first_keys.items() if scalar != scalar_of(path)}
        self.assertTrue(before, "keys were replaced meanwhile")
        found = {}

        def is_clean():
            found.clear()
            for node in self.town.west.nodes:
                node.proxy.process.signal(signal.SIGSTOP)  # else a slow search outlasts the keys in use
                try:
                    now = {("now", path): scalar_of(path) for path in kept}
                    found.update(memory.find(node.proxy.process.pid, {**before, **now}))
                finally:
                    node.proxy.process.signal(signal.SIGCONT)
            return found and not any(name in before for name in found)

        try:
            wait_until("the keys to be wiped, and one in use to be found: the search works", is_clean)
        finally:
            print(f"{len(before)} keys were replaced; found: {found}", flush=True)


if __name__ == "__main__":
    lab.main()
