from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_modes import QUICKEST, array, in_mode
from moe_apps.models.forecasting import TimeMoEBackbone
from moe_apps.models.forecasting.time_moe_backbone import PointEmbedding
from moe_apps.registry import ROUTERS

SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "num_experts": 4}


def run(backbone: TimeMoEBackbone, values: np.ndarray, mask=None, mode=QUICKEST):
    mask = None if mask is None else ops.convert_to_tensor(mask)
    return in_mode(lambda x: backbone({"values": x, "mask": mask}), mode)(values)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 10)).astype("float32")


def test_points_are_embedded_by_the_formula_and_zero_embeds_to_zero(values):
    layer = PointEmbedding(8)
    embedded = array(layer(values))
    gate, up = layer.get_weights()
    hidden = values[..., None] * gate
    expected = hidden / (1 + np.exp(-hidden)) * (values[..., None] * up)
    np.testing.assert_allclose(embedded, expected, rtol=1e-5, atol=1e-6)
    assert not array(layer(np.zeros((1, 2), "float32"))).any()


def rms(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def test_blocks_are_pre_norm_with_residuals(values):
    backbone = TimeMoEBackbone(**SIZES)
    embed, attend, mix = (
        in_mode(backbone.get_layer(name), QUICKEST)
        for name in ("embedding", "attention_0", "moe_0")
    )
    hidden = embed(values)
    hidden = hidden + attend(rms(hidden))
    hidden = hidden + mix(rms(hidden))
    outputs = run(backbone, values)["hidden"]
    np.testing.assert_allclose(outputs, rms(hidden), rtol=1e-3, atol=1e-4)


def test_weights_start_as_the_code_starts_them():
    backbone = TimeMoEBackbone(**{**SIZES, "hidden_dim": 64, "intermediate_dim": 256})
    for variable in backbone.trainable_variables:
        weight = array(variable)
        if "bias" in variable.path:
            assert not weight.any()
        elif "norm" in variable.path:
            assert (weight == 1).all()
        elif weight.size > 10_000:
            np.testing.assert_allclose(weight.std(), 0.02, rtol=0.05)


def test_it_is_the_same_in_every_mode(values, mode):
    backbone = TimeMoEBackbone(**SIZES)
    expected = run(backbone, values)
    outputs = run(backbone, values, mode=mode)
    for name in ("hidden", "routing"):
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form, value", [("paper", 1), ("code", 2)])
def test_balance_loss_at_uniform_routing(values, form, value):
    sizes = {**SIZES, "num_layers": 2}
    backbone = TimeMoEBackbone(**sizes, balance_loss_weight=0.02, balance_form=form)
    for block in range(2):
        kernel = backbone.get_layer(f"moe_{block}").router.kernel
        kernel.assign(np.zeros(kernel.shape))
    mask = np.arange(10) >= [[0], [3], [6]]
    for arguments in ({"values": values, "mask": m} for m in (None, mask)):
        backbone(arguments, training=True)
        np.testing.assert_allclose(float(sum(backbone.losses)), 0.02 * value, rtol=1e-5)
    backbone({"values": values, "mask": None})
    assert not backbone.losses


def test_without_experts_it_is_dense_and_has_no_routing(values):
    backbone = TimeMoEBackbone(**{**SIZES, "num_experts": 0})
    assert set(backbone({"values": values, "mask": None}, training=True)) == {"hidden"}
    assert not backbone.losses


def test_content_of_padding_changes_nothing(values):
    backbone = TimeMoEBackbone(**SIZES)
    mask = np.broadcast_to(np.arange(10) >= 4, (3, 10))
    other = np.where(mask, values, 50).astype("float32")
    one, two = (run(backbone, v, mask)["hidden"] for v in (values, other))
    np.testing.assert_allclose(one[:, 4:], two[:, 4:], rtol=1e-4, atol=1e-5)
    alone = run(backbone, values[:, 4:])["hidden"]
    np.testing.assert_allclose(one[:, 4:], alone, rtol=1e-3, atol=1e-4)


def test_parts_are_chosen_by_name(values):
    backbone = TimeMoEBackbone(**SIZES, experts="ffn", dispatch="dense", k=1)
    assert type(backbone.get_layer("moe_0").experts).__name__ == "FFNExperts"
    assert run(backbone, values)["hidden"].shape == (3, 10, 8)


@pytest.mark.parametrize("name", ROUTERS.names())
def test_every_router_serves_or_is_refused_with_the_reason(values, name):
    card = getattr(ROUTERS.get(name), "card", None)
    sizes = {**SIZES, "num_layers": 2, "router": name}
    if card is not None and not card.causal:
        with pytest.raises(ValueError, match=f"router '{name}' is not causal"):
            TimeMoEBackbone(**sizes)
        return
    try:
        backbone = TimeMoEBackbone(**sizes)
    except ValueError as error:
        assert "context" in str(error) or "bank" in str(error)  # what the decoder cannot give
        return
    later = values.copy()
    later[:, 6:] += 1
    one, two = (run(backbone, v)["hidden"] for v in (values, later))
    assert np.isfinite(one).all() and np.abs(one[:, 6:] - two[:, 6:]).max() > 1e-4
    np.testing.assert_allclose(one[:, :6], two[:, :6], rtol=1e-4, atol=1e-5)


def test_round_trip():
    settings = {**SIZES, "k": 1, "balance_form": "code", "dispatch": "capacity", "dtype": "float32"}
    backbone = TimeMoEBackbone(**settings, name="decoder")
    config = backbone.get_config()
    assert config == {**config, **settings, "name": "decoder"}
    again = TimeMoEBackbone.from_config(config)
    assert again.get_config() == config
    assert ops.shape(again.inputs[0]) == ops.shape(backbone.inputs[0])


def test_an_unknown_balance_form_is_refused():
    with pytest.raises(ValueError, match=r'`balance_form` must be "paper" or "code". Received: x'):
        TimeMoEBackbone(**SIZES, balance_form="x")
