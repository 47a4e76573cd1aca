"""MAGNET: experts of modality roles over a user-item graph with added content edges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from moe_apps.layers import TopK
from moe_apps.models.recommendation.field_embedding import Fields, mean_of_sequence
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec

EXPERTS = ("behaviour", "content", "balanced", "complementary")


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class MAGNET(Ranker):
    """A sparse mixture of modality roles on vectors that a graph has smoothed.

    The vectors of users and items pass two views of a graph, as in LightGCN: edges between users
    and the items they took, and the same with edges between items of like content added; a
    trained gate joins the views. With u and i of the row's user and item, b = u * i, and t the
    mean vector of the item's content, four experts read `[u, b]` (dominant: behaviour), `[u, t]`
    (dominant: content), the mean of b and t (balanced) and their product (complementary). A
    router on `[u, i, t]` takes two of them. What they mix joins the vector of all fields in each
    task's tower.

    The router's loss begins as coverage, `1 - H(mean p) / log n`; when the moving average of that
    entropy has been above `covered` for `patience` steps it becomes, for good, specialisation: the
    mean entropy of the rows' p over log n.

    Source: "MAGNET", 2026, arXiv 2602.20723. Interpretation: only the abstract was at hand. It
    names the two views, the roles, and the change from coverage to specialisation; formulas,
    sizes and thresholds are ours, and content stands for text: there are no images.

    Args:
        fields, tasks: of `Ranker`.
        user, item: names of the categorical fields of their ids, of one vector length.
        content: names of categorical and sequence fields on the item's content, at least one.
        num_edges: user-item edges of the graph that `set_graph` gives.
        num_content_edges: item-item edges of it.
        layers: steps along the edges. Default 2.
        units: width of the experts. Default (32,).
        entropy_weight: factor of the router's loss. Default 0.01.
        covered, patience: when coverage ends. Default 0.9 and 100.
        **kwargs: of `Ranker`.

    Example:
        >>> from moe_apps.models.recommendation.field_embedding import Categorical
        >>> sizes = [Categorical("user", 5, 4), Categorical("film", 6, 4)]
        >>> model = MAGNET(
        ...     Fields((), (*sizes, Categorical("genre", 3, 2))),
        ...     [TaskSpec("like")], user="user", item="film",
        ...     content=["genre"], num_edges=2, num_content_edges=1,
        ... )
        >>> model.set_graph(np.array([[2, 3], [3, 4]]), np.array([[3, 4]]))
        >>> outputs, gates = model.explain({"categorical": ops.array([[2, 3, 1]])})
        >>> tuple(gates["roles"].shape)
        (1, 4)
    """

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        user: str,
        item: str,
        content: Sequence[str],
        num_edges: int,
        num_content_edges: int,
        layers: int = 2,
        units: Sequence[int] = (32,),
        entropy_weight: float = 0.01,
        covered: float = 0.9,
        patience: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, tasks, **kwargs)
        places = [self.fields.index(name) for name in (user, item)]
        lengths = {self.fields.categorical[place].dimension for place in places}
        if len(lengths) > 1:
            raise ValueError(f"vectors of {user} and {item} must have one length: {lengths}")
        if not content:
            raise ValueError("`content` must name at least one field of the item's content.")
        self.user, self.item, self.content = user, item, tuple(content)
        self.num_edges, self.num_content_edges = num_edges, num_content_edges
        self.steps = layers
        self.units = tuple(units)
        self.entropy_weight, self.covered, self.patience = entropy_weight, covered, patience
        (self.dimension,) = lengths
        self.users, self.items = (self.fields.categorical[place].size for place in places)
        self.edges, self.edge_weights = self._edge_weights("edges", num_edges)
        both = num_edges + num_content_edges
        self.all_edges, self.all_edge_weights = self._edge_weights("all_edges", both)
        self.view = self.add_weight(name="view", shape=(), initializer="zeros")
        self.content_map = self._dense("content_map", self.dimension, self._content_width(), None)
        self.roles = [
            self._dense(f"role_{name}", self.units[-1], width, "relu")
            for name, width in zip(
                EXPERTS, [2 * self.dimension] * 2 + [self.dimension] * 2, strict=True
            )
        ]
        self.router = TopK(k=2, num_experts=len(EXPERTS), name="router")
        self.router.build((None, 3 * self.dimension))
        self.coverage = self._counter("coverage")
        self.steps_covered = self._counter("steps_covered")
        self.stage = self._counter("stage")
        self.add_towers(self.embedding.width + self.units[-1])

    def _counter(self, name: str) -> Any:
        return self.add_weight(name=name, shape=(), initializer="zeros", trainable=False)

    def _dense(self, name: str, units: int, width: int, activation: str | None) -> Any:
        layer = keras.layers.Dense(units, activation=activation, dtype=self.dtype_policy, name=name)
        layer.build((None, width))
        return layer

    def _edge_weights(self, name: str, count: int) -> tuple[Any, Any]:
        """Both directions of each edge, and what it weighs."""
        edges = self.add_weight(
            name=name, shape=(2, 2 * count), initializer="zeros", dtype="int32", trainable=False
        )
        weights = self.add_weight(
            name=f"{name}_weights",
            shape=(2 * count,),
            initializer="zeros",
            dtype="float32",
            trainable=False,
        )
        return edges, weights

    def set_graph(self, taken: npt.NDArray[np.integer], alike: npt.NDArray[np.integer]) -> None:
        """Give the graph.

        Args:
            taken: `[num_edges, 2]`, indices of a user and of an item the user took.
            alike: `[num_content_edges, 2]`, indices of two items of like content.
        """
        first = taken + np.array([[0, self.users]])
        for edges, weights, pairs in (
            (self.edges, self.edge_weights, first),
            (self.all_edges, self.all_edge_weights, np.concatenate([first, alike + self.users])),
        ):
            both = np.concatenate([pairs, pairs[:, ::-1]]).T  # (2, directed edges)
            degree = np.bincount(both[1], minlength=self.users + self.items)
            edges.assign(both.astype("int32"))
            weights.assign(1 / np.sqrt(degree[both[0]] * degree[both[1]]).astype("float32"))

    def nodes(self) -> Any:
        """Vectors of all users and items after both views, `(users + items, dimension)`."""
        table = ops.convert_to_tensor(self.embedding.tables[self.dimension])
        starts = [self.embedding.starts[name] for name in (self.user, self.item)]
        x = ops.concatenate(
            [
                table[start : start + size]
                for start, size in zip(starts, (self.users, self.items), strict=True)
            ],
            axis=0,
        )
        views = [
            self._smoothed(x, edges, weights)
            for edges, weights in (
                (self.edges, self.edge_weights),
                (self.all_edges, self.all_edge_weights),
            )
        ]
        share = ops.sigmoid(ops.cast(self.view, x.dtype))
        return share * views[0] + (1 - share) * views[1]

    def _smoothed(self, x: Any, edges: Any, weights: Any) -> Any:
        """Mean of x and of what it becomes along the edges, step by step."""
        source, target = edges[0], edges[1]
        total, now = x, x
        for _ in range(self.steps):
            sent = ops.take(now, source, axis=0) * ops.cast(weights, x.dtype)[:, None]
            now = ops.segment_sum(sent, target, num_segments=self.users + self.items)
            total = total + now
        return total / (self.steps + 1)

    def _content_width(self) -> int:
        of_field = {field.name: field.dimension for field in self.fields.categorical}
        lengths = {**of_field, **self.embedding.sequence_dimensions}
        return sum(lengths[name] for name in self.content)

    def _content(self, inputs: Mapping[str, Any]) -> Any:
        sequences = {field.name: field for field in self.fields.sequences}
        parts = [
            mean_of_sequence(*self.embedding.sequence(inputs, sequences[name]))
            if name in sequences
            else self.embedding.one(inputs, name)
            for name in self.content
        ]
        return self.content_map(ops.concatenate(parts, axis=-1))

    def explain(
        self, inputs: Mapping[str, Any], training: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        nodes = ops.cast(self.nodes(), self.compute_dtype)
        indices = inputs["categorical"]
        u = ops.take(nodes, indices[:, self.fields.index(self.user)], axis=0)
        i = ops.take(nodes, indices[:, self.fields.index(self.item)] + self.users, axis=0)
        b, t = u * i, self._content(inputs)
        read = [
            ops.concatenate([u, b], axis=-1),
            ops.concatenate([u, t], axis=-1),
            (b + t) / 2,
            b * t,
        ]
        experts = ops.stack([role(x) for role, x in zip(self.roles, read, strict=True)], axis=1)
        decision = self.router(ops.concatenate([u, i, t], axis=-1), training=training)
        places = ops.one_hot(decision.indices, len(EXPERTS))
        weights = ops.sum(decision.weights[..., None] * places, axis=-2)  # (rows, experts)
        if training:
            self._two_stages(decision.probabilities)
        mixed = ops.sum(ops.cast(weights, experts.dtype)[..., None] * experts, axis=1)
        x = ops.concatenate([self.features(inputs, training), mixed], axis=-1)
        outputs = {name: tower(x, training=training) for name, tower in self.towers.items()}
        return outputs, {"roles": weights}

    def _two_stages(self, probabilities: Any) -> None:
        most = math.log(len(EXPERTS))
        of_mean = _entropy(ops.mean(probabilities, axis=0)) / most
        of_rows = ops.mean(_entropy(probabilities)) / most
        now = ops.stop_gradient(of_mean)
        self.coverage.assign(0.95 * self.coverage + 0.05 * now)
        above = ops.cast(self.coverage >= self.covered, "float32")
        self.steps_covered.assign((self.steps_covered + 1) * above)
        reached = ops.cast(self.steps_covered >= self.patience, "float32")
        self.stage.assign(ops.maximum(self.stage, reached))
        stage = ops.convert_to_tensor(self.stage)
        self.add_loss(self.entropy_weight * ((1 - stage) * (1 - of_mean) + stage * of_rows))

    def get_config(self) -> dict[str, Any]:
        own = (
            "user",
            "item",
            "content",
            "num_edges",
            "num_content_edges",
            "units",
            "entropy_weight",
            "covered",
            "patience",
        )
        config = {**super().get_config(), **{name: getattr(self, name) for name in own}}
        return {**config, "layers": self.steps}


def _entropy(p: Any) -> Any:
    return -ops.sum(p * ops.log(ops.maximum(p, 1e-12)), axis=-1)
