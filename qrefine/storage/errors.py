"""What a store's errors mean: whether to try again, and one line that says how to fix them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from qrefine.errors import BrokenRunError, UserError

FINAL = (
    UserError,
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
)
FINAL_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG}
# names of classes, since botocore and the like need not be installed
FINAL_NAMES = re.compile(r"Credential|Profile|ParamValidation|Config|Token|NotFound")
BROKEN_NAMES = re.compile(r"Payload|Connection|Incomplete")  # some carry a status of 400 that no server sent
TRANSIENT_STATUSES = {408, 409, 425, 429}


def transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: what is not known to be final counts as transient."""
    for cause in _causes(error):
        status = http_status(cause)
        if isinstance(cause, (TimeoutError, ConnectionError)) or BROKEN_NAMES.search(type(cause).__name__):
            return True
        if isinstance(cause, FINAL) or getattr(cause, "errno", None) in FINAL_NUMBERS:
            return False
        if status is not None and 400 <= status < 500 and status not in TRANSIENT_STATUSES:
            return False
        if FINAL_NAMES.search(type(cause).__name__):
            return False
    return True


def http_status(error: BaseException) -> int | None:
    """The HTTP status behind an error of a store's client or of deltalake; None if it has none."""
    told = re.search(r"↳ (\d{3}) [A-Z]", _plain(error))  # deltalake's errors are text
    if told:
        return int(told[1])
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = (
            getattr(response, "status_code", None)
            or getattr(error, "status", None)
            or getattr(error, "status_code", None)
            or getattr(error, "code", None)
        )
    try:
        return int(status) if status is not None else None
    except (TypeError, ValueError):
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def storage_error(url: str, error: Exception) -> UserError:
    """One line that says what a store refused and how to fix it."""
    return UserError(f"cannot use {url}: {_reason(error)} ({_hint(error)})")


def lost_store(url: str, error: Exception) -> UserError:
    """The error of a run that lost its store. A transient one says that the run can be continued as it is."""
    if not transient(error) or _refused(_reason(error)):
        return storage_error(url, error)
    return BrokenRunError(
        f"{url} cannot be reached any more: {_reason(error)}; what is committed stays: the same command continues"
    )


def _reason(error: Exception) -> str:
    """The error in one line. deltalake's errors repeat the whole request: only the store's answer is taken."""
    text = _plain(error)
    status = re.search(r"↳ (\d{3} [A-Z][A-Za-z ]+)$", text, re.MULTILINE)
    code = re.search(r"<Code>(\w+)</Code>", text)
    said = [found[1].strip() for found in (status, code) if found]
    if not said:  # s3fs errors often have no text, but the response that they wrap has
        answers = (getattr(cause, "response", None) for cause in _causes(error))
        errors = [answer.get("Error", {}) for answer in answers if isinstance(answer, dict)]
        said = [str(found["Code"]) for found in errors if found.get("Code")][:1]
        said += [" ".join(text.replace("↳", " ").split())] if text and text != "None" else []
    return ": ".join(dict.fromkeys(said)) or type(error).__name__


def _plain(error: BaseException) -> str:
    """An error's text without the colours that deltalake gives it."""
    return re.sub(r"\x1b\[\d*m", "", str(error))


def _refused(text: str) -> bool:
    return bool(re.search(r"\b(401|403)\b|NoSuchBucket|denied|forbidden|InvalidAccessKey|Signature", text, re.I))


def _hint(error: Exception) -> str:
    text, kind = _reason(error), type(error).__name__
    low = text.lower()
    if isinstance(error, ImportError):
        return "install the extra for that store: pip install 'qrefine[s3]', [gcs], [azure], [http] or [hf]"
    if "credential" in low or "credential" in kind.lower() or "169.254.169.254" in text:
        return "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or storage_options"
    if "NoSuchBucket" in text:
        return "there is no such bucket"
    if isinstance(error, PermissionError) or _refused(text):
        return "check the credentials' rights and the bucket's name"
    if any(word in low for word in ("connect", "resolve", "name or service", "timed out", "timeout")):
        return "check the address: AWS_ENDPOINT_URL or storage_options.endpoint_url"
    return "check the URL and storage_options"
