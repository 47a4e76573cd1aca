"""What happens when a visitor asks: errors in words, never a stack trace."""

from __future__ import annotations

import functools
import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from moe_apps.errors import UserError

PROGRESS = gr.Progress()
"""Default of an argument, by which Gradio knows that it is to hand in its own."""

Given = ParamSpec("Given")
Found = TypeVar("Found")


def answering(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let a mistake of the visitor be shown as a message in the page.

    A file of theirs is called by its name there, not by where it was put.

    Example:
        >>> from moe_apps.errors import DataError
        >>> @answering
        ... def ask() -> None:
        ...     raise DataError("a.csv: is empty")
        >>> ask()
        Traceback (most recent call last):
        gradio.exceptions.Error: 'a.csv: is empty'
    """

    @functools.wraps(function)
    def asked(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise gr.Error(_by_name(str(error), args), print_exception=False) from None
        except gr.Error:
            raise
        except Exception:
            logging.getLogger("moe_apps.demos").exception("a request failed")
            raise gr.Error(
                "This could not be answered; the log of the demo says why.", print_exception=False
            ) from None

    return asked


def _by_name(message: str, given: Sequence[Any]) -> str:
    for one in given:
        if isinstance(one, str) and one and Path(one).is_absolute():
            message = message.replace(one, Path(one).name)
    # What was typed is put into a file too.
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/(?:[^/:]+/)*", "", message)


def shown_in(progress: gr.Progress) -> Callable[[float | None, str], None]:
    """Progress of a training as Gradio shows it."""

    def show(share: float | None, text: str) -> None:
        progress(share, desc=text)

    return show
