"""Training, judging, predicting and exporting, through the doors that users have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moe_apps import api
from moe_apps.errors import UserError
from moe_apps.pipelines.deraining.image_files import read_picture
from moe_apps.pipelines.run_folder import RunFolder

# Compiling MoFME and the U-Net takes minutes on two cores.
pytestmark = pytest.mark.slow

SMALL = [
    "data.kinds=[streaks, snow]",
    "data.levels=[heavy]",
    "data.test_size=32",
    "model.name=mofme",
    "model.num_experts=4",
    "train.epochs=2",
    "train.steps_per_epoch=3",
    "train.batch_size=2",
    "train.patch=16",
    "train.ema=0.5",
    "evaluation.validation_images=2",
    "prediction.tile=32",
    "prediction.overlap=8",
    "prediction.whole_megapixels=0.01",
    "prediction.sheet=true",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, dict]:
    run = tmp_path_factory.mktemp("runs") / "small"
    return run, api.train("deraining", set=SMALL, output=run, seed=3)


def test_a_run_has_all_that_users_look_for(trained):
    run, metrics = trained
    for name in ("config.yaml", "model.keras", "metrics.json", "history.csv", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert (run / "saved_model" / "1" / "saved_model.pb").is_file()
    figures = {file.stem for file in (run / "figures").iterdir()}
    assert figures >= {
        "comparison",
        "gain_by_weather",
        "training",
        "experts_by_kind",
        "expert_maps",
    }
    assert set(metrics["baselines"]) == {"input", "median", "bilateral", "guided", "u_net"}
    for scores in (metrics["test"], metrics["dense_twin"], *metrics["baselines"].values()):
        assert scores["psnr"] > 5 and set(scores["by_kind"]) == {"streaks", "snow"}
    assert metrics["baselines"]["input"]["gain"] == 0
    assert metrics["parameters"]["u_net"] >= metrics["parameters"]["total"]
    np.testing.assert_allclose(np.sum(metrics["routing"]["load"], axis=1), 1, atol=1e-5)
    assert metrics["data"]["protocol"] == "A"
    assert json.loads((run / "metrics.json").read_text())["test"] == metrics["test"]


def test_judged_again_it_scores_the_same(trained):
    run, metrics = trained
    again = api.evaluate(run)
    assert again["test"]["psnr"] == pytest.approx(metrics["test"]["psnr"], abs=1e-3)
    assert again["dense_twin"]["psnr"] == pytest.approx(metrics["dense_twin"]["psnr"], abs=1e-3)


def test_the_same_seed_gives_the_same_result(trained, tmp_path):
    again = api.train("deraining", set=SMALL, output=tmp_path / "again", seed=3)
    assert again["test"]["psnr"] == pytest.approx(trained[1]["test"]["psnr"], abs=1e-4)


def test_other_pairs_are_judged_with_their_own_protocol(trained, tmp_path, draw, save):
    save(tmp_path / "DID-Data" / "input" / "1.png", draw(0))
    save(tmp_path / "DID-Data" / "target" / "1.png", draw(1))
    metrics = api.evaluate(trained[0], data=tmp_path / "DID-Data")
    assert metrics["data"]["protocol"] == "B" and metrics["data"]["test_pairs"] == 1
    assert (
        set(metrics["test"]["by_image"]) == {"1.png"}
        or "input/1.png" in metrics["test"]["by_image"]
    )


def test_drsformer_goes_all_the_way_too(tmp_path):
    settings = [text for text in SMALL if not text.startswith("model.")]
    metrics = api.train("deraining", set=[*settings, "model.width=4"], output=tmp_path / "run")
    assert metrics["system"] == "drsformer" and len(metrics["routing"]["load"]) == 8
    assert (tmp_path / "run" / "saved_model" / "1" / "saved_model.pb").is_file()


# === Predicting ===


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (30, 41), (150, 120)])
def test_images_of_any_size_are_restored(trained, tmp_path, draw, save, size):
    source = save(tmp_path / "a.png", draw(0, *size))
    result = api.predict(trained[0], input=source, output=tmp_path / "b.png")
    assert result["rows"] == 1
    restored = read_picture(tmp_path / "b.png").pixels
    assert restored.shape == (*size, 3)
    assert np.abs(restored.astype(float) - draw(0, *size)).mean() < 60
    assert (tmp_path / "b_sheet.png").is_file()


def test_a_folder_is_restored_and_bad_files_are_named(trained, tmp_path, draw, save):
    save(tmp_path / "in" / "a.jpg", draw(0))
    save(tmp_path / "in" / "a.png", draw(1))
    save(tmp_path / "in" / "deep" / "b.bmp", draw(2))
    cmyk = Image.fromarray(draw(3)).convert("CMYK")
    cmyk.save(tmp_path / "in" / "cmyk.jpg")
    (tmp_path / "in" / "zero.png").write_bytes(b"")
    result = api.predict(trained[0], input=tmp_path / "in", output=tmp_path / "out")
    names = {
        file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.png")
    }
    assert names == {"a.png", "a_png.png", "deep/b.png", "cmyk.png", "sheet.png"}
    assert result["rows"] == 4 and any("zero.png: is empty" in note for note in result["notes"])


@pytest.mark.parametrize(
    "make, output, words",
    [
        (lambda p: (p / "a.png").write_bytes(b"text"), "b.png", "is no image"),
        (lambda p: (p / "a.png").write_bytes(b""), "b.png", "empty"),
        (lambda p: Image.new("RGB", (4, 4)).save(p / "a.png"), "b.gif", "expected a name"),
        (lambda p: Image.new("RGB", (4, 4)).save(p / "a.png"), "a.png", "is the input"),
        (lambda p: Image.new("RGB", (4, 4)).save(p / "a.png"), "no/b.png", "folder does not exist"),
    ],
)
def test_what_cannot_be_restored_leaves_nothing(trained, tmp_path, make, output, words):
    make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=words):
        api.predict(trained[0], input=tmp_path / "a.png", output=tmp_path / output)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_video_is_restored_frame_by_frame(trained, tmp_path):
    import imageio_ffmpeg

    frames = [np.full((34, 45, 3), 20 * n, np.uint8) for n in range(4)]
    writer = imageio_ffmpeg.write_frames(
        str(tmp_path / "a.avi"),
        (45, 34),
        fps=5,
        macro_block_size=1,
        codec="mpeg4",
        pix_fmt_out="yuv420p",
    )
    writer.send(None)
    for frame in frames:
        writer.send(frame)
    writer.close()
    result = api.predict(trained[0], input=tmp_path / "a.avi", output=tmp_path / "b.mp4")
    assert result["rows"] == 4
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "b.mp4"))
    assert next(reader)["size"] == (46, 34)
    assert len(list(reader)) == 4


def test_a_file_that_is_no_video_says_so(trained, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(UserError, match=r"a\.mp4: is no video"):
        api.predict(trained[0], input=tmp_path / "a.mp4", output=tmp_path / "b.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


# === Serving ===

ALONE = """
import sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
image = np.load(sys.argv[2], allow_pickle=False)
answer = model.signatures["serving_default"](images=tf.constant(image))["restored"].numpy()
encoded = tf.io.encode_png(image[0])
other = model.signatures["encoded_image"](encoded=encoded)
assert np.array_equal(other["restored"].numpy(), answer[0])
assert np.array_equal(tf.io.decode_png(other["png"]).numpy(), answer[0])
explained = model.signatures["explain"](images=tf.constant(image))
assert np.array_equal(explained["restored"].numpy(), answer)
weights = explained["expert_weights"].numpy()
assert weights.shape == (2, 3, 4, 2, 4) and np.allclose(weights.sum(axis=-1), 1, atol=1e-5)
assert explained["uncertainty"].shape == (2, 3, 4)
assert answer.dtype == np.uint8 and "moe_apps" not in sys.modules
np.save(sys.argv[3], answer)
"""


def test_the_saved_model_answers_alone(trained, tmp_path, draw):
    from moe_apps.pipelines.deraining.config import DerainingConfig
    from moe_apps.pipelines.deraining.restoration import ImageRestorer, answers
    from moe_apps.pipelines.tracked_run import load_model

    run = RunFolder.open(trained[0])
    image = np.stack([draw(0, 21, 30), draw(1, 21, 30)])
    np.save(tmp_path / "image.npy", image)
    files = [run.saved_model / "1", tmp_path / "image.npy", tmp_path / "answer.npy"]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, files)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    settings = run.read_config(DerainingConfig).prediction
    answer = answers(ImageRestorer(load_model(run.model_file), settings))
    expected = np.stack([answer(one) for one in image])
    served = np.load(tmp_path / "answer.npy")
    assert np.abs(served.astype(int) - expected).max() <= 1


def test_wrong_settings_are_one_line(tmp_path):
    for setting, words in (
        ("model.preset=huge", "model.preset"),
        ("train.patch=20", "multiple of 8"),
        ("prediction.overlap=200", "more than half the tile"),
    ):
        with pytest.raises(UserError, match=words):
            api.train("deraining", set=[setting], output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
