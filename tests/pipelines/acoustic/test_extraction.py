from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from moe_apps.pipelines.acoustic.building import feature_layer
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.extraction import Extractor
from moe_apps.pipelines.acoustic.inspect import inspect


def settings(cache: Path, **features: object) -> AcousticConfig:
    return AcousticConfig.model_validate(
        {
            "data": {"sample_rate": 8000, "segment": 1.0, "cache": str(cache)},
            "features": {"bands": 16, "f_min": 50, "demon_settings": {"sub_bands": 2}, **features},
        }
    )


def features_of(config: AcousticConfig, file: Path) -> np.ndarray:
    (_, inputs), _ = Extractor(feature_layer(config), config.data).of_file(file)
    return inputs["image"]


def test_the_cache_is_found_again_and_told_apart(sounds: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.flac"
    shutil.copy(sounds / "high/1.flac", file)
    config = settings(tmp_path / "cache")
    first = features_of(config, file)
    (cached,) = (tmp_path / "cache").glob("*.npz")
    arrays = dict(np.load(cached))
    np.savez(cached, **{**arrays, "image": arrays["image"] + 1})
    np.testing.assert_array_equal(features_of(config, file), first + 1)  # it was read
    features_of(settings(tmp_path / "cache", bands=20), file)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2
    shutil.copy(sounds / "high/2.flac", file)  # another content: another entry
    assert np.abs(features_of(config, file) - first).max() > 0
    cached.write_bytes(b"damaged")
    shutil.copy2(sounds / "high/1.flac", file)
    np.testing.assert_allclose(features_of(config, file), first, atol=1e-5)


def test_two_processes_may_write_one_cache(sounds: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "sys.path.insert(0, sys.argv[3])\n"
        "from moe_apps.pipelines.atomic_files import written_whole\n"
        "target = Path(sys.argv[1]); value = float(sys.argv[2])\n"
        "for _ in range(60):\n"
        "    with written_whole(target) as temporary:\n"
        "        np.savez(temporary, image=np.full(20000, value))\n"
    )
    target = tmp_path / "entry.npz"
    root = str(Path(__file__).resolve().parents[3])
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(target), str(n), root]) for n in (1, 2)
    ]
    while any(writer.poll() is None for writer in writers):
        if target.exists():
            image = np.load(target)["image"]
            assert len(set(image.tolist())) == 1  # of one writer, and whole
    assert all(writer.returncode == 0 for writer in writers)


def test_inspect_tells_what_there_is(sounds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    shutil.copytree(sounds, folder)
    shutil.copy(folder / "high/0.flac", folder / "high/copy.flac")
    (folder / "low/bad.wav").write_text("text")
    import soundfile

    soundfile.write(folder / "low/silent.wav", np.zeros(8000, np.float32), 8000)
    soundfile.write(folder / "low/loud.wav", np.sign(np.arange(8000) - 4000.5), 8000)
    found = inspect(folder)
    assert found["recordings"] == 19
    assert found["rates_hz"] == [8000, 16000] and found["channels"] == [1, 2]
    assert {row["class"]: row["recordings"] for row in found["classes"]} == {"high": 9, "low": 10}
    notes = " ".join(found["notes"])
    assert "1 silent" in notes and "1 clipped" in notes and "bad.wav" in notes
    assert "the same samples: high/0.flac, high/copy.flac" in notes
