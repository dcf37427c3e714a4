"""A gRPC server for the lab with one method of each kind; messages are bytes as they are.

usage: grpc_server.py CLUSTER PORT

  /lab.Echo/Unary    the cluster, a blank, and the message
  /lab.Echo/Client   the number of messages and the sum of their lengths
  /lab.Echo/Server   the message as many times as its number says
  /lab.Echo/Both     each message as it comes
  /lab.Echo/Fail     FAILED_PRECONDITION with a sentence
"""

import sys
from concurrent import futures

import grpc


class Echo(grpc.GenericRpcHandler):
    def __init__(self, cluster):
        self.cluster = cluster.encode()

    def service(self, call):
        return {
            "/lab.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/lab.Echo/Client": grpc.stream_unary_rpc_method_handler(self.client),
            "/lab.Echo/Server": grpc.unary_stream_rpc_method_handler(self.server),
            "/lab.Echo/Both": grpc.stream_stream_rpc_method_handler(self.both),
            "/lab.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
        }.get(call.method)

    def unary(self, message, context):
        context.set_trailing_metadata((("x-cluster", self.cluster.decode()),))
        return self.cluster + b" " + message

    @staticmethod
    def client(messages, _):
        lengths = [len(message) for message in messages]
        return b"%d %d" % (len(lengths), sum(lengths))

    @staticmethod
    def server(message, _):
        for i in range(int(message)):
            yield b"%d" % i

    @staticmethod
    def both(messages, _):
        yield from messages

    @staticmethod
    def fail(_, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this: 100 %")


def main(cluster, port):
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Echo(cluster),))
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
