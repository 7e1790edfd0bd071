"""Errors that a person can act on: one line that says what is wrong and how to fix it."""

from __future__ import annotations

MESSAGE_CHARS = 200


class UserError(Exception):
    """The command line prints it without a traceback and exits with ``exit_code``."""

    exit_code = 2


class TableBusyError(UserError):
    """Another live run holds the table's lease."""

    exit_code = 4


class BrokenRunError(UserError):
    """Ray itself failed during a run; what is committed stays."""

    exit_code = 1


class NotFiniteError(ValueError):
    """A model gave values that are not finite; the image is kept as it came."""


def one_line(error: BaseException) -> str:
    """An error's message without line breaks, cut to MESSAGE_CHARS; the error's class if it has no message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MESSAGE_CHARS else text[:MESSAGE_CHARS] + " ..."
