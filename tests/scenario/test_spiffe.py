"""A node whose own certificate comes from the SPIFFE Workload API and its pods' from the Broker API, calling across
clusters while the server of both renews them. The server is gRPC C-core (tests/interop/spiffe_server.py), and its root
is not control's."""

import os
import sys
import threading
import time

import lab
import memory
from process import PATIENCE_S, wait_until
from town import Story, await_address, served_by

sys.path.insert(0, os.path.join(lab.ROOT, "tests", "interop"))
try:
    import grpc
    from spiffe_server import (Authority, broker_server, fields, response, serial_of, svid_message,
                               workload_server)
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(lab.EXIT_SKIPPED)

LIFE_S = 600  # no SVID ends by itself within the test: what replaces one is the agent
ROTATIONS = 8
BUYER = "spiffe://west.example/ns/shop/sa/buyer"


class Agent:
    """Both APIs of one node; every call gets an SVID at once and a new one with each rotation."""

    def __init__(self, folder, node, accounts, uids):
        self.authority = Authority("west.example")
        self.node_id = f"spiffe://west.example/isthmus/node/{node}"
        self.id = f"spiffe://west.example/spire/agent/{node}"
        self.accounts = accounts  # pod -> service account
        self.uids = uids
        self.workload_path, self.broker_path = os.path.join(folder, "w.sock"), os.path.join(folder, "b.sock")
        self.lock, self.open, self.serials = threading.Lock(), {}, {}
        self.scalars = {}  # (key, serial) -> the private key that was handed out
        self.start()

    def start(self):
        self.servers = [workload_server("unix:" + self.workload_path),
                        broker_server("unix:" + self.broker_path, self.authority, self.id)]
        for server in self.servers:
            threading.Thread(target=self.answer, args=(server,), daemon=True).start()

    def answer(self, server):
        while server in self.servers:
            try:
                call = server.call(timeout=0.2)
            except Exception:  # noqa: BLE001 - nobody called
                continue
            key, spiffe_id = self.node_id, self.node_id
            if server is self.servers[1]:
                reference = fields(fields(fields(call.request)[1][0])[1][0])
                reference = fields(reference[2][0])
                pod, uid = fields(reference[2][0])[2][0].decode(), reference.get(3, [b""])[0].decode()
                if uid != self.uids.get(pod):
                    call.end(grpc.StatusCode.NOT_FOUND, "WORKLOAD_NOT_FOUND")
                    continue
                key, spiffe_id = pod, f"spiffe://west.example/ns/shop/sa/{self.accounts[pod]}"
            with self.lock:
                self.open[key] = (call, spiffe_id)
            self.renew(key)

    def renew(self, key):
        with self.lock:
            call, spiffe_id = self.open[key]
            certificate, private = self.authority.issue(spiffe_id, LIFE_S)
            self.serials[key] = serial_of(certificate)
            self.scalars[key, self.serials[key]] = private.private_numbers().private_value.to_bytes(32, "big")
            call.say(response(svid_message(spiffe_id, certificate, private, self.authority.der())))

    def rotate(self):
        for key in list(self.open):
            self.renew(key)

    def stop(self):
        servers, self.servers = self.servers, []
        for server in servers:
            server.stop()


class Spiffe(Story):
    @classmethod
    def build(cls, town):
        cls.node = node = town.west.nodes[0]
        cls.client, cls.twin = town.add_client(node), town.add_client(node, "twin")
        town.add_till(town.east.nodes[0])
        town.add_service(town.east)
        cls.agent = Agent(node.log_dir, node.name, {"client": "buyer", "twin": "buyer"},
                          {"client": cls.client.uid, "twin": cls.twin.uid})
        cls.addClassCleanup(cls.agent.stop)
        roots = os.path.join(town.west.control.folder, "spire.pem")
        with open(roots, "wb") as file:
            file.write(cls.agent.authority.pem())
        town.west.control.config["trustBundles"] = [{"trustDomain": "west.example", "file": roots}]
        del node.proxy.config["control"]["tokenFile"]
        node.proxy.config["identity"] = {
            "node": "workloadAPI", "workloadAPI": "unix://" + cls.agent.workload_path,
            "pods": "brokerAPI", "brokerAPI": "unix://" + cls.agent.broker_path, "brokerID": cls.agent.id}
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(node, 1)
        # East learns the agent's root from west's control.
        wait_until("east to know both of west's roots", lambda: any(
            bundle["trust_domain"] == "west.example" and bundle["roots"] == 2
            for bundle in town.east.nodes[0].proxy.ctl("certs")["bundles"]))

    def certificates(self):
        """(identity, pod) -> certificate, as the node says."""
        return {(c["identity"], c["workload"].rpartition("/")[2]): c
                for c in self.node.proxy.ctl("certs")["certificates"]}

    def await_serials(self):
        def are_used():
            held = self.certificates()
            return all(self.agent.serials.get(pod, "none") == held.get((BUYER, pod), {}).get("serial")
                       for pod in ("client", "twin"))

        wait_until("the SVIDs of the agent", are_used, every_s=0.1)

    def test_1_the_apis_are_where_the_certificates_come_from(self):
        self.await_serials()
        held = self.certificates()
        self.assertEqual(held[self.agent.node_id, ""]["source"], "workload API")
        self.assertEqual(held[BUYER, "client"]["source"], "broker API")
        self.assertNotEqual(held[BUYER, "client"]["serial"], held[BUYER, "twin"]["serial"],
                            "two pods of one identity share no SVID")
        self.assertEqual(served_by(self.client, self.vip), "east")
        records = wait_until("the call in the log of the far node", lambda: [
            r for r in self.town.east.nodes[0].access_log() if r.get("src.identity") == BUYER])
        self.assertTrue(records)

    def test_2_rotation_by_the_server_fails_no_connection(self):
        stop, outcomes = threading.Event(), []

        def load(pod):
            while not stop.is_set():
                try:
                    outcomes.append(served_by(pod, self.vip))
                except (OSError, IndexError) as error:
                    outcomes.append(repr(error))
                time.sleep(0.01)

        threads = [threading.Thread(target=load, args=(pod,)) for pod in (self.client, self.twin)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(ROTATIONS):
                self.agent.rotate()
                self.await_serials()
                time.sleep(0.3)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        print(f"{len(outcomes)} calls over {ROTATIONS} rotations")
        self.assertEqual([o for o in outcomes if o != "east"], [])

    def test_3_without_the_agent_calls_go_on_and_its_return_renews(self):
        self.agent.rotate()
        self.await_serials()
        self.agent.stop()
        wait_until("the node to say that the agent is away",
                   lambda: "reached" in self.certificates()[BUYER, "client"]["error"])
        self.assertEqual(served_by(self.client, self.vip), "east")
        for path in (self.agent.workload_path, self.agent.broker_path):
            if os.path.exists(path):
                os.unlink(path)
        before = dict(self.agent.serials)
        self.agent.start()
        wait_until("new SVIDs", lambda: all(self.agent.serials[key] != before[key] for key in before))
        self.await_serials()
        self.assertEqual(served_by(self.client, self.vip), "east")

    def test_4_the_key_of_a_pod_goes_with_the_pod(self):
        call, _ = self.agent.open["twin"]
        self.twin.delete()
        self.assertTrue(call.gone.wait(PATIENCE_S), "the call of the pod goes on")
        wait_until("the SVID to be dropped", lambda: (BUYER, "twin") not in self.certificates())
        self.assertEqual(served_by(self.client, self.vip), "east")
        kept = os.path.join(self.node.proxy.config["stateDir"], "svids")
        self.assertEqual(os.listdir(kept) if os.path.isdir(kept) else [], [], "no key of the agent's is on disk")


    def test_5_no_key_that_was_replaced_or_dropped_is_left_in_memory(self):
        self.agent.rotate()
        wait_until("the new SVIDs", lambda: self.certificates()[BUYER, "client"]["serial"]
                   == self.agent.serials["client"])
        self.assertEqual(served_by(self.client, self.vip), "east")
        live = {key: serial for key, serial in self.agent.serials.items() if key != "twin"}
        gone = {name: scalar for name, scalar in self.agent.scalars.items() if live.get(name[0]) != name[1]}
        self.assertGreater(len(gone), 2 * ROTATIONS)
        found = {}

        def is_clean():
            found.clear()
            found.update(memory.find(self.node.proxy.process.pid, self.agent.scalars))
            return not any(name in gone for name in found)

        try:
            wait_until("the keys to be wiped", is_clean)
        finally:
            print(f"{len(gone)} keys are gone; found: {found}")
        for name in live.items():
            self.assertIn(name, found, "the key in use is found: the search works")


if __name__ == "__main__":
    lab.main()
