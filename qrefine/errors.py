"""Errors that a person can act on: one line that says what is wrong and how to mend it."""

from __future__ import annotations


class UserError(Exception):
    """The command line prints it without a traceback and leaves with ``exit_code``."""

    exit_code = 2


class TableBusyError(UserError):
    """Another live run holds the table's lease."""

    exit_code = 4


class BrokenRunError(UserError):
    """Ray itself broke down under a run; what is committed stays."""

    exit_code = 1
