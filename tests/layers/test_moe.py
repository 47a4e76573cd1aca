from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import MODES, TENSORFLOW, array, assert_same_step, in_mode, step
from moe_apps.layers import Capacity, Dropless, FFNExperts, MoE, Router, SwiGLU, TopK

AMPLE = Capacity(factor=4.0, inference_factor=4.0)
WAYS = {"blocks": Dropless("blocks", 4), "slices": Dropless("slices"), "capacity": AMPLE}
COMPILING = [(way, mode) for way in WAYS for mode in MODES if (way, mode) != ("slices", "xla")]
if not TENSORFLOW:
    COMPILING = [pair for pair in COMPILING if pair[0] != "slices"]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def swiglu(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    hidden = x @ gate
    return (hidden / (1 + np.exp(-hidden)) * (x @ up)) @ down


def oracle(layer: MoE, x: np.ndarray) -> np.ndarray:
    """The mixture by its formula, token by token."""
    router, *weights = [np.asarray(v, "float64") for v in layer.get_weights()[:4]]
    outputs = np.zeros_like(x, dtype="float64")
    for position in np.ndindex(x.shape[:-1]):
        probabilities = softmax(x[position] @ router)
        for expert in np.argsort(-probabilities)[: layer.router.k]:
            own = swiglu(x[position], *(weight[expert] for weight in weights))
            outputs[position] += probabilities[expert] * own
    return outputs


# === The mixture ===


@pytest.mark.parametrize("dispatch", ["dense", "capacity", "dropless"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_it_is_the_mixture_of_the_formula(make_moe, tokens, dispatch, k):
    layer = make_moe(AMPLE if dispatch == "capacity" else dispatch, k=k)
    np.testing.assert_allclose(layer(tokens), oracle(layer, tokens), rtol=1e-5, atol=1e-5)


def test_all_experts_renormalised_are_the_dense_mixture(make_moe, tokens, mode):
    layer = make_moe(k=4, renormalize=True)
    router, *weights = layer.get_weights()[:4]
    each = np.stack([swiglu(tokens, *(w[e] for w in weights)) for e in range(4)], axis=-1)
    mixture = np.einsum("btfe,bte->btf", each, softmax(tokens @ router))
    np.testing.assert_allclose(in_mode(layer, mode)(tokens), mixture, rtol=1e-5, atol=1e-5)


def test_one_expert_is_the_plain_network(make_moe, tokens, mode):
    layer = make_moe(num_experts=1, k=1)
    plain = SwiGLU(5)
    plain.build(tokens.shape)
    plain.set_weights([stacked[0] for stacked in layer.experts.get_weights()])
    np.testing.assert_allclose(in_mode(layer, mode)(tokens), plain(tokens), rtol=1e-5, atol=1e-6)


def test_the_shared_expert_serves_every_token(make_moe, tokens):
    layer = make_moe(shared=True)
    routed = make_moe(shared=False)
    np.testing.assert_allclose(
        layer(tokens), array(routed(tokens)) + array(layer.shared(tokens)), rtol=1e-5, atol=1e-6
    )


# === Dispatches agree ===


@pytest.mark.parametrize("way, mode", COMPILING)
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 3e-2)])
def test_dispatches_agree_with_dense_and_so_do_gradients(
    make_moe, tokens, way, mode, dtype, tolerance
):
    reference = step(make_moe("dense", shared=True), tokens)
    result = step(make_moe(WAYS[way], dtype=dtype, shared=True), tokens, mode)
    assert_same_step(result, reference, tolerance)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 3e-2)])
def test_dense_is_the_same_in_every_mode(make_moe, tokens, mode, dtype, tolerance):
    reference = step(make_moe("dense"), tokens)
    assert_same_step(step(make_moe("dense", dtype=dtype), tokens, mode), reference, tolerance)


@pytest.mark.parametrize("backward", [False, True])
def test_slices_fail_to_compile_and_give_no_wrong_number(make_moe, tokens, backward):
    layer = make_moe(Dropless("slices"))
    refused: tuple[type[Exception], ...] = (ValueError,)  # said plainly on JAX
    if TENSORFLOW:
        import tensorflow as tf

        refused = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)
    with pytest.raises(refused):
        step(layer, tokens, "xla") if backward else in_mode(layer, "xla")(tokens)


@pytest.mark.skipif(not TENSORFLOW, reason="shapes are static on JAX")
@pytest.mark.parametrize("dispatch", ["dense", "dropless", Capacity(inference_factor=4.0)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_and_time_may_be_unknown(make_moe, tokens, dispatch, jit_compile):
    import tensorflow as tf

    layer = make_moe(dispatch)
    unknown = tf.TensorSpec((None, None, 6), "float32")
    run = tf.function(layer, input_signature=[unknown], jit_compile=jit_compile, autograph=False)
    for x in (tokens, tokens[:1, :3]):
        np.testing.assert_allclose(run(x), oracle(layer, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", ["auto", "blocks"])
def test_no_tokens_give_no_outputs(make_moe, kernel):
    layer = make_moe(Dropless(kernel))
    assert tuple(layer(np.zeros((0, 8, 6), "float32")).shape) == (0, 8, 6)


# === Independence of a batch ===


@pytest.mark.parametrize("dispatch", ["dense", "dropless"])
def test_a_batch_of_one_is_the_row_of_a_batch(make_moe, tokens, mode, dispatch):
    run = in_mode(make_moe(dispatch, shared=True), mode)
    rows = [run(tokens[row : row + 1]) for row in range(len(tokens))]
    np.testing.assert_allclose(np.concatenate(rows), run(tokens), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dispatch", ["dense", "dropless", "capacity"])
def test_real_tokens_are_served_as_if_there_were_no_padding(make_moe, tokens, dispatch):
    # Half the factor on twice the tokens: as many slots as the real tokens alone get.
    alone, beside = (Capacity(1.0), Capacity(0.5)) if dispatch == "capacity" else 2 * (dispatch,)
    real = step(make_moe(alone), tokens[:, :4])
    mask = np.broadcast_to(np.arange(8) < 4, (3, 8))
    padded = step(make_moe(beside), np.where(mask[..., None], tokens, 100), mask=mask)
    np.testing.assert_allclose(padded.outputs[:, :4], real.outputs, rtol=1e-5, atol=1e-6)
    assert not padded.outputs[:, 4:].any()
    np.testing.assert_allclose(padded.losses, real.losses, rtol=1e-5)


@pytest.mark.parametrize("dispatch", ["dense", "dropless", "capacity"])
def test_content_of_padding_reaches_nothing(make_moe, tokens, mode, dispatch):
    mask = np.broadcast_to(np.arange(8) < 5, (3, 8))
    other = np.where(mask[..., None], tokens, 1000.0).astype("float32")
    one, two = (step(make_moe(dispatch), x, mode, mask=mask) for x in (tokens, other))
    assert_same_step(one, two, 1e-6)
    assert not two.input_gradient[:, 5:].any()


# === Gradients ===


def test_the_task_alone_trains_the_router(make_moe, tokens, mode):
    layer = make_moe(k=1, balance_loss_weight=0, z_loss_weight=0)
    result = step(layer, tokens, mode)
    assert result.losses == 0
    assert all(np.abs(gradient).max() > 1e-4 for gradient in result.gradients)


def test_a_weight_that_is_always_one_trains_no_router(make_moe, tokens):
    layer = make_moe(k=1, softmax="chosen", balance_loss_weight=0, z_loss_weight=0)
    router, *experts = step(layer, tokens).gradients
    assert np.abs(router).max() < 1e-5  # rounding
    assert all(gradient.any() for gradient in experts)


def test_unchosen_experts_get_no_gradient(make_moe, router_by_name, tokens, mode):
    tokens[..., 0], tokens[..., 1] = 2, 0
    result = step(make_moe(router=router_by_name(4)), tokens, mode)
    for stacked in result.gradients[1:]:
        assert stacked[0].any() and stacked[2].any()
        assert not stacked[1].any() and not stacked[3].any()


def test_router_gradient_is_the_finite_difference(make_moe, tokens):
    layer = make_moe(k=3)
    gradient = step(layer, tokens[:1], with_losses=False).gradients[0]
    kernel = array(layer.router.kernel)

    def objective(shift: float) -> float:
        moved = kernel.copy()
        moved[2, 1] += shift
        layer.router.kernel.assign(moved)
        flat = oracle(layer, tokens[:1]).ravel()
        return float(flat @ np.cos(np.arange(len(flat))))

    np.testing.assert_allclose(
        gradient[2, 1], (objective(1e-3) - objective(-1e-3)) / 2e-3, rtol=2e-3, atol=1e-5
    )


# === Statistics and state ===


def test_the_tracker_follows_training_and_ignores_inference(make_moe, router_by_name, tokens):
    layer = make_moe(router=router_by_name(4))
    for first in (0, 1):
        tokens[..., 0], tokens[..., 1] = first, 3
        layer(tokens)
        assert float(layer.tracker.count) == first
        layer(tokens, training=True)
    result = {name: float(value) for name, value in layer.tracker.result().items()}
    assert [result[f"moe/load_{e}"] for e in range(4)] == [0.25, 0.25, 0.0, 0.5]
    assert 0 < result["moe/entropy"] <= np.log(4)
    assert result["moe/drop_rate"] == 0
    layer.tracker.reset_state()
    assert float(layer.tracker.result()["moe/load_3"]) == 0


def test_padding_enters_no_statistic(make_moe, router_by_name, tokens):
    tokens[..., 0], tokens[..., 1] = 0, 1
    tokens[:, 5:, 0], tokens[:, 5:, 1] = 2, 3
    layer = make_moe(AMPLE, router=router_by_name(4))
    layer(tokens, mask=np.broadcast_to(np.arange(8) < 5, (3, 8)), training=True)
    result = layer.tracker.result()
    assert [float(result[f"moe/load_{e}"]) for e in range(4)] == [0.5, 0.5, 0.0, 0.0]
    assert float(result["moe/drop_rate"]) == 0


def test_routing_is_returned_when_asked(make_moe, tokens):
    layer = make_moe()
    mask = np.broadcast_to(np.arange(8) < 5, (3, 8))
    outputs, routing = layer(tokens, mask=mask, return_routing=True)
    weights, probabilities = array(routing["weights"]), array(routing["probabilities"])
    assert weights.shape == probabilities.shape == (3, 8, 4)
    assert ((weights > 0).sum(axis=-1) == 2 * mask).all()
    np.testing.assert_allclose(np.where(weights > 0, probabilities, 0), weights, rtol=1e-6)
    np.testing.assert_array_equal(outputs, layer(tokens, mask=mask))


class Counting(TopK):
    """Hands the next layer how many layers the token has seen."""

    def advance(self, inputs):
        return 1 if inputs.state is None else inputs.state + 1


def test_state_goes_from_layer_to_layer():
    layers = [MoE(Counting(k=1), FFNExperts(2, 4)) for _ in range(2)]
    x, state = layers[0](np.ones((2, 3), "float32"))
    _, state = layers[1](x, state=state)
    assert state == 2


# === What is refused ===


def test_a_router_for_another_number_of_experts_is_refused():
    with pytest.raises(ValueError, match=r"made for 8 experts, .* bank has 4"):
        MoE(TopK(num_experts=8), FFNExperts(4, 4))


def test_an_unknown_dispatch_is_refused():
    with pytest.raises(ValueError, match=r"`dispatch` must be one of .*dropless.*'sorted'"):
        MoE(TopK(), FFNExperts(4, 4), dispatch="sorted")


def test_steps_a_subclass_must_define_are_named():
    with pytest.raises(NotImplementedError, match="Router must define `select`"):
        Router(num_experts=2)(ops.ones((2, 3)))


def test_losses_are_added_once_and_in_training_only(make_moe, tokens):
    layer = make_moe()
    layer(tokens)
    assert layer.losses == []
    layer(tokens, training=True)
    assert len(layer.losses) == 2
    assert keras.backend.standardize_dtype(layer.losses[0].dtype) == "float32"
