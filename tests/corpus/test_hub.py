"""Data sets on Hugging Face's hub: a store like it stands in, with blob ids for versions and no times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from qrefine.api import nightly, refine
from qrefine.config import RefineConfig, load_config
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import read_unit
from qrefine.errors import UserError
from qrefine.storage.errors import http_status
from qrefine.storage.options import fsspec_options
from qrefine.storage.store import Store, canonical
from tests.corpus.kinds import as_parquet, pictures
from tests.nightly.tables import rows_of
from tests.work.runs import STUB

CONFIG = load_config(None, STUB)
ROOT = "hublike:///datasets/me/pictures"


class HubLike(MemoryFileSystem):
    """Gives what `huggingface_hub.HfFileSystem` gives of a file: size, blob id, last commit."""

    protocol: ClassVar = "hublike"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("hublike://", "memory://", 1))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return self._with_blob(super().info(path, **options))

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        found = super().ls(path, detail=True, **options)
        return [self._with_blob(info) if detail else info["name"] for info in found]

    def find(self, path: str, detail: bool = False, **options: Any) -> Any:
        found = super().find(path, detail=True, **options)
        return {name: self._with_blob(info) for name, info in found.items()} if detail else list(found)

    def _with_blob(self, info: dict[str, Any]) -> dict[str, Any]:
        told = {name: info[name] for name in ("name", "size", "type")}
        if info["type"] == "file":
            told["blob_id"] = hashlib.sha1(self.store[info["name"]].getvalue()).hexdigest()
            told |= {"lfs": None, "last_commit": None}
        return told


@pytest.fixture
def hub() -> Iterator[HubLike]:
    fsspec.register_implementation("hublike", HubLike, clobber=True)
    HubLike.store.clear()
    HubLike.pseudo_dirs[:] = [""]
    return fsspec.filesystem("hublike")


def test_a_data_set_is_listed_with_its_blob_ids_and_read(hub: HubLike, tmp_path: Path) -> None:
    data = as_parquet(tmp_path, 3).read_bytes()
    hub.pipe("/datasets/me/pictures/data/train-0.parquet", data)
    hub.pipe("/datasets/me/pictures/README.md", b"# card")
    (unit,) = list_shards([ROOT], {})
    assert unit.url == f"{ROOT}/data/train-0.parquet"
    assert unit.version == f"{len(data)}-{hashlib.sha1(data).hexdigest()}"
    assert [s.key for s in read_unit(unit, RefineConfig())] == [key for key, *_ in pictures(3)]
    assert list_shards([f"{ROOT}/data/*.parquet"], {}) == [unit]


def test_a_night_reads_what_has_another_blob_id(hub: HubLike, tmp_path: Path) -> None:
    for number, count in ((0, 3), (1, 2)):
        hub.pipe(f"/datasets/me/pictures/train-{number}.parquet", as_parquet(tmp_path, count).read_bytes())
    table = tmp_path / "table"
    refine([ROOT], str(table), CONFIG)
    assert nightly([ROOT], str(table), CONFIG).committed is False
    hub.pipe("/datasets/me/pictures/train-1.parquet", as_parquet(tmp_path, 4).read_bytes())
    summary = nightly([ROOT], str(table), CONFIG)
    assert (summary.plan.changed, summary.samples, len(rows_of(table))) == (1, 4, 7)


def test_an_image_folder_on_the_hub(hub: HubLike) -> None:
    (first, image, _), (second, other, _) = pictures(2)
    hub.pipe(f"/datasets/me/pictures/train/{first}.png", image)
    hub.pipe(f"/datasets/me/pictures/train/{second}.png", other)
    hub.pipe(
        "/datasets/me/pictures/train/metadata.jsonl", b'{"file_name": "%s.png", "caption": "c"}' % first.encode()
    )
    (unit,) = list_shards([ROOT], {})
    assert unit.url == f"{ROOT}/#files"
    assert [(s.key, s.source, s.prompt) for s in read_unit(unit, RefineConfig())] == [
        (f"train/{first}", image, "c"),
        (f"train/{second}", other, None),
    ]
    hub.pipe(f"/datasets/me/pictures/train/{second}.png", image)
    (changed,) = list_shards([ROOT], {})
    assert changed.version != unit.version


def test_hf_urls_open_with_the_hubs_client_and_only_its_own_options() -> None:
    pytest.importorskip("huggingface_hub")
    assert canonical("hf://datasets/me/pictures/") == "hf://datasets/me/pictures"
    options = {"key": "of S3", "secret": "x", "hf": {"endpoint": "http://127.0.0.1:9"}}
    assert fsspec_options("hf://datasets/me/pictures", options) == {"endpoint": "http://127.0.0.1:9"}
    store = Store.at("hf://datasets/me/pictures/a.tar", options)
    assert (type(store.filesystem).__name__, store.base) == ("HfFileSystem", "datasets/me/pictures/a.tar")
    with pytest.raises(UserError, match="cannot use hf://datasets/me/pictures"):
        list_shards(["hf://datasets/me/pictures"], options)
    with pytest.raises(UserError, match="hf are for reading"):
        _ = store.delta_options


def test_the_hubs_errors_tell_their_status() -> None:
    class Response:
        status_code = 403

    error = OSError("gated")
    error.response = Response()  # type: ignore[attr-defined]
    assert http_status(error) == 403
