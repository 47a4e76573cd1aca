"""The Mixtral block of Hugging Face transformers, on PyTorch, with the weights of our layer."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from keras import ops

from moe_apps.layers import MoE

INSTALLED = find_spec("torch") is not None and find_spec("transformers") is not None


def mixtral_block(ours: MoE, width: int, implementation: str) -> Any:
    """The block with its experts run as `implementation`, "eager" or "grouped_mm"."""
    import torch
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(
        hidden_size=width,
        intermediate_size=ours.experts.hidden_dim,
        num_local_experts=ours.experts.num_experts,
        num_experts_per_tok=ours.router.k,
    )
    config._experts_implementation = implementation
    block = MixtralSparseMoeBlock(config)
    gate, up, down = (ops.convert_to_numpy(w).swapaxes(1, 2) for w in ours.experts.stacked_weights)
    router = ops.convert_to_numpy(ours.router.kernel).T
    with torch.no_grad():
        block.gate.weight.copy_(torch.tensor(router))
        block.experts.gate_up_proj[:, : gate.shape[1]].copy_(torch.tensor(gate))
        block.experts.gate_up_proj[:, gate.shape[1] :].copy_(torch.tensor(up))
        block.experts.down_proj.copy_(torch.tensor(down))
    return block


def dense_layer(width: int, hidden: int) -> Any:
    """A dense SwiGLU, the measure of PyTorch's own speed."""
    from transformers import MixtralConfig
    from transformers.models.mistral.modeling_mistral import MistralMLP

    return MistralMLP(MixtralConfig(hidden_size=width, intermediate_size=hidden))


def step(block: Any, x: Any, training: bool) -> Callable[[], Any]:
    """A forward pass, or a forward and backward pass, that gives the loss."""
    import torch

    inputs = torch.tensor(ops.convert_to_numpy(x), requires_grad=training)

    def run() -> Any:
        with torch.set_grad_enabled(training):
            loss = output(block, inputs).square().mean()
            if training:
                block.zero_grad()
                inputs.grad = None
                loss.backward()
            return float(loss)

    return run


def output(block: Any, inputs: Any) -> Any:
    outputs = block(inputs)
    return outputs[0] if isinstance(outputs, tuple) else outputs


def run(block: Any, x: Any) -> Any:
    """Outputs of the block as an array."""
    import torch

    with torch.no_grad():
        return output(block, torch.tensor(ops.convert_to_numpy(x))).numpy()
