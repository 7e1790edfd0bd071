"""One set of options in the words of two libraries; no secret in a place where it is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrefine.config import RefineConfig, load_config, parse_config
from qrefine.errors import UserError
from qrefine.storage.options import delta_options, fsspec_options, refuse_secrets
from qrefine.storage.store import Store, canonical
from qrefine.work.write import Target

SECRET = "wJalrXUtnFEMI"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ENDPOINT_URL", "PROFILE", "DEFAULT_PROFILE", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def test_s3_options_are_told_to_deltalake_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert delta_options("s3://b/t", {}) == {}
    options = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": "http://h:1", "region_name": "r"}}
    assert delta_options("s3://b/t", options) == {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "r",
        "AWS_ENDPOINT_URL": "http://h:1",
        "AWS_ALLOW_HTTP": "true",
    }
    assert delta_options("s3://b/t", {"anon": True}) == {"AWS_SKIP_SIGNATURE": "true"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://h:2")
    assert delta_options("s3://b/t", {}) == {"AWS_ALLOW_HTTP": "true"}
    assert delta_options("/local", options) == {}


PROFILE = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-1"}
ADDRESS = {"AWS_ENDPOINT_URL": "http://ceph:7480", "AWS_ALLOW_HTTP": "true"}


@pytest.mark.parametrize("by", ["environment", "option"])
@pytest.mark.parametrize("section", ["profile", "service"])
def test_a_profile_gives_address_region_and_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, section: str
) -> None:
    pytest.importorskip("botocore")
    address = "endpoint_url = http://ceph:7480\n"
    service = f"services = local\n[services local]\ns3 =\n  {address}"
    own = address if section == "profile" else service
    (tmp_path / "config").write_text(f"[profile lab]\nregion = eu-1\n{own}")
    keys = f"aws_access_key_id = id\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(f"[lab]\n{keys}")
    options: dict[str, Any] = {"profile": "lab"}
    if by == "environment":
        monkeypatch.setenv("AWS_PROFILE", "lab")
        options = {}
    assert delta_options("s3://b/t", options) == PROFILE | ADDRESS
    assert (
        delta_options("s3://b/t", {**options, "key": "k", "secret": "s"})
        == {
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_REGION": "eu-1",
        }
        | ADDRESS
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://other")
    assert delta_options("s3://b/t", options) == PROFILE


def test_a_profile_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(UserError, match=r"AWS profile: The config profile \(none\) could not be found"):
        delta_options("s3://b/t", {})


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("gs://b/t", {}, {}),
        ("gs://b/t", {"token": "anon"}, {"GOOGLE_SKIP_SIGNATURE": "true"}),
        ("gs://b/t", {"token": "google_default"}, {}),
        ("gs://b/t", {"token": "/keys/a.json"}, {"GOOGLE_SERVICE_ACCOUNT": "/keys/a.json"}),
        ("gs://b/t", {"token": {"a": "b"}}, {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps({"a": "b"})}),
        (
            "abfs://c/t",
            {"account_name": "n", "account_key": "k"},
            {"AZURE_STORAGE_ACCOUNT_NAME": "n", "AZURE_STORAGE_ACCOUNT_KEY": "k"},
        ),
        (
            "az://c/t",
            {"account_name": "n", "tenant_id": "t", "client_id": "i", "client_secret": "s"},
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "n",
                "AZURE_STORAGE_TENANT_ID": "t",
                "AZURE_STORAGE_CLIENT_ID": "i",
                "AZURE_STORAGE_CLIENT_SECRET": "s",
            },
        ),
        (
            "abfs://c/t",
            {"account_name": "n", "sas_token": "sv=1&sig=x="},
            {"AZURE_STORAGE_ACCOUNT_NAME": "n", "AZURE_STORAGE_SAS_KEY": "sv=1&sig=x="},
        ),
        (
            "abfs://c/t",
            {"connection_string": "AccountName=n;AccountKey=a2V5==;BlobEndpoint=http://127.0.0.1:1/n"},
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "n",
                "AZURE_STORAGE_ACCOUNT_KEY": "a2V5==",
                "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/n",
                "AZURE_ALLOW_HTTP": "true",
            },
        ),
    ],
)
def test_google_and_azure_options_are_translated_and_accepted(
    url: str, options: dict[str, Any], expected: dict[str, str]
) -> None:
    assert delta_options(url, options) == expected


def test_azures_connection_string_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=n;AccountKey=k==")
    assert delta_options("abfs://c/t", {}) == {
        "AZURE_STORAGE_ACCOUNT_NAME": "n",
        "AZURE_STORAGE_ACCOUNT_KEY": "k==",
    }


def test_options_by_protocol_go_to_their_own_store_alone() -> None:
    options = {"s3": {"key": "k"}, "https": {"block_size": 1}, "requester_pays": True}
    assert fsspec_options("https://h/x.tar", options) == {"block_size": 1}
    assert fsspec_options("/local", options) == {}
    found = fsspec_options("s3://b/x.tar", options)
    assert (found["key"], found["requester_pays"]) == ("k", True)
    assert "block_size" not in found
    assert options == {"s3": {"key": "k"}, "https": {"block_size": 1}, "requester_pays": True}


def test_s3_tries_again_with_jitter_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fsspec_options("s3://b", {})["config_kwargs"]["retries"]["mode"] == "standard"
    mine = {"config_kwargs": {"retries": {"max_attempts": 1}, "read_timeout": 3}}
    assert fsspec_options("s3://b", mine) == mine
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    assert fsspec_options("s3://b", {})["config_kwargs"] == {}


def test_a_table_behind_http_is_refused() -> None:
    with pytest.raises(UserError, match="http and hf are for reading"):
        delta_options("https://h/table", {})


# Secrets


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{SECRET}@host/a.tar",
        f"https://host/a.tar?X-Amz-Credential=a&X-Amz-Signature={SECRET}",
        f"https://account.blob.core.windows.net/c/a.tar?sv=1&sig={SECRET}",
        f"https://host/a.tar?access_token={SECRET}",
    ],
)
def test_a_url_with_a_secret_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UserError, match="carries") as caught:
        canonical(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://host/a.tar?download=true", "s3://b/a=b.tar", "abfss://c@account.dfs.core.windows.net/t", "/a?sig=x"],
)
def test_other_urls_are_taken(url: str) -> None:
    refuse_secrets(url)


@pytest.mark.parametrize(("url", "name"), [("s3a://b/t/", "s3://b/t"), ("gcs://b/t", "gs://b/t")])
def test_a_place_has_one_name(url: str, name: str) -> None:
    assert canonical(url) == name


@pytest.mark.parametrize(
    "setting",
    [
        f"storage_options.secret={SECRET}",
        f"storage_options.s3.key={SECRET}",
        f"storage_options={{token: {SECRET}}}",
    ],
)
def test_a_secret_on_the_command_line_is_refused_without_showing_it(setting: str) -> None:
    with pytest.raises(UserError, match="others can read a command line") as caught:
        load_config(None, [setting])
    assert SECRET not in str(caught.value)
    assert load_config(None, ["storage_options.endpoint_url=http://h"]).storage_options


def test_no_printed_form_of_the_settings_shows_a_secret() -> None:
    config = parse_config({"storage_options": {"key": SECRET, "s3": {"secret": SECRET}}})
    target = Target(config, Store.at("s3://b/t"), "run")
    assert isinstance(config, RefineConfig)
    for text in (
        repr(config),
        str(config),
        f"{target}",
        str({"fn_kwargs": {"target": target}}),
        config.digested(),
    ):
        assert SECRET not in str(text)
