"""The SPIFFE Workload and Broker APIs by gRPC C-core, with protobuf written by hand: a server for our clients."""
import datetime
import ipaddress
import queue
import threading
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DER = serialization.Encoding.DER


def varint(value):
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(data):
    """The length-delimited fields of a message: number -> values."""
    found, at = {}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        assert key & 7 == 2, "only length-delimited fields are expected"
        size, at = read_varint(data, at)
        found.setdefault(key >> 3, []).append(data[at:at + size])
        at += size
    return found


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 128:
            return value, at


class Authority:
    """A root and what it signs."""

    def __init__(self, trust_domain):
        self.trust_domain = trust_domain
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, trust_domain)])
        uri = x509.UniformResourceIdentifier("spiffe://" + trust_domain)
        self.cert = (self._base(name, name, self.key, 86400)
                     .add_extension(x509.BasicConstraints(True, None), True)
                     .add_extension(usage(key_cert_sign=True, crl_sign=True), True)
                     .add_extension(x509.SubjectAlternativeName([uri]), False)
                     .sign(self.key, hashes.SHA256()))

    @staticmethod
    def _base(subject, issuer, key, life_s):
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(seconds=10))
                .not_valid_after(now + datetime.timedelta(seconds=life_s)))

    def issue(self, spiffe_id, life_s=3600, dns=(), addresses=()):
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(spiffe_id)] if spiffe_id else []
        names += [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        both = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "svid")])
        cert = (self._base(name, self.cert.subject, key, life_s)
                .add_extension(x509.BasicConstraints(False, None), True)
                .add_extension(usage(digital_signature=True), True)
                .add_extension(x509.ExtendedKeyUsage(both), False)
                .add_extension(x509.SubjectAlternativeName(names), False)
                .sign(self.key, hashes.SHA256()))
        return cert, key

    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def der(self):
        return self.cert.public_bytes(DER)


def usage(**on):
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


def key_der(key):
    return key.private_bytes(DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def svid_message(spiffe_id, cert, key, bundle, hint=""):
    message = field(1, spiffe_id) + field(2, cert.public_bytes(DER)) + field(3, key_der(key)) + field(4, bundle)
    return message + (field(5, hint) if hint else b"")


def response(*svids, federated=(), crls=()):
    out = b"".join(field(1, svid) for svid in svids) + b"".join(field(2, crl) for crl in crls)
    return out + b"".join(field(3, field(1, key) + field(2, der)) for key, der in federated)


def serial_of(cert):
    """Whole bytes in hex, as we print it."""
    digits = "%X" % cert.serial_number
    return digits.zfill(len(digits) + len(digits) % 2)


def fresh(authority, spiffe_id, life_s=3600, **more):
    """A message with one new SVID, and its serial as we print it."""
    cert, key = authority.issue(spiffe_id, life_s)
    return response(svid_message(spiffe_id, cert, key, authority.der()), **more), serial_of(cert)


class Call:
    """One call of a client: what it asked, and what it is to be told."""

    def __init__(self, request, context):
        self.request = request
        self.metadata = dict(context.invocation_metadata())
        self.peer_ids = list(context.peer_identities() or [])
        self.context = context
        self.said = queue.Queue()

    def say(self, message):
        self.said.put(message)

    def end(self, code=None, details=""):
        self.said.put((code, details))


class Server:
    """Serves one method; every call goes to a queue for the test to answer."""

    def __init__(self, path, address, credentials=None):
        self.calls = queue.Queue()
        service, method = path.rsplit("/", 1)
        handler = grpc.unary_stream_rpc_method_handler(self._serve, request_deserializer=None,
                                                       response_serializer=None)
        self.server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service.strip("/"), {method: handler})])
        if credentials:
            self.port = self.server.add_secure_port(address, credentials)
        else:
            self.port = self.server.add_insecure_port(address)
        self.server.start()
        self.open_calls = []

    def _serve(self, request, context):
        call = Call(request, context)
        gone = threading.Event()
        context.add_callback(lambda: (gone.set(), call.said.put(None)))
        call.gone = gone
        self.calls.put(call)
        while True:
            said = call.said.get()
            if said is None or gone.is_set():
                return
            if isinstance(said, tuple):
                if said[0] is not None:
                    context.set_code(said[0])
                    context.set_details(said[1])
                return
            yield said

    def call(self, timeout=40):
        call = self.calls.get(timeout=timeout)
        self.open_calls.append(call)
        return call

    def no_call(self, seconds):
        try:
            call = self.calls.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError("a call that should not be: %r" % call.request)

    def stop(self):
        for call in self.open_calls:
            call.said.put(None)
        self.server.stop(0).wait()


def workload_server(address):
    return Server("/SpiffeWorkloadAPI/FetchX509SVID", address)


def broker_server(address, authority, spiffe_id):
    # C-core looks at names, which an SVID may hold beside its SPIFFE ID; our client does not.
    cert, key = authority.issue(spiffe_id)
    chain = cert.public_bytes(serialization.Encoding.PEM)
    credentials = grpc.ssl_server_credentials([(key_pem(key), chain)], authority.pem(), True)
    return Server("/spiffe.broker.API/SubscribeToX509SVID", address, credentials)
