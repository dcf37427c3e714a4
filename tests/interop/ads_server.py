#!/usr/bin/env python3
"""A control plane that is not ours: gRPC C-core, Google's protobuf, delta xDS, and no idea of who Isthmus is.

usage: ads_server.py PROTOS_FOLDER CERTIFICATE KEY PORT STATE

Serves what the file STATE says, and again whenever that changes: {type URL: {name: the message in base64}}. Prints a line
of JSON for each answer of the node: {"type", "error"}, the error "" for an ACK.
"""

import base64
import concurrent.futures
import json
import queue
import sys
import threading

import grpc

SERVICE, METHOD = "envoy.service.discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources"


class Server:
    def __init__(self, protos, state_path):
        sys.path.insert(0, protos)
        self.pb = __import__("discovery_pb2")
        self.state_path, self.n_sent = state_path, 0

    def state(self):
        with open(self.state_path, encoding="ascii") as file:
            return json.load(file)

    def difference(self, type_url, wanted, sent):
        """What is new or gone since, as a response; sent is brought up to date."""
        self.n_sent += 1
        response = self.pb.DeltaDiscoveryResponse(type_url=type_url, nonce=str(self.n_sent))
        for name, data in wanted.items():
            if sent.get(name) != data:
                resource = response.resources.add(name=name, version=str(self.n_sent))
                resource.resource.type_url, resource.resource.value = type_url, base64.b64decode(data)
        response.removed_resources.extend(name for name in sent if name not in wanted)
        sent.clear()
        sent.update(wanted)
        return response

    def stream(self, requests, context):
        heard, sent = queue.Queue(), {}
        threading.Thread(target=lambda: [heard.put(request) for request in requests], daemon=True).start()
        while context.is_active():
            try:
                request = heard.get(timeout=0.05)
                if request.response_nonce:
                    print(json.dumps({"type": request.type_url, "error": request.error_detail.message}), flush=True)
                elif request.type_url not in sent:
                    wanted = self.state().get(request.type_url, {})
                    yield self.difference(request.type_url, wanted, sent.setdefault(request.type_url, {}))
            except queue.Empty:
                pass
            state = self.state()
            for type_url, held in sent.items():
                if state.get(type_url, {}) != held:
                    yield self.difference(type_url, state.get(type_url, {}), held)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main(protos, certificate, key, port, state):
    server = Server(protos, state)
    handler = grpc.stream_stream_rpc_method_handler(
        server.stream, request_deserializer=server.pb.DeltaDiscoveryRequest.FromString,
        response_serializer=server.pb.DeltaDiscoveryResponse.SerializeToString)
    listener = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    listener.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    listener.add_secure_port(f"0.0.0.0:{port}", grpc.ssl_server_credentials([(read(key), read(certificate))]))
    listener.start()
    listener.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
