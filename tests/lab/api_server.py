"""An API server of Kubernetes as far as `isthmus control` and kubectl need one: objects listed page by page and watched.

usage: api_server.py FOLDER ADDRESS PORT ORDERS_PORT

It listens with TLS (FOLDER/ca.crt is the root), takes the bearer tokens that it is told, and keeps its objects in
FOLDER/objects.json, so that it may be killed and started again: then it has forgotten its history, as a real one has
whose etcd was compacted. Whoever asks for an older version than it remembers is answered with 410.

ORDERS_PORT takes POSTs without TLS, for the test:
  /apply          [object, ..], each put as a new version
  /remove         {"kind", "namespace", "name"}
  /tokens         [..], the only ones that count from now on
  /answer         {"status", "times", "retry_after", "match"}: so many requests are answered with that status
  /forget         history is compacted and watches told so (410)
  /cut            every connection ends in the middle of a line
  /uninstall      [KIND, ..]: not served any more
GET /requests     what was asked for so far, a list of "GET path"
"""

import asyncio
import base64
import datetime
import ipaddress
import json
import os
import ssl
import sys
import urllib.parse
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PLACES = {  # of every version that is served
    "/api/v1": {"namespaces": "Namespace", "nodes": "Node", "pods": "Pod", "services": "Service"},
    "/apis/discovery.k8s.io/v1": {"endpointslices": "EndpointSlice"},
    "/apis/multicluster.x-k8s.io/v1alpha1": {"serviceexports": "ServiceExport", "serviceimports": "ServiceImport"},
    "/apis/security.istio.io/v1": {"authorizationpolicies": "AuthorizationPolicy",
                                   "peerauthentications": "PeerAuthentication",
                                   "requestauthentications": "RequestAuthentication"},
    "/apis/gateway.networking.k8s.io/v1": {"httproutes": "HTTPRoute"},
    "/apis/isthmus.io/v1alpha1": {"trafficpolicies": "TrafficPolicy"},
}
BOOKMARK_EVERY_S = 0.25


def make_certificates(folder, address):
    """ca.crt, server.crt and server.key, unless they are there."""
    if os.path.exists(os.path.join(folder, "ca.crt")):
        return
    begin = datetime.datetime.utcnow() - datetime.timedelta(hours=1)

    def name(text):
        return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])

    def builder(subject, key):
        return (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("kubernetes"))
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=2)))

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = builder("kubernetes", ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName("kubernetes")])
    pem, der = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    for file, data in (("server.key", key.private_bytes(pem, der, serialization.NoEncryption())),
                       ("server.crt", builder("apiserver", key).add_extension(names, critical=False)
                        .sign(ca_key, hashes.SHA256()).public_bytes(pem)),
                       ("ca.crt", ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))):
        with open(os.path.join(folder, file + ".new"), "wb") as out:
            out.write(data)
        os.rename(os.path.join(folder, file + ".new"), os.path.join(folder, file))


def status(code, reason, message):
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
            "message": message, "code": code}


class Objects:
    """What there is, in versions."""

    def __init__(self, path):
        self.path, self.events, self.changed = path, [], asyncio.Condition()
        self.version, self.items = 1000, {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.version, rows = json.load(file)
            self.items = {tuple(key): item for key, item in rows}
        self.oldest = self.version

    def _keep(self):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump([self.version, [[list(key), item] for key, item in self.items.items()]], file)
        os.rename(self.path + ".new", self.path)

    async def _commit(self):
        self._keep()
        async with self.changed:
            self.changed.notify_all()

    async def apply(self, items):
        for item in items:
            self._put(item)
        await self._commit()

    def _put(self, item):
        meta = item["metadata"]
        key = (item["kind"], meta.get("namespace", ""), meta["name"])
        before = self.items.get(key)
        self.version += 1
        old = (before or {}).get("metadata", {})
        meta.setdefault("uid", old.get("uid") or str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", old.get("creationTimestamp") or "2026-01-31T12:00:00Z")
        meta["resourceVersion"] = str(self.version)
        meta["managedFields"] = [{"manager": "kubectl", "operation": "Update", "apiVersion": item["apiVersion"],
                                  "time": "2026-01-31T12:00:00Z", "fieldsType": "FieldsV1",
                                  "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}}]
        self.items[key] = item
        self.events.append((self.version, "MODIFIED" if before else "ADDED", item))

    async def remove(self, kind, namespace, name):
        item = self.items.pop((kind, namespace or "", name))
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, "DELETED", item))
        await self._commit()

    async def forget(self):
        self.oldest, self.events = self.version, []
        async with self.changed:
            self.changed.notify_all()

    def of(self, kind, namespace=None):
        return [self.items[key] for key in sorted(self.items)
                if key[0] == kind and (namespace is None or key[1] == namespace)]


class Server:
    def __init__(self, folder):
        self.objects = Objects(os.path.join(folder, "objects.json"))
        self.tokens, self.faults, self.absent, self.requests = set(), [], set(), []
        self.epoch, self.connections, self.lists = 0, set(), {}

    # ---- the API ----

    def _find(self, path):
        """(kind, apiVersion, namespace, name) of a path, or None."""
        for place, resources in PLACES.items():
            if not path.startswith(place + "/"):
                continue
            parts = path[len(place) + 1:].split("/")
            namespace = name = None
            if len(parts) >= 3 and parts[0] == "namespaces" and parts[2] in resources:
                namespace, parts = parts[1], parts[2:]
            kind = resources.get(parts[0])
            if kind and kind not in self.absent and len(parts) <= 2:
                name = parts[1] if len(parts) == 2 else None
                version = place.removeprefix("/apis/").removeprefix("/api/")
                return kind, version, namespace, name
        return None

    def _discovery(self, path):
        """What kubectl asks before it asks for anything."""
        groups = [place[len("/apis/"):] for place in PLACES if place.startswith("/apis/")]
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
                {"name": g.split("/")[0], "versions": [{"groupVersion": g, "version": g.split("/")[1]}],
                 "preferredVersion": {"groupVersion": g, "version": g.split("/")[1]}} for g in groups]}
        if path in PLACES:
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": path.split("/", 2)[2],
                    "resources": [{"name": name, "singularName": "", "kind": kind, "verbs": ["get", "list", "watch"],
                                   "namespaced": kind not in ("Namespace", "Node")}
                                  for name, kind in PLACES[path].items()]}
        return None

    def _list(self, kind, version, namespace, query):
        """(status, body)."""
        limit, token = int(query.get("limit", 0)), query.get("continue")
        if token:
            listed = self.lists.get(token)
            if not listed:
                return 410, status(410, "Expired", "The provided continue parameter is too old")
            at, items, start = listed
        else:
            at, items, start = self.objects.version, self.objects.of(kind, namespace), 0
        meta = {"resourceVersion": str(at)}
        page = items[start:start + limit] if limit else items
        if limit and start + limit < len(items):
            meta["continue"] = base64.urlsafe_b64encode(os.urandom(18)).decode() + "="
            meta["remainingItemCount"] = len(items) - start - limit
            self.lists[meta["continue"]] = (at, items, start + limit)
        page = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in page]
        return 200, {"kind": kind + "List", "apiVersion": version, "metadata": meta, "items": page}

    async def _watch(self, kind, version, namespace, query, writer):
        """Until the time is over. False: the connection is of no more use."""
        at = int(query.get("resourceVersion") or 0) or self.objects.version
        until = asyncio.get_running_loop().time() + min(float(query.get("timeoutSeconds", 300)), 300)
        epoch = self.epoch
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")

        def send(event):
            data = json.dumps(event).encode() + b"\n"
            half = len(data) // 2  # a chunk ends anywhere
            for part in (data[:half], data[half:]):
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))

        while asyncio.get_running_loop().time() < until:
            if at < self.objects.oldest:
                send({"type": "ERROR", "object": status(410, "Expired", f"too old resource version: {at}")})
                break
            for number, what, item in list(self.objects.events):
                if number > at and item["kind"] == kind and namespace in (None, item["metadata"].get("namespace")):
                    send({"type": what, "object": item})
            at = max(at, self.objects.version)
            await writer.drain()
            try:
                async with self.objects.changed:
                    if at >= self.objects.version and epoch == self.epoch and at >= self.objects.oldest:
                        await asyncio.wait_for(self.objects.changed.wait(), BOOKMARK_EVERY_S)
            except asyncio.TimeoutError:
                if query.get("allowWatchBookmarks") == "true":
                    send({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": version,
                                                         "metadata": {"resourceVersion": str(at)}}})
            if epoch != self.epoch:
                data = b'{"type":"MODIFIED","object":{"kind":"'
                writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                await writer.drain()
                return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _fault(self, target):
        for fault in self.faults:
            if fault["times"] > 0 and fault.get("match", "") in target:
                fault["times"] -= 1
                return fault
        return None

    async def _answer(self, target, fields, writer):
        path, _, text = target.partition("?")
        query = dict(urllib.parse.parse_qsl(text))
        found, fault, extra = self._find(path), self._fault(target), ""
        code, body = 404, "404 page not found\n"
        if fields.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            code, body = 401, status(401, "Unauthorized", "Unauthorized")
        elif fault:
            extra = f"Retry-After: {fault['retry_after']}\r\n" if "retry_after" in fault else ""
            code, body = fault["status"], status(fault["status"], "Broken", "told to")
        elif self._discovery(path):
            code, body = 200, self._discovery(path)
        elif found and found[3]:
            item = self.objects.items.get((found[0], found[2] or "", found[3]))
            code, body = (200, item) if item else (404, status(404, "NotFound", f"{found[3]} not found"))
        elif found and query.get("watch") in ("1", "true"):
            return await self._watch(*found[:3], query, writer)
        elif found:
            code, body = self._list(*found[:3], query)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        writer.write(f"HTTP/1.1 {code} Told\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(data)}\r\n\r\n"
                     .encode() + data)
        await writer.drain()
        return True

    # ---- connections ----

    async def _read_request(self, reader):
        line = (await reader.readline()).decode("latin-1").split()
        if len(line) != 3:
            return None
        fields = {}
        while text := (await reader.readline()).decode("latin-1").strip():
            name, _, value = text.partition(":")
            fields[name.lower()] = value.strip()
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        return line[0], line[1], fields, body

    async def on_client(self, reader, writer):
        try:
            while request := await self._read_request(reader):
                method, target, fields, _ = request
                self.requests.append(f"{method} {target}")
                goes_on = await self._answer(target, fields, writer)
                if not goes_on or fields.get("connection", "").lower() == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def on_order(self, reader, writer):
        method, target, _, body = await self._read_request(reader)
        order = json.loads(body) if body else None
        answer = {}
        if target == "/apply":
            await self.objects.apply(order)
        elif target == "/remove":
            await self.objects.remove(**order)
        elif target == "/tokens":
            self.tokens = set(order)
        elif target == "/answer":
            self.faults.append(order)
        elif target == "/forget":
            self.lists.clear()
            await self.objects.forget()
        elif target == "/cut":
            self.epoch += 1
            async with self.objects.changed:
                self.objects.changed.notify_all()
        elif target == "/uninstall":
            self.absent = set(order)
        elif method == "GET" and target == "/requests":
            answer = self.requests
        data = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(data), data))
        await writer.drain()
        writer.close()


async def main(folder, address, port, orders_port):
    make_certificates(folder, address)
    server = Server(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "server.crt"), os.path.join(folder, "server.key"))
    api = await asyncio.start_server(server.on_client, address, port, ssl=context)
    orders = await asyncio.start_server(server.on_order, address, orders_port)
    async with api, orders:
        await asyncio.gather(api.serve_forever(), orders.serve_forever())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
