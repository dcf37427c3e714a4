"""An HTTP/1.1 server for the lab, with what a proxy between it and its client could spoil.

usage: web_server.py CLUSTER PORT

  GET /who            the cluster, and the head of the request as it arrived, as JSON
  POST /echo          the body, as it comes (chunked; a trailer tells its SHA-256)
  POST /hash          the SHA-256 of the body and its length, as JSON
  GET /bytes?n=N      N bytes of a pattern
  GET /events?n=N&ms=M  N server-sent events, M milliseconds apart
  GET /status/CODE    that status; /flaky?key=K&fails=N: 503 for the first N requests of a key, then 200
  GET /slow?ms=M      an answer after M milliseconds
  GET /early          103 with a Link, then 200
  GET /count?key=K    how many requests came with ?key=K
  GET /ws             an upgrade to a WebSocket whose frames come back
"""

import asyncio
import base64
import collections
import hashlib
import json
import socket
import sys
import urllib.parse

PATTERN = bytes(i * 31 % 251 for i in range(65536))
PIECE = 65536


async def read_head(reader):
    line = (await reader.readline()).decode("latin-1").rstrip("\r\n")
    if not line:
        return None
    method, target, _ = line.split(" ")
    fields = []
    while text := (await reader.readline()).decode("latin-1").rstrip("\r\n"):
        name, _, value = text.partition(":")
        fields.append((name.lower(), value.strip()))
    return method, target, fields


async def read_pieces(reader, left):
    """So many bytes, as they come."""
    while left:
        piece = await reader.read(min(left, PIECE))
        if not piece:
            raise ConnectionError("the body broke off")
        left -= len(piece)
        yield piece


async def read_body(reader, fields):
    """The pieces of a request's body."""
    head = dict(fields)
    if head.get("transfer-encoding") != "chunked":
        async for piece in read_pieces(reader, int(head.get("content-length", 0))):
            yield piece
        return
    while size := int((await reader.readline()).split(b";")[0], 16):
        async for piece in read_pieces(reader, size):
            yield piece
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass


class Server:
    def __init__(self, cluster):
        self.cluster = cluster
        self.counts = collections.Counter()

    async def serve(self, reader, writer):
        try:
            while head := await read_head(reader):
                if not await self.answer(head, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    async def answer(self, head, reader, writer):
        method, target, fields = head
        url = urllib.parse.urlsplit(target)
        query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
        self.counts[query.get("key", "")] += url.path != "/count"
        if dict(fields).get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        match url.path.split("/")[1:]:
            case ["echo"]:
                await self.echo(reader, writer, fields)
                return True
            case ["ws"]:
                await self.websocket(reader, writer, fields)
                return False
            case ["events"]:
                await self.events(writer, int(query["n"]), int(query.get("ms", "0")))
                return True
            case ["bytes"]:
                await self.bytes(writer, int(query["n"]))
                return True
        digest, length = hashlib.sha256(), 0
        async for piece in read_body(reader, fields):
            digest.update(piece)
            length += len(piece)
        status, body = 200, {"cluster": self.cluster}
        match url.path.split("/")[1:]:
            case ["who"]:
                body |= {"method": method, "target": target, "fields": fields}
            case ["hash"]:
                body |= {"sha256": digest.hexdigest(), "length": length}
            case ["status", code]:
                status = int(code)
            case ["flaky"]:
                status = 503 if self.counts[query["key"]] <= int(query["fails"]) else 200
            case ["slow"]:
                await asyncio.sleep(int(query["ms"]) / 1000)
            case ["early"]:
                writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
            case ["count"]:
                body |= {"count": self.counts[query["key"]]}
            case _:
                status = 404
        self.reply(writer, status, json.dumps(body).encode() + b"\n", method == "HEAD")
        await writer.drain()
        return True

    @staticmethod
    def reply(writer, status, body, is_head):
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n".encode() + (b"" if is_head else body))

    @staticmethod
    async def echo(reader, writer, fields):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sha256\r\n\r\n")
        digest = hashlib.sha256()
        async for piece in read_body(reader, fields):
            digest.update(piece)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\nx-sha256: %b\r\n\r\n" % digest.hexdigest().encode())
        await writer.drain()

    @staticmethod
    async def events(writer, n, pause_ms):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(n):
            event = b"data: %d\n\n" % i
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            if pause_ms:
                await asyncio.sleep(pause_ms / 1000)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    @staticmethod
    async def bytes(writer, n):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n)
        while n > 0:
            writer.write(PATTERN[:n])
            n -= len(PATTERN)
            await writer.drain()
        await writer.drain()

    @staticmethod
    async def websocket(reader, writer, fields):
        key = dict(fields)["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept)
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()


async def main(cluster, port):
    server = Server(cluster)
    sock = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
    async with await asyncio.start_server(server.serve, sock=sock, limit=1 << 20) as listener:
        await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
