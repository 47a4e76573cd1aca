"""The page: a tab a domain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from moe_apps.demos import TABS
from moe_apps.demos.trained_run import TrainedRun
from moe_apps.errors import ConfigError

LARGEST_UPLOAD = "100mb"
MOST_WAITING = 32
HEAD = """
# moe-apps
Mixture-of-Experts models on your own data: what they answer, how sure they are, and which expert
did what.
"""
FONT = ["system-ui", "sans-serif"]
"""Of the visitor's own system: nothing is fetched from elsewhere."""
CSS = """
.gradio-container {max-width: 1240px !important; width: 100% !important; margin: 0 auto}
@media (max-width: 480px) {.gradio-container {padding: 4px !important}}
"""


def build(domains: Sequence[str] = (), runs: Path = Path("runs")) -> gr.Blocks:
    """The page, not yet served.

    Args:
        domains: Names of domains; by default all that have a tab.
        runs: Folder of runs, or one run.

    Raises:
        ConfigError: A domain has no tab.
    """
    chosen = list(domains) or list(TABS)
    for name in chosen:
        if name not in TABS:
            raise ConfigError(f"{name}: has no demo; expected one of {', '.join(TABS)}")
    with gr.Blocks(title="moe-apps") as page:
        gr.Markdown(HEAD)
        with gr.Tabs():
            for name in chosen:
                module = import_module(TABS[name])
                with gr.Tab(module.TITLE, elem_id=f"tab-{name}"):
                    module.tab(TrainedRun(name, runs))
    return page


def theme() -> gr.themes.Base:
    """Labels as plain words, not as boxes; fonts of the visitor's own system."""
    made = gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=FONT)
    return made.set(
        background_fill_primary="*neutral_50",  # what Soft has; `set` would forget it
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_label_background_fill="*block_background_fill",
        block_label_background_fill_dark="*block_background_fill",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
        block_label_border_width="0px",
        block_label_border_width_dark="0px",
        block_label_shadow="none",
    )


def serve(page: gr.Blocks, port: int, host: str = "127.0.0.1", wait: bool = True) -> str:
    """Serve the page and return its address.

    Args:
        page: As `build` made it.
        port: Port to listen on; 0 for any that is free.
        host: Address to listen on.
        wait: Return only when the server is stopped.

    Raises:
        ConfigError: The port is taken.
    """
    page.queue(max_size=MOST_WAITING, default_concurrency_limit=1)
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port or None,
            max_file_size=LARGEST_UPLOAD,
            theme=theme(),
            css=CSS,
            ssr_mode=False,
            prevent_thread_lock=not wait,
            footer_links=["api", "settings"],
            show_error=True,
        )
    except OSError as error:
        raise ConfigError(f"--port {port}: {error}") from error
    return str(url)
