"""Leaves, intermediates and the root of a cluster turn over while a thousand connections are open and new ones arrive. The
root as docs/identity.md says: first beside the old one, then signing, then alone. What rested on the old root is cut when that one goes, and not before.
And a certificate that is revoked takes its live connection with it.

ISTHMUS_CONNECTIONS is how many are held open (1000)."""

import datetime
import os
import sys
import threading
import time

import lab
from process import wait_until
from town import Story, TILL_POD_PORT, TILL_PORT, await_address, served_by

sys.path.insert(0, os.path.join(lab.ROOT, "tests", "interop"))
try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID
    import h2.errors
    from authority import Authority, client_context, key_pem
    from hbone_peer import Peer, dial
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(lab.EXIT_SKIPPED)

TTL_S = 20
TUNNEL_PORT = 15008
CONNECTIONS = int(os.environ.get("ISTHMUS_CONNECTIONS", "1000"))
BUYER = "spiffe://west.example/ns/shop/sa/buyer"


def serial_of(path):
    """As logs have it: whole bytes in capitals."""
    with open(path, "rb") as file:
        data = file.read()
    serial = x509.load_pem_x509_certificate(data[data.index(b"-----BEGIN CERT"):]).serial_number
    return serial.to_bytes((serial.bit_length() + 7) // 8, "big").hex().upper()


class Load:
    """New connections, one after another from two threads, and what became of each."""

    def __init__(self, story):
        self.story, self.outcomes, self.is_over = story, [], threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.is_over.is_set():
            try:
                self.outcomes.append(served_by(self.story.client, self.story.vip))
            except (OSError, IndexError) as error:
                self.outcomes.append(f"{time.strftime('%H:%M:%S')} {error!r}")
            time.sleep(0.02)

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        return self.outcomes


def signing_usage():
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
                         key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                         decipher_only=False)


class RootRotation(Story):
    n_nodes = 1

    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        cls.till = town.add_till(town.east.nodes[0])
        town.add_service(town.east)
        cls.crls = os.path.join(town.west.control.folder, "west.crl")
        cls.far = town.east.nodes[0]
        for cluster in (town.west, town.east):
            cluster.control.config["workloadCertificateTTL"] = f"{TTL_S}s"
        town.lab.start_controls()
        cls.take_back([])
        town.west.control.stop()
        town.west.control.config["trustBundles"] = [{"trustDomain": "west.example", "crls": cls.crls}]
        town.west.control.restart()
        town.lab.start_proxies()
        cls.vip = await_address(cls.client)
        town.await_endpoints(town.west.nodes[0], 1)

    # ---- the tools ----

    @classmethod
    def take_back(cls, serials):
        """Writes the revocation list of west's CA. Only west's control reads it; it goes from there to east's control, and
        from both to the nodes."""
        authority = Authority.of(cls.town.west)
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
                   .last_update(now).next_update(now + datetime.timedelta(hours=1)))
        for serial in serials:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(
                int(serial, 16)).revocation_date(now).build())
        with open(cls.crls + ".new", "wb") as file:
            file.write(builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        os.rename(cls.crls + ".new", cls.crls)

    def ca_file(self, name):
        return os.path.join(os.path.dirname(self.town.west.root_path), name)

    def give_intermediate(self, authority):
        """The root's key is taken away; an intermediate of its signs from now on."""
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(
            NameOID.COMMON_NAME, f"intermediate {time.monotonic_ns()}")])
        now = datetime.datetime.utcnow()
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(authority.certificate.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1)).not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(signing_usage(), critical=True).sign(authority.key, hashes.SHA256()))
        control = self.town.west.control
        control.stop()
        for file, data in (("intermediate.pem", certificate.public_bytes(serialization.Encoding.PEM)),
                           ("intermediate.key", key_pem(key))):
            with open(os.open(self.ca_file(file), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(data)
        control.restart()

    def give_control(self, root_pem, key=None):
        """Puts roots and perhaps another key into the CA's folder, and starts control anew."""
        control = self.town.west.control
        control.stop()
        for name in ("intermediate.pem", "intermediate.key"):
            if os.path.exists(self.ca_file(name)) and key is not None:
                os.remove(self.ca_file(name))
        if key is not None:
            with open(os.open(self.ca_file("root.key"), os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                file.write(key_pem(key))
        with open(self.ca_file("root.pem"), "wb") as file:
            file.write(root_pem)
        control.restart()

    def roots_known(self, node):
        bundles = {b["trust_domain"]: b["roots"] for b in node.proxy.ctl("certs")["bundles"]}
        return bundles["west.example"]

    def await_roots(self, n):
        for node in (*self.town.west.nodes, *self.town.east.nodes):
            wait_until(f"{node.name} to know {n} roots of west", lambda node=node: self.roots_known(node) == n)

    def buyer(self):
        return next(c for c in self.town.west.nodes[0].proxy.ctl("certs")["certificates"] if c["identity"] == BUYER)

    def await_renewal(self, before):
        wait_until("the buyer's certificate to be renewed", lambda: self.buyer()["serial"] != before, 60)

    def open_echo(self):
        sock = self.client.connect(self.vip, TILL_PORT, 15)
        sock.sendall(b"echo\n")
        return sock

    def exchange(self, socks, word):
        for sock in socks:
            sock.sendall(word)
        for i, sock in enumerate(socks):
            got = b""
            while len(got) < len(word):
                part = sock.recv(len(word) - len(got))
                self.assertTrue(part, f"connection {i} ended")
                got += part
            self.assertEqual(got, word)

    def cuts(self, node, why):
        return [r for r in node.proxy.log() if r.get("message") == "a tunnel was cut" and r.get("why") == why]

    def await_end(self, sock):
        sock.settimeout(30)
        try:
            self.assertEqual(sock.recv(1), b"")
        except ConnectionError:
            pass
        sock.close()

    def open_foreign(self, serials):
        """A stream of a client that shares none of our code; its certificate joins the serials."""
        credentials = Authority.of(self.town.west).issue(BUYER)
        serials.add(serial_of(credentials))
        peer = Peer(dial(self.town.west.nodes[0], self.till.v4,
                         client_context(credentials, [self.town.east.root_path])), True)
        self.addCleanup(peer.close)
        stream = peer.connect(f"{self.till.v4}:{TILL_POD_PORT}")
        self.assertEqual(stream.status, "200")
        stream.send(b"echo\nfine")
        peer.wait("the echo", lambda: stream.data == b"fine")
        return peer, stream

    def await_farewell(self, peer, stream):
        """It learns that it was no crash, which stream went with it, and why; then the end, and it is a clean one."""
        peer.wait("GOAWAY and the reset", lambda: peer.goaway and stream.reset is not None, 30)
        self.assertEqual(peer.goaway.error_code, h2.errors.ErrorCodes.INADEQUATE_SECURITY)
        self.assertEqual(peer.goaway.last_stream_id, stream.number)
        self.assertIn(b"revoked", peer.goaway.additional_data)
        self.assertEqual(stream.reset, h2.errors.ErrorCodes.INADEQUATE_SECURITY)
        self.assertEqual(stream.data, b"fine")
        wait_until("the end", lambda: peer.turn() or not peer.is_alive, 30, 0)
        self.assertIsInstance(peer.error, EOFError)

    # ---- the story ----

    def test_a_revoked_certificate_takes_its_live_connection_with_it(self):
        serials = {self.buyer()["serial"]}
        sock = self.open_echo()
        self.exchange([sock], b"fine")
        serials.add(self.buyer()["serial"])
        foreign, stream = self.open_foreign(serials)
        started_s = time.monotonic()
        self.take_back(serials)
        cut = wait_until("the session to be cut", lambda: self.cuts(self.far, "tls_revoked"))[0]
        print(f"cut {time.monotonic() - started_s:.1f} s after the list was written", flush=True)
        self.assertIn(cut["serial"], serials)
        self.assertEqual(cut["peer"], BUYER)
        self.await_end(sock)
        self.await_farewell(foreign, stream)
        wait_until("a renewed certificate to be let in", self.is_served)

    def is_served(self):
        try:
            return served_by(self.client, self.vip, 5) == "east"
        except (OSError, IndexError):
            return False

    def knock(self, credentials):
        """A handshake from a host that nobody captures, as who these credentials say."""
        try:
            with self.town.west.nodes[0].connect(self.till.v4, TUNNEL_PORT, 5) as tcp:
                context = client_context(credentials, [self.town.east.root_path])
                with context.wrap_socket(tcp) as tls:
                    tls.recv(1)
        except OSError:
            pass

    def refusals(self, why):
        return [r for r in self.far.proxy.log() if r.get("message") == "connection failed" and r.get("why") == why]

    def test_b_with_cut_on_removal_off_it_lives_on_and_no_new_one_is_let_in(self):
        self.take_back([])
        self.far.proxy.config["trust"] = {"cutOnRemoval": False}
        self.far.proxy.restart()
        try:
            wait_until("the client to be served", self.is_served)
            other = Authority.of(self.town.west).issue(BUYER)
            serials = {self.buyer()["serial"]}
            with self.open_echo() as sock:
                self.exchange([sock], b"fine")
                serials.add(self.buyer()["serial"])
                self.take_back(serials | {serial_of(other)})
                wait_until("a new one to be refused", lambda: self.knock(other) or self.refusals("tls_revoked"), 20, 0.2)
                self.exchange([sock], b"and still fine")
            self.assertEqual(self.far.proxy.metrics()["isthmus_tunnels_cut_total"], 0)
        finally:
            del self.far.proxy.config["trust"]
            self.take_back([])
            self.far.proxy.restart()
        wait_until("the client to be served again", self.is_served)

    def test_the_root_is_replaced_and_no_connection_fails_until_the_old_one_is_gone(self):
        with open(self.town.west.root_path, "rb") as file:
            old = file.read()
        successor = Authority.stranger(self.town.west.folder, "west.example")
        new = successor.certificate.public_bytes(serialization.Encoding.PEM)
        socks = [self.open_echo() for _ in range(CONNECTIONS)]
        self.exchange(socks, b"before")
        load = Load(self)
        try:
            serial = self.buyer()["serial"]
            for word in (b"an intermediate signs", b"and another"):
                self.give_intermediate(Authority.of(self.town.west))
                self.await_renewal(serial)
                serial = self.buyer()["serial"]
                self.exchange(socks, word)
            self.give_control(old + new)
            self.await_roots(2)
            self.exchange(socks, b"both are known")
            self.give_control(old + new, successor.key)
            for _ in range(2):  # the leaf and, half a life later, every tunnel of an older one
                self.await_renewal(serial)
                serial = self.buyer()["serial"]
            self.exchange(socks, b"the new one signs")
        finally:
            outcomes = load.end()
        print(f"{len(socks)} connections were open, {len(outcomes)} arrived", flush=True)
        self.assertGreater(len(outcomes), 100)
        self.assertEqual([what for what in outcomes if what != "east"], [])

        self.assertEqual(self.cuts(self.far, "trust_removed"), [])
        self.give_control(new)
        self.await_roots(1)
        wait_until("the sessions of the old root to be cut", lambda: self.cuts(self.far, "trust_removed"))
        self.assertEqual(served_by(self.client, self.vip), "east")
        for sock in socks:
            self.await_end(sock)


if __name__ == "__main__":
    lab.main()
