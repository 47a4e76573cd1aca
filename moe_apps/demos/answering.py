"""What happens when a visitor asks: errors in words, never a stack trace."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from moe_apps.errors import UserError

PROGRESS = gr.Progress()
"""Default of an argument, by which Gradio knows that it is to hand in its own."""

Given = ParamSpec("Given")
Found = TypeVar("Found")


def answering(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let a mistake of the visitor be shown as a message in the page.

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
            raise gr.Error(str(error), print_exception=False) from None
        except gr.Error:
            raise
        except Exception:
            logging.getLogger("moe_apps.demos").exception("a request failed")
            raise gr.Error(
                "This could not be answered; the log of the demo says why.", print_exception=False
            ) from None

    return asked


def shown_in(progress: gr.Progress) -> Callable[[float | None, str], None]:
    """Progress of a training as Gradio shows it."""

    def show(share: float | None, text: str) -> None:
        progress(share, desc=text)

    return show


def about(title: str, is_small: bool, path: Any, domain: str) -> str:
    """A line that says which model answers.

    Example:
        >>> about("DRSformer", False, "runs/mine", "deraining")
        'Answered by DRSformer of `runs/mine`.'
    """
    if not is_small:
        return f"Answered by {title} of `{path}`."
    return (
        f"Answered by a small {title}, trained in a minute on sample data (`{path}`): it shows "
        f"how, not how well. For your own: `moe-apps train {domain} --data ... --output "
        f"runs/mine`, then `moe-apps demo {domain} --runs runs`."
    )
