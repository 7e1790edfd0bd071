"""Listing the shards of a large corpus on object storage: seconds, memory, requests.

The store is a stand-in: another process that answers by pages of 1,000, without the latency of a network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from benchmarks.measure import Figure, answer_of, child_environment, peak_memory

PAGE = 1000
OBJECT = (
    "<Contents><Key>generated/{name:08d}.tar</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    '<ETag>"{name:032x}"</ETag><Size>500000000</Size><StorageClass>STANDARD</StorageClass></Contents>'
)
LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>corpus</Name><KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys>"
    "<IsTruncated>{more}</IsTruncated>{token}{objects}</ListBucketResult>"
)


class Handler(BaseHTTPRequestHandler):
    """Answers listings, counts them, and knows no object."""

    protocol_version = "HTTP/1.1"
    count = 0  # of objects in the bucket
    requests = 0

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/requests":
            return self._send(str(Handler.requests))
        asked = parse_qs(url.query)
        prefix = asked.get("prefix", [""])[0]
        if not "generated/00000000.tar".startswith(prefix[:10]) or prefix.startswith("generated/_"):
            return self._send(LISTING.format(count=0, most=PAGE, more="false", token="", objects=""))
        Handler.requests += 1
        most = int(asked.get("max-keys", [PAGE])[0])
        first = int(asked.get("continuation-token", ["0"])[0])
        end = min(self.count, first + most)
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < self.count else ""
        objects = "".join(OBJECT.format(name=name) for name in range(first, end))
        more = str(end < self.count).lower()
        self._send(LISTING.format(count=end - first, most=most, more=more, token=token, objects=objects))

    def _send(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def listing(shards: int) -> list[Figure]:
    """Figures of a listing of so many shards."""
    with _served(shards) as port:
        command = [sys.executable, "-m", "benchmarks.listing", "list", str(port)]
        found = answer_of(command)
    assert found["shards"] == shards, found
    name = f"listing of {shards:,} shards"
    return [
        Figure(name, found["seconds"], "s", note=f"{found['cpu']:.3g} s of this process's CPU"),
        Figure(f"{name}: requests for a page", found["requests"], "", f"{-(-shards // PAGE)} and a few"),
        Figure(f"{name}: peak memory", found["memory"] / 1e9, "GB", "8"),
    ]


@contextmanager
def _served(shards: int) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.listing", "serve", str(shards)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment())
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


def serve(shards: str) -> None:
    Handler.count = int(shards)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def list_them(port: str) -> None:
    import urllib.request

    from qrefine.corpus.listing import list_shards

    endpoint = f"http://127.0.0.1:{port}"
    options = {"endpoint_url": endpoint, "key": "key", "secret": "secret"}
    began = time.perf_counter()
    shards = list_shards(["s3://corpus/generated"], options)
    seconds = time.perf_counter() - began
    requests = int(urllib.request.urlopen(f"{endpoint}/requests").read())
    found = {"shards": len(shards), "seconds": seconds, "cpu": time.process_time()}
    print(json.dumps({**found, "memory": peak_memory(), "requests": requests}))


if __name__ == "__main__":
    {"serve": serve, "list": list_them}[sys.argv[1]](sys.argv[2])
