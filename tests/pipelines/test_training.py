from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

from moe_apps.errors import RunError
from moe_apps.layers import FFNExperts, MoE, TopK
from moe_apps.pipelines.batches import ShuffledBatches
from moe_apps.pipelines.checkpoint import Checkpoint
from moe_apps.pipelines.epoch_end import EpochEnd
from moe_apps.pipelines.optimisation import compile_model, precision
from moe_apps.pipelines.training import TrainSettings, fit, set_seed

EXAMPLES = 40
SETTINGS = TrainSettings(epochs=4, batch_size=8, learning_rate=0.05)


class Setup:
    """A tiny regression with dropout, so that random state matters."""

    def __init__(self, folder: Path, settings: TrainSettings = SETTINGS, seed: int = 3) -> None:
        set_seed(seed)
        self.folder, self.settings, self.traces = folder, settings, 0
        x = np.random.default_rng(0).normal(size=(EXAMPLES, 3)).astype("float32")
        y = x @ np.array([[1.0], [-2.0], [0.5]], "float32")
        self.x, self.y = x, y

        def gather(numbers):
            import tensorflow as tf

            return tf.gather(x, numbers), tf.gather(y, numbers)

        def loss(target, answer):
            self.traces += 1
            return keras.ops.mean(keras.ops.square(target - answer), axis=-1)

        self.data = ShuffledBatches(gather, EXAMPLES, settings.batch_size, seed)
        policy = precision(settings)
        self.model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dropout(0.3, dtype=policy),
                keras.layers.Dense(1, dtype=policy),
            ]
        )
        total_steps = settings.epochs * self.data.batches_per_epoch
        compile_model(self.model, settings, loss=loss, total_steps=total_steps)

    def error(self) -> dict[str, float]:
        answers = keras.ops.convert_to_numpy(self.model(self.x))
        return {"mse": float(np.mean((answers - self.y) ** 2))}

    def fit(self, **changes):
        options = {"validate": self.error, "monitor": "mse", **changes}
        return fit(
            self.model,
            self.data,
            self.settings,
            checkpoint=self.folder / "checkpoint",
            history_file=self.folder / "history.csv",
            **options,
        )


def without_time(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def test_training_learns_and_writes_its_history(tmp_path):
    setup = Setup(tmp_path)
    before = setup.error()["mse"]
    reported = []
    result = setup.fit(on_epoch=[lambda epoch, logs: reported.append((epoch, logs["mse"]))])
    assert result.best < 0.75 * before
    assert setup.error()["mse"] == pytest.approx(result.best)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [(int(row["epoch"]), float(row["mse"])) for row in rows] == reported
    assert set(rows[0]) == {"epoch", "loss", "learning_rate", "seconds", "mse"}
    assert result.step_seconds > 0


def test_one_trace_serves_all_epochs(tmp_path):
    short = Setup(tmp_path / "a", SETTINGS.model_copy(update={"epochs": 1}))
    long = Setup(tmp_path / "b")
    for setup in (short, long):
        setup.folder.mkdir()
        setup.fit()
    assert short.traces == long.traces > 0


def test_same_seed_same_history_other_seed_another(tmp_path):
    histories = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        result = Setup(tmp_path / name, seed=seed).fit()
        histories.append(without_time(result.history))
    assert histories[0] == histories[1] != histories[2]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.8, "gradient_accumulation": 2},
        {"precision": "mixed_float16", "schedule": "constant", "warmup_fraction": 0.0},
    ],
    ids=["plain", "ema-accumulation", "float16-constant"],
)
def test_resumed_training_ends_like_an_uninterrupted_one(tmp_path, changes):
    settings = SETTINGS.model_copy(update=changes)
    (tmp_path / "whole").mkdir()
    whole = Setup(tmp_path / "whole", settings)
    expected = whole.fit()

    (tmp_path / "parts").mkdir()
    parts = Setup(tmp_path / "parts", settings)

    def stop_after_second_epoch(epoch, logs):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        parts.fit(on_epoch=[stop_after_second_epoch])

    again = Setup(tmp_path / "parts", settings, seed=99)  # other weights, until they are restored
    again.data = whole.data
    epochs = []
    result = again.fit(resume=True, on_epoch=[lambda epoch, logs: epochs.append(epoch)])
    assert epochs == [3, 4]
    assert without_time(result.history) == without_time(expected.history)
    for mine, theirs in zip(again.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_interrupt_within_an_epoch_leaves_usable_weights(tmp_path):
    setup = Setup(tmp_path, SETTINGS.model_copy(update={"ema": 0.5}))
    gather = setup.data.gather
    calls = {"steps": 0}

    def interrupting(numbers):
        import tensorflow as tf

        def count():
            calls["steps"] += 1
            if calls["steps"] == 8:  # the second epoch's third batch
                os.kill(os.getpid(), signal.SIGINT)
            return np.int64(0)

        tick = tf.py_function(count, [], tf.int64)
        tick.set_shape([])
        return gather(numbers + tick)

    setup.data = ShuffledBatches(interrupting, EXAMPLES, 8, 3)
    with pytest.raises(KeyboardInterrupt):
        setup.fit()
    interrupted = tmp_path / "checkpoint" / "interrupted.weights.h5"
    other = Setup(tmp_path / "other", setup.settings)
    other.model.load_weights(interrupted)
    assert np.isfinite(other.error()["mse"])

    resumed, whole = Setup(tmp_path, setup.settings), Setup(tmp_path / "other", setup.settings)
    resumed.fit(resume=True)
    assert not interrupted.exists()
    whole.folder.mkdir()
    whole.fit()
    np.testing.assert_array_equal(resumed.model.get_weights()[0], whole.model.get_weights()[0])


def test_validation_sees_averaged_weights_and_training_goes_on_with_its_own(tmp_path):
    setup = Setup(tmp_path, SETTINGS.model_copy(update={"ema": 0.9, "epochs": 1}))
    seen = []

    def validate():
        seen.append([np.array(weight) for weight in setup.model.get_weights()])
        return setup.error()

    setup.fit(validate=validate)
    # After the end the best (averaged) weights are in the model; the saved state has both.
    for mine, theirs in zip(setup.model.get_weights(), seen[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    raw = Setup(tmp_path, setup.settings)
    Checkpoint(tmp_path / "checkpoint", setup.settings).restore(raw.model)
    assert not np.allclose(raw.model.get_weights()[0], seen[0][0])


def test_patience_stops_and_the_best_epoch_is_kept(tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 20, "patience": 2})
    setup = Setup(tmp_path, settings)
    values = iter([5.0, 3.0, 4.0, 3.0, 1.0])
    weights = []

    def validate():
        weights.append(setup.model.get_weights())
        return {"score": next(values)}

    result = setup.fit(validate=validate, monitor="score")
    assert (result.epochs, result.best_epoch, result.best) == (4, 2, 3.0)
    np.testing.assert_array_equal(setup.model.get_weights()[0], weights[1][0])
    assert not np.array_equal(weights[1][0], weights[3][0])

    done = Setup(tmp_path, settings, seed=9)
    again = done.fit(validate=validate, monitor="score", resume=True)
    assert again == result
    np.testing.assert_array_equal(done.model.get_weights()[0], weights[1][0])


def test_largest_value_is_best_in_mode_max(tmp_path):
    values = iter([1.0, 3.0, 2.0, 2.5])
    result = Setup(tmp_path).fit(
        validate=lambda: {"score": next(values)}, monitor="score", mode="max"
    )
    assert (result.best_epoch, result.best) == (2, 3.0)


def test_an_infinite_loss_is_an_error_with_advice(tmp_path):
    setup = Setup(tmp_path)
    setup.model.set_weights([np.full((3, 1), np.nan, "float32"), np.zeros(1, "float32")])
    with pytest.raises(RunError, match=r"became nan in epoch 1: lower train\.learning_rate"):
        setup.fit()
    assert not (tmp_path / "history.csv").exists()


def test_resume_with_other_settings_is_refused(tmp_path):
    Setup(tmp_path, SETTINGS.model_copy(update={"epochs": 1})).fit()
    changed = SETTINGS.model_copy(update={"epochs": 1, "weight_decay": 0.5})
    with pytest.raises(RunError, match=r"train\.weight_decay 0\.01.*0\.5"):
        Setup(tmp_path, changed).fit(resume=True)


def test_resume_without_a_checkpoint_starts_anew(tmp_path, capsys):
    assert Setup(tmp_path).fit(resume=True).epochs == 4
    assert "training starts anew" in capsys.readouterr().err


def test_a_new_training_does_not_go_on_from_an_old_checkpoint(tmp_path):
    Setup(tmp_path).fit()
    epochs = []
    Setup(tmp_path).fit(on_epoch=[lambda epoch, logs: epochs.append(epoch)])
    assert epochs == [1, 2, 3, 4]


def test_a_damaged_checkpoint_is_named(tmp_path):
    setup = Setup(tmp_path)
    setup.fit()
    file = tmp_path / "checkpoint" / "epoch-4.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match=r"epoch-4\.npz: does not fit this model"):
        setup.fit(resume=True)


def test_routing_that_was_not_followed_is_no_value():
    """On JAX, `fit` leaves the metrics of layers at 0; a load of 0 would be a wrong figure."""
    seen, silent = (MoE(TopK(k=1), FFNExperts(2, 3), name=name) for name in ("seen", "silent"))
    model = keras.Sequential([keras.Input((2,)), seen, silent])
    seen.tracker.update_state(load=[0.75, 0.25], entropy=0.5, drop_rate=0.0)
    end = EpochEnd.__new__(EpochEnd)
    keras.callbacks.Callback.__init__(end)
    end.set_model(model)
    names = {"silent/load_0", "silent/load_1", "silent/entropy", "silent/drop_rate"}
    assert end._silent() == names
