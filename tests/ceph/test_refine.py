"""A refinement on Ceph, from shards to table on the store: killed, refused, and through a bad connection."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars
import pytest
import yaml

from qrefine.corpus.listing import list_shards
from qrefine.errors import TableBusyError
from qrefine.storage.store import Store
from qrefine.table import lease
from qrefine.table.lease import Lease
from qrefine.table.parts import PREFIX
from qrefine.table.table import open_table
from tests.ceph.gateway import Ceph
from tests.ceph.proxy import FAULTS, SLOW_S, FaultProxy, Request, share
from tests.work import runs
from tests.work.kill_points import SAMPLES, SHARDS, Found, read, write_corpus

pytestmark = [pytest.mark.storage, pytest.mark.timeout(280)]
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards on disk."""
    folder = tmp_path_factory.mktemp("storage") / "corpus"
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def expected(local: Path) -> Found:
    """What an undisturbed run on disk makes of them."""
    assert runs.finish([str(local), str(local.parent / "reference")]) == 0
    return read(str(local.parent / "reference"))[0]


@pytest.fixture
def corpus(local: Path, bucket: str) -> str:
    """The shards on the store."""
    store = Store.at(f"{bucket}/corpus")
    for path in local.iterdir():
        store.write(path.name, path.read_bytes())
    return store.url


def names(folder: str) -> set[str]:
    store = Store.at(folder)
    store.filesystem.invalidate_cache()
    return {path.rpartition("/")[2] for path in store.filesystem.find(store.base)}


def unnamed(table: str) -> set[str]:
    """Parts on the store that no version of the table names."""
    delta = open_table(table)
    known = set(delta.vacuum(0, dry_run=True, enforce_retention_duration=False))
    known |= {uri.rpartition("/")[2] for uri in delta.file_uris()}
    return {name for name in names(table) if name.startswith(PREFIX)} - known


def refine(arguments: list[str], environment: Mapping[str, str], *before: Any) -> int:
    return runs.finish(arguments, *before, environment=environment)


# One writer at a time


def test_of_many_that_create_one_object_at_once_one_wins(bucket: str) -> None:
    place = Store.at(bucket)

    def create(number: int) -> bool:
        try:
            place.create("x", b"%d" % number * 1000)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, first in enumerate(pool.map(create, range(24))) if first]
    assert len(won) == 1
    assert place.read("x") == b"%d" % won[0] * 1000


def test_an_object_whose_answer_was_lost_was_created(store: Ceph, bucket: str) -> None:
    faults = iter(["reset after"])
    with FaultProxy(store.port, lambda request: next(faults, None) if request.method == "PUT" else None) as proxy:
        place = Store.at(bucket, {"endpoint_url": proxy.url})
        place.create("x", b"mine")
        assert proxy.faults == {"reset after": 1}
        with pytest.raises(FileExistsError):
            place.create("x", b"another's")


def test_a_lease_is_held_renewed_refused_and_taken_over(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    with Lease(Store.at(f"{bucket}/t"), "first") as first:
        assert first.held()
        with pytest.raises(TableBusyError, match="in use by run first"):
            Lease(Store.at(f"{bucket}/t"), "second").__enter__()
        time.sleep(0.3)
        monkeypatch.setattr(lease.Holder, "dead", lambda self, now: True)  # as if it had not renewed for a minute
        with Lease(Store.at(f"{bucket}/t"), "heir") as heir:
            assert heir.held()
            assert not first.held()


def test_of_two_drivers_that_start_in_the_same_second_one_works_and_one_leaves(
    corpus: str, bucket: str, environment: dict[str, str], expected: Found
) -> None:
    for turn in range(3):
        arguments = [corpus, f"{bucket}/t{turn}"]
        moment = time.time() + 1.0
        both = [runs.start(arguments, wait, moment, environment=environment) for _ in range(2)]
        for process in both:
            process.join(120)
        assert sorted(process.exitcode for process in both) == [0, 4]
        assert read(arguments[1]) == (expected, 0)


def wait(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))


# Killed at a request


def when(method: str, path: str, after: bool = False) -> Callable[[Request], bool]:
    return lambda request: request.method == method and path in request.path


@pytest.mark.parametrize(
    ("strikes", "after", "left"),
    [
        (when("PUT", f"/{PREFIX}"), False, 0),
        (when("PUT", f"/{PREFIX}"), True, 1),
        (when("PUT", "_delta_log/00000000000000000002.json"), False, 1),
        (when("PUT", "_delta_log/00000000000000000002.json"), True, 0),
        (when("PUT", "_qrefine/lease"), True, 0),
        (when("PUT", "_qrefine/run-"), False, 0),
    ],
    ids=["before a part", "after a part", "before a commit", "after a commit", "after the lease", "at the end"],
)
def test_a_driver_that_dies_at_a_request_leaves_a_table_that_opens_and_the_next_run_ends_it(
    store: Ceph,
    corpus: str,
    bucket: str,
    environment: dict[str, str],
    expected: Found,
    strikes: Callable[[Request], bool],
    after: bool,
    left: int,
) -> None:
    arguments = [corpus, f"{bucket}/t"]
    victims: list[Any] = []

    def choose(request: Request) -> str | None:
        if not strikes(request):
            return None
        if after:
            return "reset after"
        victims[0].kill()
        return "reset before"

    def done(fault: str) -> None:
        victims[0].kill()

    with FaultProxy(store.port, choose, done=done) as proxy:
        victims.append(runs.start(arguments, environment={**environment, "AWS_ENDPOINT_URL": proxy.url}))
        victims[0].join(60)
    assert victims[0].exitcode == KILLED
    assert len(unnamed(arguments[1])) >= left
    assert polars.read_delta(arguments[1], storage_options={"AWS_ALLOW_HTTP": "true"}).height < len(expected) + 1
    assert refine(arguments, environment) == 0
    assert read(arguments[1]) == (expected, 0)
    assert not unnamed(arguments[1])


# A bad connection


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_ends_well_where_requests_fail(
    store: Ceph,
    corpus: str,
    bucket: str,
    environment: dict[str, str],
    expected: Found,
    tmp_path: Path,
    fault: str,
) -> None:
    with FaultProxy(store.port, share(0.15 if fault != "slow" else 0.05, [fault], seed=3)) as proxy:
        through = {**environment, "AWS_ENDPOINT_URL": proxy.url}
        code = runs.finish([corpus, f"{bucket}/t"], environment=through, said=tmp_path / "said")
        assert code == 0, (tmp_path / "said").read_text()
        assert proxy.faults[fault] > 3
    assert read(f"{bucket}/t") == (expected, 0)


def test_a_run_outlives_a_restart_of_the_store(
    store: Ceph, corpus: str, bucket: str, environment: dict[str, str], expected: Found
) -> None:
    away = {"until": 0.0}

    def choose(request: Request) -> str | None:
        if not away["until"] and f"/{PREFIX}" in request.path:
            away["until"] = time.monotonic() + 8 * SLOW_S
        return "reset before" if time.monotonic() < away["until"] else None

    with FaultProxy(store.port, choose) as proxy:
        code = refine([corpus, f"{bucket}/t"], {**environment, "AWS_ENDPOINT_URL": proxy.url})
        assert code == 0
        assert proxy.faults["reset before"] > 5
    assert read(f"{bucket}/t") == (expected, 0)


# What a person reads


def command(arguments: list[str], environment: Mapping[str, str], **options: Any) -> tuple[int, str]:
    """The command line's exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "qrefine.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        **options,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("place", ["input", "output"])
@pytest.mark.parametrize(
    ("url", "changes", "said"),
    [
        ("{bucket}/x", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "check the credentials' rights"),
        ("{bucket}/x", {"AWS_ACCESS_KEY_ID": "unknown"}, "check the credentials' rights"),
        ("s3://no-such-bucket/x", {}, "there is no such bucket"),
        ("{bucket}/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "check the address"),
        ("{bucket}/x", {"AWS_ENDPOINT_URL": "http://no-such-host.invalid"}, "check the address"),
    ],
    ids=["wrong secret", "unknown key", "no such bucket", "nobody listens", "no such host"],
)
def test_what_is_not_transient_is_one_line(
    local: Path,
    bucket: str,
    environment: dict[str, str],
    tmp_path: Path,
    place: str,
    url: str,
    changes: dict[str, str],
    said: str,
) -> None:
    url = url.format(bucket=bucket)
    arguments = [f"{url}/*.tar", str(tmp_path / "t")] if place == "input" else [str(local), url]
    assert runs.finish(arguments, environment={**environment, **changes}, said=tmp_path / "said") == 2
    text = (tmp_path / "said").read_text()
    assert text.count("\n") == 1, text
    assert text.startswith("qrefine: cannot use s3://")
    assert said in text


def test_a_profile_is_enough(corpus: str, bucket: str, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {environment['AWS_ENDPOINT_URL']}\n"
        f"aws_access_key_id = {environment['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {environment['AWS_SECRET_ACCESS_KEY']}\n"
    )
    assert runs.finish([corpus, f"{bucket}/t"], forget_keys, str(tmp_path / "config")) == 0
    assert len(read(f"{bucket}/t")[0]) == SHARDS * SAMPLES


def forget_keys(config: str) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(AWS_CONFIG_FILE=config, AWS_PROFILE="lab", AWS_SHARED_CREDENTIALS_FILE="/nowhere")


# Ray, from shards on the store to a table on it


@pytest.mark.slow
def test_options_in_the_yaml_are_enough_and_no_secret_is_seen(
    store: Ceph, corpus: str, bucket: str, expected: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's logs, its dashboard, the table and what the command says hold neither key nor secret."""
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # all that a dashboard shows, to whoever may see it
    environment = store.environment
    for name in environment:
        monkeypatch.delenv(name)
    options = {
        "endpoint_url": environment["AWS_ENDPOINT_URL"],
        "key": environment["AWS_ACCESS_KEY_ID"],
        "secret": environment["AWS_SECRET_ACCESS_KEY"],
    }
    values = dict(setting.split("=", 1) for setting in runs.STUB)
    config: dict[str, Any] = {"storage_options": options}
    for path, value in values.items():
        *parents, last = path.split(".")
        group = config
        for parent in parents:
            group = group.setdefault(parent, {})
        group[last] = yaml.safe_load(value)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    folder = Path("/tmp") / f"qr{random.randrange(10**6)}"  # Ray's sockets want short names
    context = ray.init(
        num_cpus=2,
        include_dashboard=True,
        dashboard_port=8277,
        object_store_memory=120 * 2**20,
        _temp_dir=str(folder),
    )
    try:
        address = context.address_info["gcs_address"]
        code, said = command(
            ["refine", corpus, f"{bucket}/t", "--config", str(tmp_path / "c.yaml")], {"RAY_ADDRESS": address}
        )
        assert code == 0, said
        pages = ["api/v0/actors?detail=1", "api/v0/tasks?detail=1", "api/v0/workers?detail=1", "api/jobs/"]
        pages += ["api/v0/runtime_envs?detail=1", "api/data/datasets/job", "logical/actors", "nodes?view=summary"]
        seen = ""
        for page in pages:
            with urllib.request.urlopen(f"http://{context.dashboard_url}/{page}", timeout=60) as answer:
                seen += answer.read().decode()
        assert "PoolActor" in seen
    finally:
        ray.shutdown()
    logs = [path for path in folder.rglob("*") if path.is_file()]
    assert len(logs) > 10
    for secret in (options["key"], options["secret"]):
        assert secret not in said
        assert secret not in seen
        assert not [path for path in logs if secret.encode() in path.read_bytes()]
    shutil.rmtree(folder)
    monkeypatch.undo()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    table = Store.at(f"{bucket}/t")
    for path in table.filesystem.find(table.base):
        body = table.filesystem.cat_file(path)
        assert options["secret"].encode() not in body
        assert options["key"].encode() not in body
    assert read(f"{bucket}/t") == (expected, 0)
    assert len(list_shards([f"{corpus}/*.tar"], {})) == SHARDS
