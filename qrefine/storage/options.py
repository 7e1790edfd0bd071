"""One set of storage options for the two libraries that open a URL: fsspec (files) and deltalake (commits).

Options come from the environment, as is usual for each store (``AWS_*``, profiles, instance roles; ``GOOGLE_*``;
``AZURE_STORAGE_*``; ``HF_TOKEN``), or from ``storage_options`` under fsspec's names. Those apply to the URLs of
every store, but not to http and hf; options under a protocol's name, as ``{s3: {...}, https: {...}}``, apply to
that protocol alone. Profiles and connection strings, which fsspec's libraries read and deltalake does not, are
translated here.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from qrefine.errors import UserError

S3, GS, AZURE, HTTP = {"s3", "s3a"}, {"gs", "gcs"}, {"abfs", "abfss", "az"}, {"http", "https"}
HUB = {"hf"}
PROTOCOLS = S3 | GS | AZURE | HTTP | HUB | {"file", "local", "memory"}
NATIVE = {"env", "iam-role", "container-role", "assume-role-with-web-identity"}  # deltalake finds and renews these
SIGNED = re.compile(r"(?i)signature|^sig$|token|secret|password|^(api|access)_?key$")


def protocol_of(url: str) -> str:
    """``s3`` for ``s3://bucket/key``; ``file`` for a path."""
    return url.partition("://")[0] if "://" in url else "file"


def own_options(url: str, storage_options: dict[str, Any]) -> dict[str, Any]:
    """The options that apply to a URL, under fsspec's names."""
    protocol = protocol_of(url)
    grouped = {name for name, value in storage_options.items() if name in PROTOCOLS and isinstance(value, dict)}
    flat = {name: value for name, value in storage_options.items() if name not in grouped}
    own = storage_options[protocol] if protocol in grouped else {}
    return {**({} if protocol in HTTP | HUB | {"file"} else flat), **own}


def fsspec_options(url: str, storage_options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of fsspec's file system; S3's client retries with growing, random waits."""
    options = own_options(url, storage_options)
    if protocol_of(url) in S3:
        config = dict(options.get("config_kwargs") or {})
        if not {"AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"} & set(os.environ):
            config.setdefault("retries", {"mode": "standard", "max_attempts": 3})
        options["config_kwargs"] = config
    return options


def delta_options(url: str, storage_options: dict[str, Any]) -> dict[str, str]:
    """``deltalake``'s options for a table's URL; what it finds in the environment by itself is left out."""
    if protocol_of(url) in HTTP | HUB:
        raise UserError(f"{url}: http and hf are for reading; a table needs a store that can be written to")
    options, protocol = own_options(url, storage_options), protocol_of(url)
    if protocol in S3:
        found = _s3(options)
    elif protocol in GS:
        found = _google(options)
    elif protocol in AZURE:
        found = _azure(options)
    else:
        found = {}
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def refuse_secrets(url: str) -> None:
    """Raises UserError for a URL that carries a password or a signature: URLs go into the table and into logs."""
    if protocol_of(url) == "file":
        return
    parts = urlsplit(url)
    signed = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if SIGNED.search(name)]
    if parts.password is not None or signed:
        what = f"the parameter {signed[0]}" if signed else "a password"
        raise UserError(
            f"a URL of {parts.hostname} carries {what}, which would be written to the table and to logs:"
            " put it into storage_options or the environment"
        )


def _s3(options: dict[str, Any]) -> dict[str, Any]:
    client = options.get("client_kwargs") or {}
    named = {
        "AWS_ACCESS_KEY_ID": options.get("key") or options.get("username"),
        "AWS_SECRET_ACCESS_KEY": options.get("secret") or options.get("password"),
        "AWS_SESSION_TOKEN": options.get("token"),
        "AWS_REGION": options.get("region") or client.get("region_name"),
        "AWS_ENDPOINT_URL": options.get("endpoint_url") or client.get("endpoint_url"),
        "AWS_SKIP_SIGNATURE": "true" if options.get("anon") else None,
    }
    known = bool(named["AWS_ACCESS_KEY_ID"] or options.get("anon"))
    found = _aws_session(options.get("profile"), credentials=not known)
    merged = {name: named.get(name) or found.get(name) for name in {**named, **found}}
    address = merged.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL", "")
    return merged | {"AWS_ALLOW_HTTP": "true" if str(address).startswith("http://") else None}


def _aws_session(profile: str | None, *, credentials: bool) -> dict[str, str | None]:
    """Endpoint, region and credentials of an AWS profile; deltalake reads no profiles.

    Temporary credentials of a profile (SSO, an assumed role) are passed as they are now: a run that outlives them
    stops with an error, and continues when it is started again.
    """
    if profile is None and not {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} & set(os.environ):
        return {}
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:  # then fsspec cannot open the URL either, and says what to install
        return {}
    session = botocore.session.Session(profile=profile)
    try:
        section = session.get_scoped_config()
        services = session.full_config.get("services", {}).get(section.get("services"), {})
        endpoint = services.get("s3", {}).get("endpoint_url") or section.get("endpoint_url")
        found = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": session.get_config_variable("region")}
        keys = session.get_credentials() if credentials else None
        if keys is not None and keys.method not in NATIVE:
            now = keys.get_frozen_credentials()
            found |= {
                "AWS_ACCESS_KEY_ID": now.access_key,
                "AWS_SECRET_ACCESS_KEY": now.secret_key,
                "AWS_SESSION_TOKEN": now.token,
            }
    except botocore.exceptions.BotoCoreError as error:
        raise UserError(f"AWS profile: {' '.join(str(error).split())}") from error
    if "AWS_ENDPOINT_URL" in os.environ:  # as in the AWS libraries, the environment comes first
        found["AWS_ENDPOINT_URL"] = None
    return found


def _google(options: dict[str, Any]) -> dict[str, Any]:
    """gcsfs' ``token`` is a file, a parsed key, or the name of a login method; deltalake finds the last itself."""
    token = options.get("token")
    if isinstance(token, dict):
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(token)}
    if token == "anon":
        return {"GOOGLE_SKIP_SIGNATURE": "true"}
    if isinstance(token, str) and token not in ("google_default", "cloud", "cache", "browser"):
        return {"GOOGLE_SERVICE_ACCOUNT": os.path.expanduser(token)}
    return {}


def _azure(options: dict[str, Any]) -> dict[str, Any]:
    """adlfs' option names, and the connection string, which deltalake does not know."""
    text = options.get("connection_string") or os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    parts = dict(item.split("=", 1) for item in text.split(";") if "=" in item)
    host = options.get("account_host")
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": options.get("account_name") or parts.get("AccountName"),
        "AZURE_STORAGE_ACCOUNT_KEY": options.get("account_key") or parts.get("AccountKey"),
        "AZURE_STORAGE_SAS_KEY": options.get("sas_token") or parts.get("SharedAccessSignature"),
        "AZURE_STORAGE_TENANT_ID": options.get("tenant_id"),
        "AZURE_STORAGE_CLIENT_ID": options.get("client_id"),
        "AZURE_STORAGE_CLIENT_SECRET": options.get("client_secret"),
        "AZURE_STORAGE_ENDPOINT": f"https://{host}" if host else parts.get("BlobEndpoint"),
        "AZURE_SKIP_SIGNATURE": "true" if options.get("anon") is True else None,
        "AZURE_ALLOW_HTTP": "true" if parts.get("BlobEndpoint", "").startswith("http://") else None,
    }
