#!/usr/bin/env python3
"""The tunnel port of a node as those see it who audit TLS: openssl s_client, gnutls-cli and testssl.sh.

They dial from a pod outside the mesh, whose traffic nobody captures, and have a certificate of the cluster's own CA, as a
client of the mesh has. What testssl.sh could not try (WARN: this system's OpenSSL has no SSLv3 and no export ciphers) is
printed with the rest.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import lab
from process import wait_until
from town import Story, await_address

try:
    from authority import Authority
except ModuleNotFoundError as missing:
    print("skipped:", missing)
    sys.exit(lab.EXIT_SKIPPED)

TUNNEL_PORT = 15008
SUITES = {"TLS_AES_128_GCM_SHA256": "AES-128-GCM", "TLS_AES_256_GCM_SHA384": "AES-256-GCM"}


class TlsAudit(Story):
    @classmethod
    def build(cls, town):
        cls.node = town.east.nodes[0]
        town.east.add_namespace("outside", enrolled=False)
        cls.auditor = town.east.nodes[1].add_pod("auditor", "outside")
        cls.asker = town.add_client(town.east.nodes[1])
        cls.till = town.add_till(cls.node)
        town.add_service(town.east)
        cls.raised.start_mesh()
        await_address(cls.asker)
        town.await_endpoints(cls.node, 1)
        cls.east = Authority.of(town.east)
        cls.credentials = cls.east.issue("spiffe://east.example/ns/shop/sa/buyer")
        wait_until("the till's certificate", lambda: "TLSv1.3" in cls.openssl("-tls1_3"))

    # ---- the tools ----

    @classmethod
    def run_tool(cls, argv, timeout_s=60):
        with cls.auditor.entered():
            result = subprocess.run(cls.auditor.command(argv), input=b"", capture_output=True, timeout=timeout_s, check=False)
        return (result.stdout + result.stderr).decode(errors="replace")

    @classmethod
    def openssl(cls, *options, alpn=("-alpn", "h2"), credentials=""):
        """What s_client says; "" where no connection came to be. credentials: a path, None for none."""
        credentials = cls.credentials if credentials == "" else credentials
        shown = ["-cert", credentials, "-key", credentials] if credentials else []
        return cls.run_tool(["openssl", "s_client", "-connect", f"{cls.till.v4}:{TUNNEL_PORT}", *shown,
                             "-CAfile", cls.east.root_path, *alpn, *options])

    def gnutls(self, priority):
        return self.run_tool(["gnutls-cli", "--no-ca-verification", "--alpn", "h2", "--x509certfile", self.credentials,
                              "--x509keyfile", self.credentials, "--priority", priority, "-p", str(TUNNEL_PORT),
                              self.till.v4])

    def is_agreed(self, said, what):
        self.assertIn(f"New, TLSv1.3, Cipher is {what}", said)

    def is_refused(self, said):
        self.assertRegex(said, r"New, \(NONE\), Cipher is \(NONE\)|alert|no peer certificate|error")
        self.assertNotIn("New, TLSv1.3, Cipher is TLS", said)

    # ---- what the node's own audit log says of them ----

    def refusals(self):
        path = os.path.join(self.node.proxy.config["stateDir"], "audit", "audit.log")
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if line["event"] == "verdict" and "connection" not in line]

    def test_a_refused_caller_is_a_verdict_of_the_audit_log_with_what_it_only_claims(self):
        buyer, wolf = "spiffe://east.example/ns/shop/sa/buyer", "spiffe://wolves.example/ns/shop/sa/buyer"
        folder = os.path.dirname(self.credentials)
        for credentials, why, claimed in (
                (None, "tls_no_certificate", None),
                (Authority.stranger(folder, "wolves.example").issue(wolf), "tls_trust_domain", wolf),
                (Authority.stranger(folder, "east.example").issue(buyer), "tls_chain", buyer),
                (self.east.issue(buyer, age_s=3600, life_s=-60), "tls_chain", buyer),
                (self.east.issue(buyer, is_ca=True), "tls_svid", None)):
            with self.subTest(why=why, claimed=claimed):
                n_before = len(self.refusals())
                self.openssl("-tls1_3", credentials=credentials)
                line = wait_until("its line", lambda n=n_before: self.refusals()[n:])[0]
                print(json.dumps({key: line[key] for key in ("why", "error", "src.addr", "src.claimed") if key in line}), flush=True)
                self.assertEqual((line["why"], line.get("src.claimed"), line["decision"]), (why, claimed, "deny"))
                self.assertEqual(line["src.addr"].rpartition(":")[0], self.auditor.v4)
                self.assertEqual((line["dst.addr"], line["dst.workload"]), (f"{self.till.v4}:{TUNNEL_PORT}", "till"))
                self.assertEqual("peer.serial" in line, credentials is not None)
                self.assertNotIn("src.identity", line)
                self.assertFalse(line["mtls"])

    # ---- openssl s_client ----

    def test_openssl_agrees_on_tls13_with_each_intended_suite(self):
        for suite in SUITES:
            with self.subTest(suite=suite):
                said = self.openssl("-tls1_3", "-ciphersuites", suite)
                self.is_agreed(said, suite)
                self.assertIn("ALPN protocol: h2", said)
                self.assertIn("Verify return code: 0 (ok)", said)

    def test_openssl_finds_no_other_version_suite_or_group(self):
        for options in (["-tls1_2"], ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
                        ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
                        ["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"],
                        ["-groups", "P-384"], ["-groups", "P-521"], ["-groups", "X448"], ["-groups", "ffdhe2048"]):
            with self.subTest(options=options):
                self.is_refused(self.openssl(*options))

    def test_openssl_agrees_on_the_intended_groups(self):
        for group, shown in (("X25519", "X25519"), ("P-256", "ECDH, prime256v1|P-256")):
            with self.subTest(group=group):
                said = self.openssl("-groups", group)
                self.is_agreed(said, "TLS_AES_")
                self.assertRegex(said, shown)

    def test_openssl_is_given_no_ticket(self):
        self.assertNotRegex(self.openssl("-tls1_3"), "New Session Ticket|TLS session ticket:")

    def test_openssl_is_refused_without_alpn(self):
        self.is_refused(self.openssl(alpn=()))

    # ---- gnutls-cli ----

    def test_gnutls_agrees_on_tls13_with_the_intended_suites_and_groups(self):
        for suite in SUITES.values():
            for group in ("X25519", "SECP256R1"):
                with self.subTest(suite=suite, group=group):
                    said = self.gnutls(f"NONE:+VERS-TLS1.3:+{suite}:+AEAD:+GROUP-{group}:+SIGN-ALL:+CTYPE-ALL")
                    self.assertIn("Handshake was completed", said)
                    self.assertIn("(TLS1.3-X.509)", said)
                    self.assertIn(f"({suite})", said)

    def test_gnutls_finds_no_other_version_suite_or_group(self):
        for priority in ("NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.1",
                         "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305",
                         "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP384R1"):
            with self.subTest(priority=priority):
                said = self.gnutls(priority)
                self.assertNotIn("Handshake was completed", said)
                self.assertRegex(said, "[Ff]atal|alert|error")

    # ---- testssl.sh ----

    def ask_testssl(self, *options):
        """Its findings: id -> (severity, finding)."""
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "findings.json")
            self.run_tool(["testssl", "--quiet", "--color", "0", "--warnings", "off", "--ip", "one", "--nodns", "min",
                           "--connect-timeout", "20", "--openssl-timeout", "20", "--jsonfile", out, *options,
                           f"{self.till.v4}:{TUNNEL_PORT}"], timeout_s=450)  # a thousand processes, one after another
            with open(out, encoding="utf-8") as file:
                findings = {f["id"]: (f["severity"], f["finding"]) for f in json.load(file)}
        for name, (severity, finding) in findings.items():
            print(f"{severity:8} {name}: {finding}")
        return findings

    def has_nothing_above_info(self, findings):
        self.assertGreater(len(findings), 10)
        above = {name: what for name, what in findings.items() if what[0] in ("LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL")}
        self.assertEqual(above, {})

    def test_testssl_as_a_client_of_the_mesh_finds_tls13_only_and_nothing_above_info(self):
        """Its own ClientHellos offer no ALPN and are refused, so it asks through openssl, which is told what a client of
        the mesh has: h2 and a certificate."""
        wrapper = os.path.join(os.path.dirname(self.credentials), "openssl")
        with open(wrapper, "w", encoding="utf-8") as file:
            file.write(f'''#!/bin/sh
[ "$1" = s_client ] || exec {shutil.which("openssl")} "$@"
shift
exec {shutil.which("openssl")} s_client -alpn h2 -cert {self.credentials} -key {self.credentials} "$@"
''')
        os.chmod(wrapper, 0o755)
        findings = self.ask_testssl("--openssl", wrapper, "--ssl-native", "--protocols", "--std", "--fs")
        self.assertNotIn("not offered", findings["TLS1_3"][1])
        self.assertIn("offered", findings["TLS1_3"][1])
        for version in ("TLS1", "TLS1_1", "TLS1_2"):
            self.assertIn("not offered", findings[version][1])
        self.has_nothing_above_info(findings)

    def test_testssl_as_a_stranger_finds_no_vulnerability(self):
        findings = self.ask_testssl("--openssl", shutil.which("openssl"), "--vulnerable")
        self.has_nothing_above_info(findings)


if __name__ == "__main__":
    if not all(shutil.which(tool) for tool in ("openssl", "gnutls-cli", "testssl")):
        print("skipped: openssl, gnutls-cli or testssl is missing")
        sys.exit(lab.EXIT_SKIPPED)
    lab.main()
