"""Certificates made by python-cryptography, of a lab cluster's own CA or of a stranger's, right or wrong on purpose."""

import datetime
import itertools
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NO_ENCRYPTION = serialization.NoEncryption()
ORGANIZATION = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "interop")])


def _now():
    return datetime.datetime.utcnow()


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, NO_ENCRYPTION)


def _usage(is_ca):
    return x509.KeyUsage(digital_signature=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, content_commitment=False,
                         key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                         decipher_only=False)


def make_csr(uri, key=None):
    """(key, CSR as PEM text) for a SPIFFE ID."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True).sign(key, hashes.SHA256())
    return key, csr.public_bytes(serialization.Encoding.PEM).decode()


def uris_of(der):
    """The URI names of a certificate."""
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


class Authority:
    """A CA with its key. issue() writes PEM files that Python's ssl loads: the key, then the chain."""

    _numbers = itertools.count(1)

    def __init__(self, folder, key, certificate):
        self.folder, self.key, self.certificate = folder, key, certificate
        self.root_path = self._write(_pem(certificate))

    @classmethod
    def of(cls, cluster):
        """The embedded CA of a cluster of the lab, whose control has started."""
        folder = os.path.dirname(cluster.root_path)
        with open(os.path.join(folder, "root.key"), "rb") as file:
            key = serialization.load_pem_private_key(file.read(), None)
        with open(cluster.root_path, "rb") as file:
            return cls(cluster.folder, key, x509.load_pem_x509_certificate(file.read()))

    @classmethod
    def stranger(cls, folder, trust_domain):
        """A CA of somebody else, who claims that trust domain."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = cls._builder(f"spiffe://{trust_domain}", key, ORGANIZATION, is_ca=True).sign(
            key, hashes.SHA256())
        return cls(folder, key, certificate)

    def _write(self, data):
        path = os.path.join(self.folder, f"interop-{next(self._numbers)}.pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        return path

    @staticmethod
    def _builder(uris, key, issuer, is_ca=False, age_s=60, life_s=3600):
        uris = [uris] if isinstance(uris, str) else uris
        begin = _now() - datetime.timedelta(seconds=age_s)
        builder = (x509.CertificateBuilder()
                   .subject_name(issuer if is_ca else x509.Name([])).issuer_name(issuer)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(begin).not_valid_after(begin + datetime.timedelta(seconds=age_s + life_s))
                   .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
                   .add_extension(_usage(is_ca), critical=True))
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            builder = builder.add_extension(names, critical=True)
        return builder

    def issue(self, *uris, is_ca=False, age_s=60, life_s=3600):
        """The path of a certificate for these IDs with its key. life_s below 0: it has ended already."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(uris, key, self.certificate.subject, is_ca, age_s, life_s)
        if not is_ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return self._write(key_pem(key) + _pem(builder.sign(self.key, hashes.SHA256())))

    def keep(self, key, chain_pem):
        """The path of a key with a chain that was issued for it by somebody."""
        return self._write(key_pem(key) + chain_pem.encode())


def _context(protocol, credentials, roots, alpn, versions):
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.minimum_version, context.maximum_version = versions
    context.verify_mode = ssl.CERT_REQUIRED
    for root in roots:
        context.load_verify_locations(root)
    if credentials:
        context.load_cert_chain(credentials)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


TLS13 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
TLS12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)


def client_context(credentials, roots, alpn=("h2",), versions=TLS13):
    """For a client; credentials None: it shows no certificate. roots: paths."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, credentials, roots, alpn, versions)


def server_context(credentials, roots, alpn=("h2",), versions=TLS13):
    """For a server that demands a client certificate."""
    return _context(ssl.PROTOCOL_TLS_SERVER, credentials, roots, alpn, versions)
