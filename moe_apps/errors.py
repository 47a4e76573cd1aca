"""Errors that tell a user what to change: one line each, shown without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the caller gave; the message says what was found and what was expected."""


class ConfigError(UserError):
    """A setting that is unknown, of the wrong kind, or cannot be honoured here."""


class DataError(UserError):
    """A data file that cannot be used as it stands; names the file and the row or column."""


class RunError(UserError):
    """A run folder that is missing, incomplete, or already there."""
