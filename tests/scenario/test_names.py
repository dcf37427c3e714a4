"""What a pod's resolver says: clusterset names from the mesh, every other name from the resolver that was asked."""

import lab
import manifests
from process import wait_until
from town import Story, TILL, TILL_PORT, await_address


class Names(Story):
    n_nodes = 1

    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        cls.pods = [town.add_till(cluster.nodes[0]) for cluster in (town.west, town.east)]
        for cluster in (town.west, town.east):
            town.add_service(cluster)
        town.east.add_service("ledger", "shop", [manifests.port(TILL_PORT, "till", 7070)], {"app": "till"},
                              headless=True, export="v1alpha1")
        town.lab.start_mesh()
        await_address(cls.client)
        wait_until("the headless name", lambda: cls.dig("ledger.shop.svc.clusterset.local"))

    @classmethod
    def dig(cls, name, kind="A", *options):
        done = cls.client.run(["dig", "+short", "+tries=1", "+time=8", *options, name + ".", kind])
        return sorted(done.stdout.split("\n")[:-1])

    def status(self, name, kind="A", *options):
        out = self.client.run(["dig", "+tries=1", "+time=8", *options, name + ".", kind]).stdout
        return out.partition("status: ")[2].partition(",")[0], "ANSWER: 0" not in out

    def test_a_service_has_an_address_of_each_family_from_the_ranges(self):
        self.assertRegex(self.dig(TILL)[0], r"^10\.201\.")
        self.assertRegex(self.dig(TILL, "AAAA")[0], r"^fd00:201:")

    def test_udp_and_tcp_give_the_same(self):
        self.assertEqual(self.dig(TILL), self.dig(TILL, "A", "+tcp"))

    def test_srv_names_the_port_and_the_service(self):
        self.assertEqual([line.split()[2:] for line in self.dig(f"_till._tcp.{TILL}", "SRV")],
                         [[str(TILL_PORT), f"{TILL}."]])

    def test_a_headless_service_gives_its_pods_and_a_name_for_each(self):
        pod = self.pods[1]
        self.assertEqual(self.dig("ledger.shop.svc.clusterset.local"), [pod.v4])
        self.assertEqual(self.dig("ledger.shop.svc.clusterset.local", "AAAA"), [pod.v6])
        self.assertEqual(self.dig(f"{pod.pod_name}.east.ledger.shop.svc.clusterset.local"), [pod.v4])

    def test_the_schema_version_is_said(self):
        self.assertEqual(self.dig("dns-version.clusterset.local", "TXT"), ['"1.1.0"'])

    def test_what_does_not_exist_and_what_exists_without_that_type_are_told_apart(self):
        for name, kind, expected in (("nobody.shop.svc.clusterset.local", "A", ("NXDOMAIN", False)),
                                     ("till.nowhere.svc.clusterset.local", "A", ("NXDOMAIN", False)),
                                     (f"east.{TILL}", "A", ("NXDOMAIN", False)),
                                     (TILL, "MX", ("NOERROR", False)),
                                     ("shop.svc.clusterset.local", "A", ("NOERROR", False))):
            with self.subTest(f"{name} {kind}"):
                self.assertEqual(self.status(name, kind), expected)

    def test_other_names_come_from_the_pods_own_resolver_over_udp_and_tcp_and_from_its_address(self):
        self.assertEqual(self.dig("www.example.com"), ["192.0.2.80"])
        self.assertEqual(self.dig("www.example.com", "A", "+tcp"), ["192.0.2.80"])
        self.assertEqual(self.dig("kubernetes.default.svc.cluster.local"), ["10.1.255.1"])
        self.assertIn("SERVER: 10.1.0.53#53", self.client.run(["dig", "www.example.com."]).stdout)


if __name__ == "__main__":
    lab.main()
