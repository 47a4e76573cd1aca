"""TensorFlow Serving loads a model by the same library, not by Python's TensorFlow."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.serving.server.loaded_model import LoadedModel
from tiny_forecaster import TinyForecasting, history
from toy_saved_model import ROWS

SOURCE = Path(__file__).with_name("predict.c")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        pytest.skip("no C compiler")
    libraries = Path(tf.sysconfig.get_lib())
    found = [
        *libraries.glob("libtensorflow_cc.so*"),
        *libraries.glob("libtensorflow_framework.so*"),
    ]
    if len(found) < 2 or not (libraries / "include/tensorflow/c/c_api.h").is_file():
        pytest.skip("this TensorFlow comes without its C library")
    folder = tmp_path_factory.mktemp("c")
    # Linking with the library itself, of a gigabyte, takes minutes; its names are enough.
    names = sorted(set(re.findall(r"\bTF_[A-Z]\w+(?=\()", SOURCE.read_text())))
    (folder / "names.c").write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    library = folder / "libtensorflow_cc.so.2"
    soname = f"-Wl,-soname,{library.name}"
    commands = [
        [compiler, "-shared", "-fPIC", soname, str(folder / "names.c"), "-o", str(library)],
        [
            *(compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", str(SOURCE)),
            *(f"-isystem{libraries / 'include'}", str(library), f"-Wl,-rpath,{libraries}"),
            *("-o", str(folder / "predict")),
        ],
    ]
    for command in commands:
        subprocess.run(command, check=True, timeout=600)
    return folder / "predict"


def ask(program: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, folder, *map(str, arguments)], capture_output=True, text=True, timeout=600
    )


def tensor(name: str, array: np.ndarray) -> list[object]:
    kind = "f" if array.dtype == np.float32 else "i"
    return [name, kind, array.ndim, *array.shape, *array.reshape(-1).tolist()]


def test_a_forecaster_answers_without_python(
    program: Path, run: RunFolder, tiny_domain: TinyForecasting
) -> None:
    folder = run.saved_model / "1"
    model = LoadedModel("tiny", 1, folder)
    signature = model.signatures["serving_default"]
    inputs = {"history": history(2), "horizon": np.array(4, np.int32)}
    expected = model.run(signature, inputs, ("forecast",), 60)["forecast"]
    model.release()
    arguments = [part for n, a in inputs.items() for part in tensor(signature.inputs[n].tensor, a)]
    output = signature.outputs["forecast"].tensor
    done = ask(program, folder, *arguments, "--", output)
    assert done.returncode == 0, done.stderr
    answer = np.array(done.stdout.split(), np.float32).reshape(2, 4)
    np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_the_toy_answers_too(program: Path, toy: Path) -> None:
    model = LoadedModel("toy", 1, toy / "toy" / "1")
    signature = model.signatures["serving_default"]
    model.release()
    x = tensor(signature.inputs["x"].tensor, ROWS)
    outputs = [signature.outputs[name].tensor for name in ("y", "total")]
    done = ask(program, toy / "toy" / "1", *x, "--", *outputs)
    assert done.returncode == 0, done.stderr
    y, total = (np.array(line.split(), np.float32) for line in done.stdout.splitlines())
    np.testing.assert_allclose(y, 2 * ROWS.reshape(-1))
    np.testing.assert_allclose(total, ROWS.sum(axis=1))


def test_what_is_broken_is_said(program: Path, tmp_path: Path) -> None:
    done = ask(program, tmp_path, "--")
    assert done.returncode == 1
    assert "Could not find SavedModel" in done.stderr
