"""Dates in the answers of S3. Three quarters of a listing's time went into botocore's parser of any date."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def parse_dates_fast(filesystem: Any) -> None:
    """Give s3fs' session, if it has none yet, a parser that knows the form of a listing's dates."""
    if getattr(filesystem, "session", None) is None:
        from aiobotocore.session import AioSession

        session = AioSession(**filesystem.kwargs)  # as s3fs makes it with its first request
        factory = session.get_component("response_parser_factory")
        factory.set_parser_defaults(timestamp_parser=parse_date)
        filesystem.session = session


def parse_date(value: Any) -> datetime:
    """The date of ``2026-01-31T12:00:00.000Z``, and of all other forms that S3 uses."""
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        from botocore.utils import parse_timestamp

        found: datetime = parse_timestamp(value)
        return found
