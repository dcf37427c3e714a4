"""Calls grpc_server.py in every way and says what came back, as JSON.

usage: grpc_client.py ADDRESS
"""

import json
import sys

import grpc


def main(address):
    with grpc.insecure_channel(address) as channel:
        found = {}
        unary = channel.unary_unary("/lab.Echo/Unary")
        reply, call = unary.with_call(b"hello", timeout=10)
        found["unary"] = reply.decode()
        found["trailer"] = dict(call.trailing_metadata()).get("x-cluster")
        found["client"] = channel.stream_unary("/lab.Echo/Client")((b"x" * 1000 for _ in range(200)),
                                                                   timeout=10).decode()
        found["server"] = len(list(channel.unary_stream("/lab.Echo/Server")(b"1000", timeout=10)))
        found["both"] = [m.decode() for m in channel.stream_stream("/lab.Echo/Both")(
            (str(i).encode() for i in range(50)), timeout=10)] == [str(i) for i in range(50)]
        try:
            channel.unary_unary("/lab.Echo/Fail")(b"", timeout=10)
        except grpc.RpcError as error:
            found["fail"] = [error.code().name, error.details()]
        try:
            channel.unary_unary("/lab.Echo/None")(b"", timeout=10)
        except grpc.RpcError as error:
            found["none"] = error.code().name
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
