"""Shards behind http: listed, and read whole through a server that breaks off, with ranges or without."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qrefine.config import ImageSettings
from qrefine.corpus.listing import list_shards
from qrefine.corpus.shards import read_shard
from qrefine.errors import UserError
from qrefine.storage import retry
from qrefine.storage.store import Store
from tests.ceph.proxy import FaultProxy, share
from tests.support import write_shards

pytest.importorskip("aiohttp")


class Plain(SimpleHTTPRequestHandler):
    """Sends files as a whole: a broken read must begin anew."""

    def log_message(self, *_: Any) -> None:
        pass


class Ranged(Plain):
    """Knows ranges, as object stores do."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        path = Path(self.translate_path(self.path))
        if not wanted or not path.is_file():
            return super().do_GET()
        data = path.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        body = data[int(first) : int(last) + 1 if last else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()


@pytest.fixture(params=[Plain, Ranged])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    write_shards(tmp_path, shards=2, samples=8, size=128)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(request.param, directory=str(tmp_path))) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def test_shards_are_listed_by_name_and_braces_and_read(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    root = f"http://127.0.0.1:{server.server_port}"
    shards = list_shards([f"{root}/{{000000..000001}}.tar"], {"key": "of another store"})
    assert [(shard.url, shard.size) for shard in shards] == [
        (f"{root}/{name}", (tmp_path / name).stat().st_size) for name in ("000000.tar", "000001.tar")
    ]
    expected = [(s.key, s.source, s.shard_rows) for s in read_shard(str(tmp_path / "000000.tar"), ImageSettings())]
    assert [(s.key, s.source, s.shard_rows) for s in read_shard(shards[0].url, ImageSettings())] == expected


def test_what_is_not_there_is_one_line(server: ThreadingHTTPServer) -> None:
    with pytest.raises(UserError, match="nothing matches"):
        list_shards([f"http://127.0.0.1:{server.server_port}/none.tar"], {})


def test_a_read_through_a_server_that_breaks_off_gives_exactly_the_bytes(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.0)
    with FaultProxy(server.server_port, share(0.5, ["cut", "reset before", "503"], seed=1)) as proxy:
        for _ in range(4):
            with Store.at(f"{proxy.url}/000000.tar").reader(retries=30) as reader:
                found = b"".join(iter(lambda reader=reader: reader.read(5000), b""))
            assert found == (tmp_path / "000000.tar").read_bytes()
        assert sum(proxy.faults.values()) > 2
