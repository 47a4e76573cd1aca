"""How large a model is: parameters in all, and those that work on one input."""

from __future__ import annotations

import keras

from moe_apps.layers import MoE
from moe_apps.layers.callbacks.probe import all_layers


def count_parameters(model: keras.Model) -> dict[str, int]:
    """Return `total` and `active` parameters; of routed experts at most k work on one input.

    Example:
        >>> from moe_apps.layers import FFNExperts, TopK
        >>> layer = MoE(TopK(k=1), FFNExperts(num_experts=4, hidden_dim=3))
        >>> count_parameters(keras.Sequential([keras.Input((2,)), layer]))
        {'total': 76, 'active': 25}
    """
    total = model.count_params()
    idle = 0
    for layer in all_layers(model):
        if isinstance(layer, MoE):
            # A router without a fixed number of experts may use all of them.
            experts = layer.experts.num_experts
            share = 1 - min(getattr(layer.router, "k", experts), experts) / experts
            idle += round(layer.experts.count_params() * share)
    return {"total": total, "active": total - idle}
