"""A cluster whose objects are in an API server (api_server.py) instead of a folder of manifests."""

import copy
import http.client
import json
import os
import sys

from process import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
ADDRESS, PORT, ORDERS_PORT = "127.0.0.1", 6443, 6444


class ApiServer:
    """The server, beside control in its namespace."""

    def __init__(self, namespace, folder, token="first-token"):
        self.namespace, self.folder, self.process = namespace, folder, None
        self.token_path = os.path.join(folder, "token")
        os.makedirs(folder)
        self.start(token)
        self.give_token(token)

    def start(self, *tokens):
        self.process = self.namespace.start(
            [sys.executable, os.path.join(HERE, "api_server.py"), self.folder, ADDRESS, str(PORT), str(ORDERS_PORT)],
            name="api-server")
        wait_until("the API server to listen", lambda: self.namespace.can_connect(ADDRESS, ORDERS_PORT))
        self.order("/tokens", list(tokens))

    def kill(self):
        self.process.kill()

    def give_token(self, token):
        """What control finds at the place of its token from now on."""
        with open(self.token_path + ".new", "w", encoding="ascii") as file:
            file.write(token)
        os.rename(self.token_path + ".new", self.token_path)

    def order(self, path, body=None):
        connection = http.client.HTTPConnection(ADDRESS, ORDERS_PORT, timeout=10)
        connection.sock = self.namespace.connect(ADDRESS, ORDERS_PORT, 10)
        try:
            connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def apply(self, *items):
        self.order("/apply", copy.deepcopy(items))

    def remove(self, kind, name, namespace=None):
        self.order("/remove", {"kind": kind, "namespace": namespace, "name": name})

    def config(self):
        return {"server": f"https://{ADDRESS}:{PORT}", "tokenFile": self.token_path,
                "trustBundle": os.path.join(self.folder, "ca.crt")}


def use_api_server(cluster):
    """Before control starts: what was applied so far moves there, and what is applied from now on goes there."""
    server = ApiServer(cluster.control_namespace, os.path.join(cluster.folder, "api"))
    server.apply(*cluster.objects.values())
    del cluster.control.config["manifests"]
    cluster.control.config["kubernetes"] = server.config()
    cluster.api = server
    return server
