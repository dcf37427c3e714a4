"""A mesh that is told to stop does so at once when nothing is left to carry."""

import os
import sys
import time
import unittest

import lab
import manifests
from process import wait_until

URL = "http://model.apps.svc.clusterset.local/predict"


class Stop(unittest.TestCase):
    def test_tunnels_to_the_other_cluster_do_not_hold_up_the_end(self):
        with lab.Lab(n_nodes=1) as raised:
            for cluster in raised.clusters.values():
                cluster.add_namespace("apps")
            client = raised.west.nodes[0].add_pod("client", "apps")
            server = raised.east.nodes[0].add_pod("server", "apps", labels={"app": "model"})
            server.start([sys.executable, os.path.join(lab.HERE, "model_server.py"), "east", "8080"])
            raised.east.add_service("model", "apps", [manifests.port(80, "http", 8080)], {"app": "model"},
                                    export="v1beta1")
            raised.start_mesh()
            wait_until("the model server", lambda: server.can_connect("127.0.0.1", 8080))

            def answered():
                return client.run(["curl", "-sS", "--max-time", "5", URL]).stdout == '{"cluster": "east"}\n'

            wait_until("an answer from east", answered, every_s=0.1)
            started_s = time.monotonic()
            raised.stop_mesh()
            self.assertLess(time.monotonic() - started_s, 10)  # where it waited, it would for the drain time, which is longer


if __name__ == "__main__":
    lab.main()
