"""The tab of deraining: a photograph or a video in, the clear one out."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import cv2
import gradio as gr
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from moe_apps.demos.answering import PROGRESS, answering, shown_in
from moe_apps.demos.charts import expert_shares
from moe_apps.demos.trained_run import TrainedRun, once_a_run
from moe_apps.errors import DataError
from moe_apps.pipelines.deraining.config import Kind, Level
from moe_apps.pipelines.run_folder import RunFolder

TITLE = "Deraining"
LONGEST_VIDEO = 10.0
"""Seconds of a video that are restored; more takes minutes on a CPU."""
SAMPLE_LEVELS: tuple[Level, ...] = ("medium", "light", "heavy")
NO_FILE = "Choose a photograph first: upload one, or take a sample."

Pixels = npt.NDArray[np.uint8]


@once_a_run
def _loaded(run: RunFolder) -> Any:
    from moe_apps.pipelines.deraining.config import DerainingConfig
    from moe_apps.pipelines.deraining.restoration import ImageRestorer
    from moe_apps.pipelines.tracked_run import load_model

    config = run.read_config(DerainingConfig)
    return config, ImageRestorer(load_model(run.model_file), config.prediction)


class Derainer:
    """What the buttons of the tab do.

    Attributes:
        source: Where the model comes from.
    """

    def __init__(self, source: TrainedRun) -> None:
        self.source = source

    @answering
    def derain(
        self, photo: str | None, clean: str | None = None, progress: gr.Progress = PROGRESS
    ) -> tuple[Any, ...]:
        """Restore a photograph.

        Args:
            photo: File of the photograph.
            clean: File of the truth, where it is known.
            progress: Gradio's.

        Returns:
            before and after, file of the result, what was done, shares of the experts, map.
        """
        from moe_apps.pipelines.deraining.image_files import read_picture, write_picture
        from moe_apps.pipelines.deraining.metrics import psnr, to_8_bit
        from moe_apps.pipelines.deraining.routing import expert_names, layer_names

        if not photo:
            raise DataError(NO_FILE)
        run = self.source.get(shown_in(progress))
        config, restorer = _loaded(run)
        picture = read_picture(Path(photo), config.data.max_megapixels)
        before = to_8_bit(picture.unit)
        total, done = restorer.tiles(before), 0

        def one_more() -> None:
            nonlocal done
            done += 1
            progress((done, total), desc="restoring", unit="tiles")

        progress(0.0, desc="restoring")
        started = time.perf_counter()
        restored = restorer.restore(before, one_more)
        seconds = time.perf_counter() - started
        after = to_8_bit(restored)
        file = Path(tempfile.mkdtemp()) / f"{Path(photo).stem}_clear.png"
        write_picture(file, picture.with_unit(restored))
        height, width = before.shape[:2]
        pieces = "in one piece" if total == 1 else f"in {total} tiles"
        facts = [f"{width} x {height} pixels {pieces}, {seconds:.1f} s."]
        if clean:
            truth = to_8_bit(read_picture(Path(clean)).unit)
            if truth.shape == before.shape:
                was, now = psnr(before, truth), psnr(after, truth)
                facts.append(
                    f"**PSNR {was:.1f} dB before, {now:.1f} dB after ({now - was:+.1f}).**"
                )
        facts.append(self.source.about(run))
        part = _part(before)
        found = restorer.explain(part)
        shares, where = None, _taken(before, after)
        if "routing" in found:
            routing = found["routing"]
            layers = routing.reshape(-1, *routing.shape[-2:]).mean(axis=0)
            load = {"load": layers.tolist()}
            shares = expert_shares(layers, layer_names(load, config), expert_names(load, config))
            if routing.ndim == 4:
                where = _expert_map(part, routing)
        return (before, after), str(file), "  \n".join(facts), shares, where

    @answering
    def derain_video(self, video: str | None, progress: gr.Progress = PROGRESS) -> tuple[str, str]:
        """Restore the beginning of a video, frame by frame.

        Returns:
            file of the result, and what was done.
        """
        from moe_apps.pipelines.deraining.video import restore_video

        if not video:
            raise DataError("Choose a video first.")
        run = self.source.get(shown_in(progress))
        _, restorer = _loaded(run)
        folder = Path(tempfile.mkdtemp())
        frames = 0

        def one_more() -> None:
            nonlocal frames
            frames += 1
            progress(None, desc=f"{frames} frames restored")

        source = _beginning(Path(video), folder)
        target = folder / f"{Path(video).stem}_clear.mp4"
        count = restore_video(source, target, restorer, one_more)
        note = self.source.about(run)
        return str(target), f"{count} frames, the first {LONGEST_VIDEO:g} s at most.  \n{note}"

    @answering
    def add_weather(
        self, photo: str | None, kind: Kind, level: Level, angle: float, seed: float
    ) -> tuple[str, str]:
        """Put made weather on a clean photograph.

        Returns:
            file with weather, and the clean file, for comparison.
        """
        from moe_apps.pipelines.deraining.image_files import Picture, read_picture, write_picture
        from moe_apps.pipelines.deraining.metrics import to_8_bit
        from moe_apps.pipelines.deraining.weather import Weather, degrade

        if not photo:
            raise DataError(NO_FILE)
        clean = read_picture(Path(photo)).unit
        weather = Weather(kind, level, angle=float(angle))
        made = degrade(clean, weather, np.random.default_rng(int(seed))).image
        folder = Path(tempfile.mkdtemp())
        rainy, truth = folder / f"{Path(photo).stem}_{kind}.png", folder / "clean.png"
        write_picture(rainy, Picture(to_8_bit(made)))
        write_picture(truth, Picture(to_8_bit(clean)))
        return str(rainy), str(truth)


def _part(image: Pixels, side: int = 512) -> Pixels:
    """The middle of an image: routing of a large one would take its memory in one piece."""
    top, left = (max(length - side, 0) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _expert_map(image: Pixels, routing: npt.NDArray[np.floating]) -> Pixels:
    """The image tinted by the strongest expert of each place, mean of the layers."""
    from matplotlib import colormaps

    strongest = routing.mean(axis=2).argmax(axis=-1).astype(np.uint8)
    height, width = image.shape[:2]
    large = cv2.resize(strongest, (width, height), interpolation=cv2.INTER_NEAREST)
    tints = 255 * colormaps["tab10"](large % 10)[..., :3]
    return np.asarray(0.55 * image + 0.45 * tints, np.uint8)


def _taken(before: Pixels, after: Pixels) -> Pixels:
    """What was taken away, four times as strong, so that one sees where the model acted."""
    return np.asarray(
        np.clip(4.0 * np.abs(before.astype(float) - after.astype(float)), 0, 255), np.uint8
    )


def _beginning(video: Path, folder: Path) -> Path:
    """The video, or a copy of its first seconds."""
    target = folder / f"start{video.suffix}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(video)]
    done = subprocess.run([*command, "-t", str(LONGEST_VIDEO), str(target)], capture_output=True)
    if done.returncode:
        raise DataError(f"{video.name}: is no video that can be read")
    return target


def _samples() -> list[str]:
    """Photographs with made streaks, written once."""
    from moe_apps.pipelines.deraining.image_files import Picture, write_picture
    from moe_apps.pipelines.deraining.metrics import to_8_bit
    from moe_apps.pipelines.deraining.sample_images import sample_images
    from moe_apps.pipelines.deraining.weather import Weather, degrade

    folder, files = Path(tempfile.mkdtemp()), []
    for image, level in zip(sample_images("test"), SAMPLE_LEVELS, strict=False):
        rainy = degrade(
            Picture(image.pixels).unit, Weather("streaks", level), np.random.default_rng(7)
        ).image
        file = folder / f"{Path(image.name).stem}, {level} rain.png"
        write_picture(file, Picture(to_8_bit(rainy)))
        files.append(str(file))
    return files


def tab(source: TrainedRun) -> None:
    """Fill the tab that is open in Gradio's context."""
    derainer = Derainer(source)
    with gr.Tabs():
        with gr.Tab("Photograph"), gr.Row():
            with gr.Column():
                photo = gr.Image(
                    type="filepath",
                    format="png",
                    sources=["upload", "clipboard"],
                    label="Photograph",
                    elem_id="derain-photo",
                )
                clean = gr.State(None)
                restore = gr.Button("Restore", variant="primary", elem_id="derain-restore")
                samples = _samples()
                names = [Path(file).stem for file in samples]
                gr.Examples(samples, photo, label="Samples", example_labels=names)
                with gr.Accordion("Put weather on a clean photograph", open=False):
                    kind = gr.Dropdown(get_args(Kind), value="streaks", label="Weather")
                    level = gr.Radio(get_args(Level), value="medium", label="Level")
                    angle = gr.Slider(-45, 45, value=10, step=1, label="Angle in degrees")
                    seed = gr.Number(0, label="Seed", precision=0)
                    add = gr.Button("Add weather")
            with gr.Column():
                slider = gr.ImageSlider(
                    label="Before and after", format="png", elem_id="derain-slider"
                )
                facts = gr.Markdown(elem_id="derain-facts")
                file = gr.DownloadButton("Download the result as PNG")
        with gr.Tab("Video"):
            with gr.Row():
                video = gr.Video(label="Video", sources=["upload"])
                clear = gr.Video(label="Restored", interactive=False)
            video_facts = gr.Markdown()
            restore_video = gr.Button("Restore the video", variant="primary")
    with gr.Row():
        shares = gr.Plot(label="Weight of experts by layer", elem_id="derain-shares")
        where = gr.Image(label="Experts by place, or else what was taken away (four times)")
    restore.click(
        derainer.derain,
        [photo, clean],
        [slider, file, facts, shares, where],
        api_name="derain",
        concurrency_id="deraining",
    )
    restore_video.click(
        derainer.derain_video,
        video,
        [clear, video_facts],
        api_name="derain_video",
        concurrency_id="deraining",
    )
    add.click(
        derainer.add_weather,
        [photo, kind, level, angle, seed],
        [photo, clean],
        api_name="add_weather",
    )
    photo.upload(lambda: None, None, clean, api_visibility="private")
