#!/usr/bin/env python3
"""`isthmus control` at bundle endpoints of SPIFFE Federation, served by Python's http.server over Python's ssl.

Each test is named after the item of docs/conformance-spiffe.md that it holds. No namespaces: everything is on loopback.
Exits 77 (skipped) where cryptography or grpcio are missing.
"""
import base64
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

SKIPPED = 77
DOMAIN = "partner.example"
ENDPOINT = "spiffe://partner.example/spire/server"

try:
    from cryptography.hazmat.primitives import serialization
    from ports import free_port
    from spiffe_server import Authority, key_pem
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(SKIPPED)


def jwks(*authorities, sequence=None, hint=None, raw=None):
    if raw is not None:
        return raw
    keys = [{"kty": "EC", "use": "x509-svid", "x5c": [base64.b64encode(a.der()).decode()]} for a in authorities]
    document = {"keys": keys}
    if sequence is not None:
        document["spiffe_sequence"] = sequence
    if hint is not None:
        document["spiffe_refresh_hint"] = hint
    return json.dumps(document).encode()


class Endpoint:
    """One HTTPS server; answer is (status, headers, body), and every request is counted."""

    def __init__(self, folder, cert, key, name="e", chain=b""):
        self.answer = (200, {}, b"")
        self.paths = []
        self.peer_certs = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.paths.append(self.path)
                outer.peer_certs.append(self.connection.getpeercert())
                status, headers, body = outer.answer(self.path) if callable(outer.answer) else outer.answer
                self.send_response(status)
                for header, value in headers.items():
                    self.send_header(header, value)
                if "Transfer-Encoding" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        self.folder, self.name = folder, name
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.show(cert, key, chain)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def show(self, cert, key, chain=b""):
        """The certificate of the handshakes that come."""
        path = os.path.join(self.folder, self.name + ".pem")
        with open(path, "wb") as file:
            file.write(cert.public_bytes(serialization.Encoding.PEM) + chain + key_pem(key))
        self.context.load_cert_chain(path)

    def url(self, path="/bundle.json", host="127.0.0.1"):
        return "https://%s:%d%s" % (host, self.port, path)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Control:
    """The process with one entry of trustBundles."""

    def __init__(self, folder, bundle, web_roots=None):
        self.folder = folder
        self.admin, ready, metrics, listen = (free_port() for _ in range(4))
        manifests = os.path.join(folder, "manifests")
        for path in (manifests, os.path.join(folder, "tokens")):
            os.makedirs(path, exist_ok=True)
        config = {"apiVersion": "isthmus.io/v1alpha1", "kind": "ControlConfig", "cluster": "west",
                  "trustDomain": "west.example", "manifests": manifests, "stateDir": os.path.join(folder, "state"),
                  "listen": "127.0.0.1:%d" % listen, "clusterSetIPs": ["10.201.0.0/16"],
                  "tokensDir": os.path.join(folder, "tokens"), "trustBundles": [dict(bundle, trustDomain=DOMAIN)],
                  "ports": {"admin": self.admin, "ready": ready, "metrics": metrics}}
        self.config = os.path.join(folder, "control.yaml")
        with open(self.config, "w", encoding="utf-8") as file:
            json.dump(config, file)  # which is YAML, too
        self.log = open(os.path.join(folder, "control.log"), "ab")
        environment = dict(os.environ, SSL_CERT_FILE=web_roots or "/nonexistent", SSL_CERT_DIR="/nonexistent")
        self.process = subprocess.Popen([os.environ["ISTHMUS_BIN"], "control", "--config", self.config],
                                        stdout=self.log, stderr=self.log, env=environment)

    def status(self, of="trust_bundles"):
        with urllib.request.urlopen("http://127.0.0.1:%d/status" % self.admin, timeout=20) as answer:
            return json.load(answer)[of][0]

    def until(self, holds, what, timeout=60, of="trust_bundles"):
        end = time.monotonic() + timeout
        status = None
        while time.monotonic() < end:
            try:
                status = self.status(of)
                if holds(status):
                    return status
            except (OSError, KeyError, IndexError) as error:
                status = error
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            raise AssertionError("%s: %s\n%s" % (what, status, file.read()[-1500:]))

    def until_fetched(self, sequence, **more):
        return self.until(lambda s: s.get("sequence") == sequence and not s["last_error"],
                          "no bundle with sequence %d" % sequence, **more)

    def until_error(self, part, **more):
        return self.until(lambda s: part in s["last_error"], "no error with %r" % part, **more)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()


class Federation(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="isthmus-federation-")
        self.authority, self.next = Authority(DOMAIN), Authority(DOMAIN)
        self.web = Authority("web.example")
        self.controls, self.endpoints = [], []
        self.bootstrap = self.write("bootstrap.json", jwks(self.authority))
        self.web_roots = self.write("web.pem", self.web.pem())

    def tearDown(self):
        for control in self.controls:
            if control.process.poll() is None:
                control.stop()
        for endpoint in self.endpoints:
            endpoint.stop()
        self.dir.cleanup()

    def write(self, name, content):
        path = os.path.join(self.dir.name, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def endpoint(self, authority=None, spiffe_id=ENDPOINT, name="e", **names):
        cert, key = (authority or self.authority).issue(spiffe_id, **names)
        self.endpoints.append(Endpoint(self.dir.name, cert, key, name))
        return self.endpoints[-1]

    def control(self, **bundle):
        self.controls.append(Control(self.dir.name, bundle, self.web_roots))
        return self.controls[-1]

    def spiffe(self, endpoint, **more):
        return self.control(url=endpoint.url(), profile="https_spiffe", endpointID=ENDPOINT, file=self.bootstrap,
                            **more)

    def web_control(self, endpoint, host="127.0.0.1"):
        return self.control(url=endpoint.url(host=host), profile="https_web")

    def kept(self):
        folder = os.path.join(self.dir.name, "state", "federation")
        kept = []
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as file:
                kept.append(file.read())
        return kept

    # ---- https_spiffe ----

    def test_f1_f5_https_spiffe_takes_a_bundle_from_the_one_identity(self):
        endpoint = self.endpoint()
        endpoint.answer = (200, {"Content-Type": "application/json"}, jwks(self.authority, sequence=1, hint=60))
        status = self.spiffe(endpoint).until_fetched(1)
        self.assertEqual((status["profile"], status["refresh_s"]), ("https_spiffe", 60))

    def test_f5_another_identity_of_the_same_domain_is_refused(self):
        endpoint = self.endpoint(spiffe_id="spiffe://partner.example/someone/else")
        endpoint.answer = (200, {}, jwks(self.authority, sequence=1))
        self.spiffe(endpoint).until_error("expected was " + ENDPOINT)
        self.assertEqual(endpoint.paths, [])

    def test_f5_a_certificate_of_unknown_roots_is_refused(self):
        endpoint = self.endpoint(self.next)
        endpoint.answer = (200, {}, jwks(self.authority, sequence=1))
        self.spiffe(endpoint).until_error("certificate")
        self.assertEqual(endpoint.paths, [])

    def test_f5_the_webs_authorities_count_for_nothing_under_https_spiffe(self):
        endpoint = self.endpoint(self.web, spiffe_id=ENDPOINT, addresses=["127.0.0.1"])
        endpoint.answer = (200, {}, jwks(self.authority, sequence=1))
        self.spiffe(endpoint).until_error("certificate")

    def test_f6_after_the_first_answer_the_latest_bundle_verifies_and_the_bootstrap_no_more(self):
        endpoint = self.endpoint()
        endpoint.answer = (200, {}, jwks(self.next, sequence=1, hint=10))
        control = self.spiffe(endpoint)
        control.until_fetched(1)
        endpoint.answer = (200, {}, jwks(self.next, sequence=2, hint=10))
        control.until_error("certificate")  # it still shows the bootstrap's
        endpoint.show(*self.next.issue(ENDPOINT))
        control.until_fetched(2)

    def test_f8_no_client_certificate_is_shown(self):
        endpoint = self.endpoint()
        endpoint.context.load_verify_locations(self.web_roots)
        endpoint.context.verify_mode = ssl.CERT_OPTIONAL  # it asks for one
        endpoint.answer = (200, {}, jwks(self.authority, sequence=1))
        self.spiffe(endpoint).until_fetched(1)
        self.assertEqual([cert for cert in endpoint.peer_certs if cert], [])

    # ---- https_web ----

    def test_f1_f4_https_web_takes_a_bundle_from_the_host_of_the_url(self):
        endpoint = self.endpoint(self.web, spiffe_id=None, dns=["localhost"])
        endpoint.answer = (200, {}, jwks(self.authority, sequence=7))
        status = self.web_control(endpoint, "localhost").until_fetched(7)
        self.assertEqual(status["profile"], "https_web")

    def test_f4_an_address_is_checked_as_an_address(self):
        endpoint = self.endpoint(self.web, spiffe_id=None, addresses=["127.0.0.1"])
        endpoint.answer = (200, {}, jwks(self.authority, sequence=7))
        self.web_control(endpoint).until_fetched(7)

    def test_f4_a_certificate_for_another_host_is_refused(self):
        endpoint = self.endpoint(self.web, spiffe_id=None, dns=["other.example"])
        endpoint.answer = (200, {}, jwks(self.authority, sequence=7))
        self.web_control(endpoint, "localhost").until_error("hostname mismatch")
        self.assertEqual(endpoint.paths, [])

    def test_f4_a_certificate_of_an_authority_that_the_system_has_not_is_refused(self):
        endpoint = self.endpoint(self.next, spiffe_id=None, dns=["localhost"])
        self.web_control(endpoint, "localhost").until_error("certificate")
        self.assertEqual(endpoint.paths, [])

    # ---- keys of token issuers, which come from the web's servers too ----

    def keys_of(self, endpoint, host):
        rule = {"issuer": "https://id.example", "jwksUri": endpoint.url("/keys", host)}
        manifest = {"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
                    "metadata": {"name": "a", "namespace": "shop"}, "spec": {"jwtRules": [rule]}}
        os.makedirs(os.path.join(self.dir.name, "manifests"), exist_ok=True)
        self.write("manifests/tokens.yaml", json.dumps(manifest).encode())
        endpoint.answer = (200, {}, json.dumps({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}).encode())
        return self.control(file=self.bootstrap)

    def test_keys_are_taken_from_the_host_of_the_uri(self):
        endpoint = self.endpoint(self.web, spiffe_id=None, dns=["localhost"])
        control = self.keys_of(endpoint, "localhost")
        control.until(lambda s: s["has_keys"] and not s["last_error"], "no keys", of="token_keys")
        self.assertEqual(endpoint.paths, ["/keys"])

    def test_keys_are_not_taken_from_who_does_not_prove_to_be_it(self):
        for authority, dns, why in ((self.web, "other.example", "hostname mismatch"),
                                    (self.next, "localhost", "certificate")):
            endpoint = self.endpoint(authority, spiffe_id=None, dns=[dns])
            control = self.keys_of(endpoint, "localhost")
            status = control.until(lambda s: why in s["last_error"], "no error with %r" % why, of="token_keys")
            self.assertFalse(status["has_keys"])
            self.assertEqual(endpoint.paths, [])
            control.stop()

    # ---- redirects ----

    def test_f7_a_redirect_is_followed_under_the_same_rules_and_not_remembered(self):
        target = self.endpoint(name="target")
        target.answer = (200, {}, jwks(self.authority, sequence=3, hint=10))
        endpoint = self.endpoint()
        endpoint.answer = (302, {"Location": target.url("/moved")}, b"")
        control = self.spiffe(endpoint)
        control.until_fetched(3)
        self.assertEqual(target.paths, ["/moved"])
        target.answer = (200, {}, jwks(self.authority, sequence=4, hint=10))
        control.until_fetched(4)
        self.assertEqual(endpoint.paths, ["/bundle.json"] * 2, "each look begins at the configured URL")

    def test_f7_a_redirect_to_another_identity_is_refused(self):
        target = self.endpoint(spiffe_id="spiffe://partner.example/someone/else", name="target")
        target.answer = (200, {}, jwks(self.authority, sequence=3))
        endpoint = self.endpoint()
        endpoint.answer = (302, {"Location": target.url("/moved")}, b"")
        self.spiffe(endpoint).until_error("expected was " + ENDPOINT)
        self.assertEqual(target.paths, [])

    def test_f7_a_redirect_to_what_is_no_bundle_endpoint_is_not_followed(self):
        for location, why in (("http://127.0.0.1/bundle", "must begin with https://"),
                              ("https://me@127.0.0.1/", "user information")):
            endpoint = self.endpoint()
            endpoint.answer = (301, {"Location": location}, b"")
            control = self.spiffe(endpoint)
            control.until_error(why)
            control.stop()

    def test_f7_redirects_in_a_ring_end(self):
        endpoint = self.endpoint()
        endpoint.answer = (302, {"Location": endpoint.url("/again")}, b"")
        self.spiffe(endpoint).until_error("more than 5 redirects")
        self.assertEqual(len(endpoint.paths), 6)

    # ---- content and time ----

    def test_f9_f16_a_failure_keeps_the_last_good_bundle_and_waits_for_the_next_interval(self):
        endpoint = self.endpoint()
        endpoint.answer = (200, {}, jwks(self.authority, sequence=1, hint=10))
        control = self.spiffe(endpoint)
        control.until_fetched(1)
        for status in (429, 503):
            asked = []
            endpoint.answer = lambda path, status=status, asked=asked: asked.append(path) or (status, {}, b"later")
            control.until_error("status %d" % status)
            time.sleep(2)
            self.assertEqual(len(asked), 1, "it asks in a loop")
            self.assertEqual(control.status()["sequence"], 1, "the last good one stays")
        endpoint.answer = (200, {}, jwks(self.authority, sequence=2, hint=10))
        control.until_fetched(2)

    def test_f11_what_is_no_bundle_is_refused(self):
        for body in (b"", b"{", b'{"keys": 1}', b'{"keys": [], "x": "\xff"}', b"[]"):
            endpoint = self.endpoint()
            endpoint.answer = (200, {}, body)
            control = self.spiffe(endpoint)
            control.until(lambda s: s["last_error"], "no error for %r" % body)
            self.assertNotIn("sequence", control.status())
            control.stop()

    def test_f11_a_body_that_is_too_large_is_refused(self):
        endpoint = self.endpoint()
        endpoint.answer = (200, {}, b" " * (2 << 20))
        self.spiffe(endpoint).until_error("too large")

    def test_f12_the_last_bundle_is_kept_over_a_restart(self):
        endpoint = self.endpoint()
        endpoint.answer = (200, {}, jwks(self.next, sequence=9))
        control = self.spiffe(endpoint)
        control.until_fetched(9)
        control.stop()
        self.assertEqual(self.kept(), [jwks(self.next, sequence=9)])
        endpoint.answer = (503, {}, b"")
        # Verified with what was kept: the endpoint still shows a certificate of the bootstrap's roots.
        again = self.spiffe(endpoint)
        again.until(lambda s: s.get("sequence") == 9, "the sequence is not kept")
        again.until_error("certificate")

    def test_f13_a_lower_sequence_is_ignored(self):
        endpoint = self.endpoint()
        endpoint.answer = (200, {}, jwks(self.authority, sequence=5, hint=10))
        control = self.spiffe(endpoint)
        control.until_fetched(5)
        endpoint.answer = (200, {}, jwks(self.next, sequence=4, hint=10))
        control.until_error("sequence 4 is older than 5")
        self.assertEqual(control.status()["sequence"], 5)

    def test_f14_the_configuration_says_whose_bundle_it_is(self):
        stranger = Authority("another.example")  # its root names another trust domain
        endpoint = self.endpoint()
        endpoint.answer = (200, {}, jwks(stranger, sequence=1))
        status = self.spiffe(endpoint).until_fetched(1)
        self.assertEqual(status["trust_domain"], DOMAIN)


if __name__ == "__main__":
    unittest.main(verbosity=2)
