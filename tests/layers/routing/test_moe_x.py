from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.stats import norm

from keras_modes import array, step
from moe_apps.layers import FFNExperts, MLPExperts, MoE, MoEX, SwiGLUExperts, TopK


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 5, 8)).astype("float32")


def layer_on(bank, x: np.ndarray, **settings) -> MoE:
    keras.utils.set_random_seed(0)
    layer = MoE(MoEX(**{"k": 2, **settings}), bank)
    layer.build(x.shape)
    return layer


def logits_of(layer: MoE, x: np.ndarray) -> np.ndarray:
    """Up to a constant of each token, from the probabilities."""
    logits = np.log(array(layer.router(x).probabilities))
    return logits - logits.mean(axis=1, keepdims=True)


def active_share(layer: MoE, x: np.ndarray) -> np.ndarray:
    """`(tokens, experts)`: the share of hidden units that are positive, counted."""
    kernel, bias = (array(layer.experts.stacked_weights[n]) for n in (0, 2))
    hidden = np.einsum("nd,edh->neh", x.reshape(-1, x.shape[-1]), kernel) + bias[:, 0]
    return (hidden > 0).mean(axis=-1)


def test_logits_are_minus_the_expected_share_of_active_units(x):
    layer = layer_on(FFNExperts(4, 16), x, temperature=0.5)
    draw = np.random.default_rng(1).normal
    for weight in layer.experts.stacked_weights:
        weight.assign(draw(size=weight.shape))
    kernel, bias = (array(layer.experts.stacked_weights[n]) for n in (0, 2))
    rows = x.reshape(15, 8)
    mean = rows @ kernel.mean(axis=2).T + bias.mean(axis=(1, 2))
    variance = rows**2 @ kernel.var(axis=2).T + bias.var(axis=(1, 2))
    expected = -norm.cdf(mean / np.sqrt(variance)) / 0.5
    expected -= expected.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(logits_of(layer, x), expected, rtol=1e-3, atol=1e-4)


def test_the_score_falls_as_the_true_count_of_active_units_rises(x):
    layer = layer_on(FFNExperts(8, 256), x)
    layer.experts.stacked_weights[0].assign_add(
        np.random.default_rng(1).normal(size=(8, 8, 1)) * 0.2  # experts differ in their means
    )
    share = active_share(layer, x)
    share = share - share.mean(axis=1, keepdims=True)
    correlation = np.corrcoef(logits_of(layer, x).ravel(), share.ravel())[0, 1]
    assert correlation < -0.95


@pytest.mark.parametrize("bank", [FFNExperts(4, 16), MLPExperts(4, (16, 8))])
def test_an_expert_with_low_biases_is_preferred(x, bank):
    layer = layer_on(bank, x)
    before = array(layer.router(x).probabilities)
    (bias,) = [w for w in layer.experts.stacked_weights if w.name in ("bias_0", "bias_1")][:1]
    change = np.zeros(bias.shape)
    change[2] = -1.0
    bias.assign_add(change)
    after = array(layer.router(x).probabilities)
    assert (after[:, 2] > before[:, 2]).all()


def test_it_has_no_weights_of_its_own_and_does_not_count_those_of_the_bank(x):
    layer = layer_on(SwiGLUExperts(4, 5), x)
    assert layer.router.trainable_weights == []
    assert [w.path for w in layer.trainable_weights] == [
        w.path for w in layer.experts.trainable_weights
    ]


def test_choice_and_weight_follow_the_experts_as_they_train(x):
    layer = layer_on(FFNExperts(4, 16), x, k=1)
    before = array(layer.router(x).indices)
    # With the signs turned round, the sparsest expert becomes the densest.
    layer.experts.stacked_weights[0].assign(-array(layer.experts.stacked_weights[0]))
    after = array(layer.router(x).indices)
    assert (before != after).all()
    assert step(layer, x, "eager").gradients[0].any()


def test_the_layer_is_one_wide_network_with_a_gated_hidden_layer(x):
    layer = layer_on(FFNExperts(4, 16, use_bias=False), x)
    w1, w2 = (array(weight) for weight in layer.experts.stacked_weights)
    rows = x.reshape(15, 8)
    gate = np.repeat(array(layer.router(x).weight_of_expert()), 16, axis=1)  # (tokens, 64)
    assert (gate == 0).mean() == 0.5  # two of four experts
    hidden = gate * np.maximum(rows @ w1.transpose(1, 0, 2).reshape(8, 64), 0)
    wide = hidden @ w2.reshape(64, 8)
    np.testing.assert_allclose(array(layer(x)).reshape(15, 8), wide, rtol=1e-3, atol=1e-5)


def test_noise_of_training_is_that_of_top_k(x):
    layer = layer_on(FFNExperts(4, 16), x, jitter=0.5, seed=1)
    still, noisy = (array(layer.router(x, training=t).probabilities) for t in (False, True))
    assert (still != noisy).any()
    assert layer.router.get_config()["jitter"] == 0.5 and isinstance(layer.router, TopK)


def test_it_refuses_what_it_cannot_use(x):
    router = MoEX(num_experts=4)
    with pytest.raises(ValueError, match="use it in `MoE`"):
        router(x)
    with pytest.raises(ValueError, match=r"with 8 features. Received: \(4, 7, 3\)"):
        bank = FFNExperts(4, 3)
        bank.build((None, None, 7))
        router.attach(bank)
        router(x)
    with pytest.raises(ValueError, match=r"`temperature` must be greater than 0. Received: 0"):
        MoEX(temperature=0)
    with pytest.raises(ValueError, match="`k` is 5, but there are only 4 experts"):
        MoEX(k=5, num_experts=4).build(x.shape)
