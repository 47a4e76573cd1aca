"""From one dense feed-forward network to experts, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from scipy.optimize import linear_sum_assignment

from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.layers.experts.ffn import FFNExperts
from moe_apps.layers.experts.swiglu import SwiGLU, SwiGLUExperts


def upcycle_dense(ffn: Any, num_experts: int) -> ExpertBank:
    """A bank of experts that are all copies of a trained network.

    A mixture of equal experts is the network itself as long as the weights of each token sum to
    1, so route with `TopK(k, renormalize=True)`: softmax probabilities over all experts do not
    sum to 1 over the chosen ones, and the upcycled model would start from other outputs.

    Source: Komatsuzaki et al. 2023, "Sparse Upcycling", arXiv 2212.05055.

    Args:
        ffn: a built `SwiGLU(gated=False)`, or two built `keras.layers.Dense` in a sequence or a
            `keras.Sequential`, of which the second has no activation.
        num_experts: number of copies.

    Returns:
        `SwiGLUExperts` or `FFNExperts` with its weights set.

    Example:
        >>> ffn = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"),
        ...                         keras.layers.Dense(8)])
        >>> x = keras.random.normal((5, 8))
        >>> copies = upcycle_dense(ffn, 4)(x[None])
        >>> bool(keras.ops.all(keras.ops.abs(copies - ffn(x)) < 1e-5))
        True
    """
    weights = [np.repeat(weight[None], num_experts, axis=0) for weight in _weights_of(ffn).values()]
    return _bank(ffn, num_experts, weights)


def split_dense(
    ffn: Any, num_experts: int, k: int | None = None, order: Sequence[int] | None = None
) -> ExpertBank:
    """A bank whose experts are slices of the hidden layer of a trained network.

    With all experts on at weight 1, their sum is the network. No weight is added or lost, and
    `merge_slices` turns the bank back into a network.

    Sources: Qiu et al. 2023, "Emergent Modularity" (EMoE), arXiv 2310.10908; Yang et al. 2025,
    "Union of Experts", arXiv 2503.02495.

    Args:
        ffn: as for `upcycle_dense`.
        num_experts: number of slices; it divides the hidden width.
        k: experts that will be active per token; each carries `1 / k` of the output bias. None
            stands for all.
        order: `(hidden,)`, the hidden units in the order in which they are dealt out, the first
            expert's first; None keeps theirs. See `order_by_similarity`.

    Example:
        >>> ffn = [keras.layers.Dense(16, "relu"), keras.layers.Dense(8)]
        >>> x = keras.random.normal((5, 8))
        >>> dense = ffn[1](ffn[0](x))
        >>> whole = keras.ops.sum(split_dense(ffn, 4)(x[None]), axis=0)
        >>> bool(keras.ops.all(keras.ops.abs(whole - dense) < 1e-5))
        True
    """
    dense = _weights_of(ffn)
    hidden = next(iter(dense.values())).shape[-1]
    if num_experts < 1 or hidden % num_experts:
        raise ValueError(
            f"`num_experts` must divide the hidden width {hidden}. Received: {num_experts}"
        )
    chosen = np.arange(hidden) if order is None else np.asarray(order)
    if sorted(chosen.tolist()) != list(range(hidden)):
        raise ValueError(f"`order` must name each of the {hidden} hidden units once.")
    slices = chosen.reshape(num_experts, -1)
    weights = []
    for name, weight in dense.items():
        if name == "bias_2":
            share = weight / (k or num_experts)
            weights.append(np.repeat(share[None], num_experts, axis=0))
        elif name in ("kernel_2", "down"):  # hidden units are its rows
            weights.append(weight[slices])
        else:
            weights.append(np.moveaxis(weight[:, slices], 1, 0))
    return _bank(ffn, num_experts, weights)


def merge_slices(bank: ExpertBank, k: int | None = None) -> list[np.ndarray]:
    """The weights of the dense network whose slices the bank holds; undoes `split_dense`.

    Args:
        bank: `FFNExperts` or `SwiGLUExperts`, as `split_dense` made it, perhaps trained since.
        k: as given to `split_dense`.

    Returns:
        Arrays in the order of the dense network's `get_weights()`, hidden units in the order in
        which they were dealt out.
    """
    merged = {}
    for weight in bank.stacked_weights:
        value = keras.ops.convert_to_numpy(weight)
        if weight.name == "bias_2":
            merged[weight.name] = value.sum(axis=0)[0] * (k or bank.num_experts) / bank.num_experts
        elif weight.name in ("kernel_2", "down"):
            merged[weight.name] = value.reshape(-1, value.shape[-1])
        else:
            merged[weight.name] = np.concatenate(list(value), axis=-1)
    if "bias_1" in merged:
        merged["bias_1"] = merged["bias_1"][0]
    layout = ("kernel_1", "bias_1", "kernel_2", "bias_2", "gate", "up", "down")
    return [merged[name] for name in layout if name in merged]


def order_by_similarity(ffn: Any, num_experts: int, rounds: int = 10, seed: int = 0) -> np.ndarray:
    """An order of the hidden units in which those with like inputs lie together, equal shares.

    K-means on the normalised columns of the first matrix, where units are assigned to centres
    of equal room by `scipy.optimize.linear_sum_assignment`. The cost grows with the cube of the
    hidden width.

    Source: Qiu et al. 2023, "Emergent Modularity" (EMoE), arXiv 2310.10908.

    Args:
        ffn: as for `upcycle_dense`.
        num_experts: number of groups; it divides the hidden width.
        rounds: at most so many rounds of assignment. Default 10.
        seed: of the first centres.

    Returns:
        `(hidden,)`, for `order` of `split_dense`.
    """
    keys = next(iter(_weights_of(ffn).values())).T  # (hidden, features)
    keys = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-12)
    if num_experts < 1 or len(keys) % num_experts:
        raise ValueError(
            f"`num_experts` must divide the hidden width {len(keys)}. Received: {num_experts}"
        )
    first = np.random.default_rng(seed).choice(len(keys), num_experts, replace=False)
    centres, room = keys[first], len(keys) // num_experts
    for _ in range(rounds):
        places = np.repeat(keys @ centres.T, room, axis=1)  # (hidden, places)
        group = linear_sum_assignment(places, maximize=True)[1] // room
        centres = np.stack([keys[group == g].mean(axis=0) for g in range(num_experts)])
    return np.argsort(group, kind="stable")


def _weights_of(ffn: Any) -> dict[str, np.ndarray]:
    """A dense network's weights by their names in the bank, biases as rows, in its order."""
    if isinstance(ffn, SwiGLU):
        if ffn.gated:
            raise ValueError("A `SwiGLU` with an output gate has no counterpart among experts.")
        return {
            name: keras.ops.convert_to_numpy(getattr(ffn, name)) for name in ("gate", "up", "down")
        }
    first, second = _dense_layers(ffn)
    weights = {"kernel_1": first.kernel, "kernel_2": second.kernel}
    if first.use_bias:
        weights |= {"bias_1": first.bias[None], "bias_2": second.bias[None]}
    return {name: keras.ops.convert_to_numpy(weight) for name, weight in weights.items()}


def _dense_layers(ffn: Any) -> list[Any]:
    layers = list(ffn.layers if isinstance(ffn, keras.Sequential) else ffn)
    linear = keras.activations.linear
    if (
        len(layers) != 2
        or not all(isinstance(layer, keras.layers.Dense) for layer in layers)
        or layers[1].activation is not linear
        or layers[0].use_bias != layers[1].use_bias
    ):
        raise ValueError(
            "`ffn` must be a `SwiGLU`, or two `Dense` layers, both with biases or both without, "
            f"the second without an activation. Received: {layers}"
        )
    return layers


def _bank(ffn: Any, num_experts: int, weights: list[np.ndarray]) -> ExpertBank:
    """A built bank of the network's kind, of the hidden width of `weights`."""
    hidden_dim = weights[0].shape[-1]
    bank: ExpertBank
    if isinstance(ffn, SwiGLU):
        bank = SwiGLUExperts(num_experts, hidden_dim, dtype=ffn.dtype_policy)
    else:
        first, second = _dense_layers(ffn)
        bank = FFNExperts(
            num_experts,
            hidden_dim,
            output_dim=second.units,
            activation=first.activation,
            use_bias=first.use_bias,
            dtype=first.dtype_policy,
        )
    bank.build((None, None, weights[0].shape[-2]))
    bank.set_weights(weights)
    return bank
