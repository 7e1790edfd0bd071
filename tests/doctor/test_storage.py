"""Rights are tried on real stores: a local disk, a read-only one, S3 by moto with and without rights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
import requests
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer

from qrefine.config import RefineConfig
from qrefine.doctor.findings import Finding
from qrefine.doctor.storage import beacon, check_space, examine_input, examine_output
from qrefine.storage.store import Store
from qrefine.table.table import Table
from tests.support import write_shards, write_tar


def texts(findings: list[Finding], state: str) -> list[str]:
    return [finding.text for finding in findings if finding.state == state]


def test_a_new_output_is_probed_and_left_as_it_was(tmp_path: Path) -> None:
    found = examine_output(Store.at(str(tmp_path / "a" / "table")))
    assert texts(found, "ok") == [
        "creates objects, and refuses to create one twice",
        "commits to a Delta log, and deletes it again",
        f"no table at {tmp_path / 'a' / 'table'} yet",
    ]
    assert len(found) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_recognised_and_left_as_it_was(tmp_path: Path, plain: RefineConfig) -> None:
    from qrefine.table.schema import table_schema

    Table.open_or_create(Store.at(str(tmp_path / "out")), table_schema(plain.judges))
    before = sorted(tmp_path.rglob("*"))
    found = examine_output(Store.at(str(tmp_path / "out")))
    assert "a table at version 0; a run will continue it" in texts(found, "ok")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_cannot_be_written_is_a_blocker(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = examine_output(Store.at(str(tmp_path / "file" / "table")))
    assert found.state == "blocker"
    assert found.mend


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="no Linux")
def test_a_read_only_disk_is_a_blocker() -> None:
    """The kernel's own file system takes no files, not even from root."""
    (found,) = examine_output(Store.at("/sys/kernel/table"))
    assert found.state == "blocker"


def test_another_machine_sees_the_beacon_while_it_burns(tmp_path: Path) -> None:
    with beacon(Store.at(str(tmp_path / "out"))) as name:
        assert Store.at(str(tmp_path / "out")).exists(name)
        assert not Store.at(str(tmp_path / "elsewhere")).exists(name)
    assert list(tmp_path.iterdir()) == []


def test_input_is_listed_and_read(tmp_path: Path, plain: RefineConfig) -> None:
    write_shards(tmp_path, shards=2, samples=2)
    found, size = examine_input([str(tmp_path)], plain)
    assert [finding.state for finding in found] == ["ok", "ok"]
    assert found[0].text.startswith("2 shards")
    assert size == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_missing_input_is_a_blocker_and_a_damaged_first_shard_a_warning(
    tmp_path: Path, plain: RefineConfig
) -> None:
    ((missing,), _) = examine_input([str(tmp_path / "*.tar")], plain)
    assert (missing.state, "nothing matches" in missing.text) == ("blocker", True)
    write_tar(tmp_path / "0.tar", [("a.txt", b"no image")])
    found, _ = examine_input([str(tmp_path)], plain)
    assert [finding.state for finding in found] == ["ok", "warning"]
    (tmp_path / "0.tar").unlink()
    (tmp_path / "0.tar").symlink_to(tmp_path / "gone")
    found, _ = examine_input([str(tmp_path)], plain)
    assert [finding.state for finding in found] == ["ok", "blocker"]


def test_room_for_the_table_is_told_of_local_disks(tmp_path: Path) -> None:
    assert [f.state for f in check_space(str(tmp_path / "out"), 1)] == ["ok"]
    assert [f.state for f in check_space(str(tmp_path / "out"), 2**60)] == ["warning"]
    assert list(check_space("s3://bucket/out", 2**60)) == []


class Careless(MemoryFileSystem):
    """A store that overwrites, whatever it was told: what S3's imitations did before conditional writes."""

    protocol = "careless"
    store: dict[str, Any] = {}  # noqa: RUF012 (as its base has it)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        with self.open(path, "wb") as file:
            file.write(value)


def test_a_store_that_overwrites_what_it_must_create_is_a_blocker() -> None:
    fsspec.register_implementation("careless", Careless, clobber=True)
    found = examine_output(Store.at("careless://bucket/table"))
    assert any("overwrote an object" in text for text in texts(found, "blocker"))
    assert not Careless.store


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str]]]:
    """A server with a bucket of shards, a bucket for tables, and users: environments by what they may do."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    common = {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    options = {"endpoint_url": url, "region_name": "us-east-1"}
    client = boto3.client("s3", aws_access_key_id="x", aws_secret_access_key="x", **options)
    iam = boto3.client("iam", aws_access_key_id="x", aws_secret_access_key="x", **options)
    for bucket in ("raw", "refined"):
        client.create_bucket(Bucket=bucket)
    users = {}
    rights = {
        "full": ["s3:*"],
        "read": ["s3:ListBucket", "s3:GetObject"],
        "no-delete": ["s3:ListBucket", "s3:GetObject", "s3:PutObject"],
        "nothing": ["sts:GetCallerIdentity"],
    }
    for name, actions in rights.items():
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
        keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        users[name] = {**common, **keys}
    shard = write_shards(tmp_path_factory.mktemp("raw"), shards=1, samples=2)[0]
    client.upload_file(str(shard), "raw", "000000.tar")
    requests.post(f"{url}/moto-api/reset-auth", data=b"0", timeout=10)  # from here on rights are enforced
    yield users
    requests.post(f"{url}/moto-api/reset-auth", data=b"inf", timeout=10)
    server.stop()


def doctor(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [sys.executable, "-m", "qrefine.cli", "doctor", *arguments]
    return subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize(
    ("user", "blockers"),
    [
        ("full", []),
        ("read", ["output"]),
        ("no-delete", ["output"]),
        ("nothing", ["input", "output"]),
    ],
)
def test_rights_on_s3(s3: dict[str, dict[str, str]], user: str, blockers: list[str]) -> None:
    done = doctor(s3[user], "s3://raw/*.tar", "s3://refined/table")
    found = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("blocker")]
    assert found == blockers, done.stdout + done.stderr
    assert done.returncode == (2 if blockers else 0)
    assert s3[user]["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr


def test_a_bucket_that_is_not_there_is_a_blocker(s3: dict[str, dict[str, str]]) -> None:
    done = doctor(s3["full"], "s3://raw/*.tar", "s3://nowhere/table")
    assert done.returncode == 2
    assert "bucket" in done.stdout


def test_a_store_that_does_not_answer_is_a_blocker() -> None:
    done = doctor({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://raw/*.tar", "s3://refined/table")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("blocker")]
    assert "nothing answers at http://127.0.0.1:9" in said


def test_the_command_says_ready_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_shards(tmp_path / "in", shards=1, samples=1)
    done = doctor({}, str(tmp_path / "in"), str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("ready: 0 blockers")
    assert not (tmp_path / "out").exists()
    assert doctor({}, "only-one").returncode == 2
