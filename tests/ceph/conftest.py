"""A Ceph of our own for the storage tests; all of them share it, each has a bucket of its own."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ceph.gateway import Ceph, free_ports


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """The store; ``QREFINE_CEPH`` names a folder and a port of one that runs already: ``/tmp/ceph:7480``."""
    given = os.environ.get("QREFINE_CEPH")
    if given:
        folder, _, port = given.rpartition(":")
        yield Ceph(Path(folder), int(port))
        return
    if shutil.which("radosgw") is None or shutil.which("ceph-osd") is None:
        pytest.skip("Ceph is missing and could not be installed: tests/ceph/ceph.sh install")
    found = Ceph(tmp_path_factory.mktemp("ceph"), free_ports())
    try:
        found.ceph("start")
        yield found
    finally:
        found.ceph("stop")


@pytest.fixture
def environment(store: Ceph, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The store's address and keys, set as users set them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    return store.environment


@pytest.fixture
def bucket(environment: dict[str, str]) -> str:
    """A new bucket's URL."""
    import s3fs

    name = f"test-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
    return f"s3://{name}"
