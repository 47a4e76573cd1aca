"""Videos, frame by frame, by the ffmpeg that the package imageio-ffmpeg brings."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from moe_apps.errors import DataError
from moe_apps.pipelines.atomic_files import written_whole
from moe_apps.pipelines.deraining.metrics import to_8_bit
from moe_apps.pipelines.deraining.restoration import ImageRestorer

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")


def restore_video(
    source: Path, target: Path, restorer: ImageRestorer, on_frame: Callable[[], None]
) -> int:
    """Restore a video frame by frame; one frame is in memory at a time. Sound is not kept.

    Frames are restored one by one, so what flickers in them may flicker in the result.

    Args:
        source: video file.
        target: video file to write (H.264, or the suffix's usual codec).
        restorer: restores images.
        on_frame: called after each frame.

    Returns:
        number of frames.

    Raises:
        DataError: the file is no video that can be read, or has no frame.
    """
    frames = imageio_ffmpeg.read_frames(str(source), pix_fmt="rgb24")
    try:
        facts: dict[str, Any] = next(frames)
    except (OSError, StopIteration, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[-200:]
        raise DataError(f"{source}: is no video that can be read: {reason}") from None
    width, height = facts["size"]
    count = 0
    with written_whole(target) as temporary:
        # Blocks of 2 x 2 pixels share a colour, so odd sides cannot be encoded: macro_block_size
        # 2 would stretch, and a column more is cut by players, so it is mirrored on.
        even = (height + height % 2, width + width % 2)
        writer = imageio_ffmpeg.write_frames(
            str(temporary), even[::-1], fps=facts["fps"], quality=8, macro_block_size=1
        )
        writer.send(None)
        try:
            for content in frames:
                frame = np.frombuffer(content, np.uint8).reshape(height, width, 3)
                restored = to_8_bit(restorer.restore(frame))
                edge = [
                    (0, wanted - had) for wanted, had in zip(even, (height, width), strict=True)
                ]
                writer.send(np.ascontiguousarray(np.pad(restored, (*edge, (0, 0)), mode="edge")))
                count += 1
                on_frame()
        except (OSError, subprocess.SubprocessError) as error:
            raise DataError(f"{target}: cannot be written: {error}") from None
        finally:
            writer.close()
            frames.close()
        if not count:
            raise DataError(f"{source}: has no frame that can be read")
    return count
