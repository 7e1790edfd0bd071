"""Dates of S3 are read as botocore reads them."""

from __future__ import annotations

from typing import Any

import pytest
import s3fs
from botocore.utils import parse_timestamp

from qrefine.storage.dates import parse_date
from qrefine.storage.store import Store


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-31T12:00:00.000Z",
        "2026-01-31T12:00:00Z",
        "Wed, 12 Oct 2009 17:50:00 GMT",
        1795725740,
        "1795725740.5",
    ],
)
def test_a_date_is_what_botocore_makes_of_it(value: Any) -> None:
    found = parse_date(value)
    assert found == parse_timestamp(value)
    assert found.utcoffset() == parse_timestamp(value).utcoffset()


def test_a_profile_stays_that_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.at("s3://bucket/folder", {"profile": "other", "skip_instance_cache": True})
    assert store.filesystem.session.profile == "other"
    assert s3fs.S3FileSystem(profile="other", skip_instance_cache=True).session is None
