"""What is tried again, what is not, and what a person reads in the end."""

from __future__ import annotations

import errno

import pytest

from qrefine.errors import BrokenRunError, UserError
from qrefine.storage import retry
from qrefine.storage.errors import lost_store, storage_error, transient
from qrefine.storage.retry import LONGEST_WAIT_S, retrying


class StoreError(Exception):
    """As botocore's: the answer lies in ``response``."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class AnswerError(Exception):
    """As aiohttp's: the status is an attribute."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


class ClientPayloadError(Exception):
    """As aiohttp's: a body that broke off; its parser says 400."""


class NoCredentialsError(Exception):
    pass


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FINAL = [
    FileNotFoundError(),
    PermissionError(),
    StoreError("AccessDenied", 403),
    AnswerError(404),
    NoCredentialsError(),
    OSError(errno.ENOSPC, "No space left on device"),
    caused(OSError(errno.EINVAL, None), StoreError("PreconditionFailed", 412)),
]
TRANSIENT = [
    OSError("connection reset"),
    EOFError(),
    TimeoutError(),
    StoreError("SlowDown", 503),
    AnswerError(429),
    caused(OSError(errno.EBUSY, None), StoreError("SlowDown", 503)),
    caused(TimeoutError(), StoreError("RequestTimeout", 400)),
    caused(ClientPayloadError("payload is not complete"), AnswerError(400)),
]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", found.append)
    return found


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception, waits: list[float]) -> None:
    answers = [error, error, None]

    def action() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "done"

    assert retrying(action, "it", retries=2) == "done"
    assert len(waits) == 2
    with pytest.raises(type(error)):
        retrying(lambda: (_ for _ in ()).throw(error), "it", retries=3)
    assert len(waits) == 5


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_what_will_not_pass_is_told_at_once(error: Exception, waits: list[float]) -> None:
    with pytest.raises(type(error)):
        retrying(lambda: (_ for _ in ()).throw(error), "it")
    assert waits == []
    assert not transient(error)


def test_waits_grow_to_a_bound_and_are_never_the_same(waits: list[float]) -> None:
    for failures in range(1, 12):
        for _ in range(20):
            retry.pause(failures, "it", OSError())
    groups = [waits[i : i + 20] for i in range(0, len(waits), 20)]
    assert all(len(set(group)) == 20 for group in groups)
    assert [max(group) for group in groups[:5]] == sorted(max(group) for group in groups[:5])
    assert max(waits) <= LONGEST_WAIT_S


DELTA_ERROR = """Generic S3 error
          \x1b[31m↳\x1b[0m Error performing GET http://h/b?list-type=2 in 5.4ms - non-2xx status code
            \x1b[31m↳\x1b[0m {status}
             \x1b[31m↳\x1b[0m <?xml version="1.0"?><Error><Code>{code}</Code><Message></Message></Error>"""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ImportError("Install s3fs to access S3"), "qrefine[s3]"),
        (RuntimeError("Unable to locate credentials"), "no credentials"),
        (PermissionError("Forbidden"), "Forbidden (check the credentials' rights"),
        (OSError("Access Denied"), "rights"),
        (caused(PermissionError(None), StoreError("SignatureDoesNotMatch", 403)), "SignatureDoesNotMatch (check"),
        (
            caused(FileNotFoundError(None), StoreError("NoSuchBucket", 404)),
            "NoSuchBucket (there is no such bucket)",
        ),
        (OSError("Could not connect to the endpoint URL"), "AWS_ENDPOINT_URL"),
        (
            OSError(DELTA_ERROR.format(status="404 Not Found", code="NoSuchBucket")),
            ": 404 Not Found: NoSuchBucket (",
        ),
        (
            OSError(DELTA_ERROR.format(status="403 Forbidden", code="AccessDenied")),
            "check the credentials' rights",
        ),
        (OSError("two\nlines"), "two lines (check the URL"),
        (OSError(), "OSError"),
    ],
)
def test_what_a_store_refuses_is_one_line_with_a_hint(error: Exception, text: str) -> None:
    found = str(storage_error("s3://b/k", error))
    assert found.startswith("cannot use s3://b/k: ")
    assert text in found
    assert not set(found) & {"\n", "\x1b", "↳"}


def test_a_run_that_loses_its_store_may_be_continued_and_one_that_is_refused_may_not() -> None:
    assert isinstance(lost_store("s3://b/k", OSError("connection reset")), BrokenRunError)
    for error in (PermissionError("Forbidden"), OSError(DELTA_ERROR.format(status="403 Forbidden", code="X"))):
        found = lost_store("s3://b/k", error)
        assert isinstance(found, UserError)
        assert not isinstance(found, BrokenRunError)
