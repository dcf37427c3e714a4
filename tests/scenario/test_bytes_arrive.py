"""What goes in comes out: bulk both ways over the WAN, thousands of connections at once, half-close, a reader that stops."""

import concurrent.futures
import random
import socket
import threading
import time

import lab
import tcp_pattern
from process import wait_until
from town import Story, TILL, TILL_PORT, ask, await_address, resident_kib

GIB = 1 << 30
CONNECTIONS = 2000
STOP_S = 10.0
STREAM_WINDOW_MAX_KIB = 4096        # what one stream may hold in a proxy (proxy/http/h2.h)
QUEUE_KIB = 1024                    # write queues of both streams of a flow, with their last reads
SLACK_KIB = 8192                    # the allocator's, and everything else that lives


class BytesArrive(Story):
    @classmethod
    def build(cls, town):
        cls.client = town.add_client(town.west.nodes[0])
        cls.till = town.add_till(town.east.nodes[1])
        town.add_service(town.east)
        town.lab.start_mesh()
        cls.vip = await_address(cls.client)
        town.await_endpoints(town.west.nodes[0], 1)

    def test_a_gigabyte_each_way_on_one_connection_is_byte_identical(self):
        with self.client.connect(self.vip, TILL_PORT, 60) as sock:
            sock.sendall(f"duplex 41 {GIB}\n".encode())
            sender = threading.Thread(target=tcp_pattern.send, args=(sock, 41, GIB))
            started_s = time.monotonic()
            sender.start()
            tcp_pattern.receive(sock, 42, GIB)
            sender.join()
            self.assertEqual(sock.recv(3), b"ok\n")
            took_s = time.monotonic() - started_s
        print(f"1 GiB each way in {took_s:.1f} s", flush=True)

    def test_2000_connections_at_once_of_random_sizes_lose_and_mix_nothing(self):
        sizes = random.Random(7)
        plan = [(seed, sizes.randrange(1, 65536)) for seed in range(CONNECTIONS)]
        socks = []
        for seed, size in plan:  # all are open before the first is used
            sock = self.client.connect(self.vip, TILL_PORT, 60)
            sock.sendall(f"duplex {seed * 2} {size}\n".encode())
            socks.append(sock)

        def talk(sock, seed, size):
            with sock:
                tcp_pattern.send(sock, seed * 2, size)
                tcp_pattern.receive(sock, seed * 2 + 1, size)
                return sock.recv(3)

        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda item: talk(item[0], *item[1]), zip(socks, plan)))
        self.assertEqual(answers.count(b"ok\n"), CONNECTIONS)

    def test_ipv6_is_carried_alike(self):
        vip = self.client.check(["getent", "ahostsv6", TILL]).stdout.split()[0]
        self.assertTrue(vip.startswith("fd00:201:"), vip)
        with self.client.connect(vip, TILL_PORT, 15) as sock:
            sock.sendall(b"duplex 77 3000000\n")
            sender = threading.Thread(target=tcp_pattern.send, args=(sock, 77, 3000000))
            sender.start()
            tcp_pattern.receive(sock, 78, 3000000)
            sender.join()
            self.assertEqual(sock.recv(3), b"ok\n")
        record = wait_until("the record", lambda: [r for r in self.town.west.nodes[0].access_log()
                                                   if r["src.addr"].startswith("[") and r["why"] == "ok"])[-1]
        self.assertEqual((record["mtls"], record["dst.hbone_addr"]), (True, f"[{self.till.v6}]:7070"))

    def test_the_client_may_end_first_and_still_gets_the_answer(self):
        self.assertEqual(ask(self.client, "count", self.vip), "0\n")
        with self.client.connect(self.vip, TILL_PORT, 15) as sock:
            sock.sendall(b"count\n" + b"x" * 100000)
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(sock.makefile("rb").read(), b"100000\n")

    def test_the_server_may_end_first_and_still_gets_the_rest(self):
        with self.client.connect(self.vip, TILL_PORT, 15) as sock:
            sock.sendall(b"first_end\n")
            self.assertEqual(sock.makefile("rb").read(), b"hello\n")
            sock.sendall(b"y" * 100000)
            sock.shutdown(socket.SHUT_WR)
            wait_until("the server to have got it all", lambda: "first_end 100000\n" in self.till.processes[0].out())

    def test_a_reader_that_stops_for_ten_seconds_does_not_make_the_proxies_grow(self):
        daemons = [self.town.west.nodes[0].proxy, self.town.east.nodes[1].proxy]
        before = [resident_kib(daemon.process) for daemon in daemons]
        size = 256 << 20
        with self.client.connect(self.vip, TILL_PORT, 60) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.sendall(f"source 5 {size}\n".encode())
            deadline_s = time.monotonic() + STOP_S
            most = list(before)
            while time.monotonic() < deadline_s:
                most = [max(m, resident_kib(daemon.process)) for m, daemon in zip(most, daemons)]
                time.sleep(0.25)
            tcp_pattern.receive(sock, 5, size)
        for daemon, low, high in zip(daemons, before, most):
            grown = high - low
            print(f"{daemon.name} grew by {grown} KiB to {high} KiB", flush=True)
            self.assertLessEqual(grown, STREAM_WINDOW_MAX_KIB + QUEUE_KIB + SLACK_KIB, daemon.name)


if __name__ == "__main__":
    lab.main()
