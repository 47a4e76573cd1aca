"""The catalogue of layers: what each is, from which paper, and what may be relied on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import keras

from moe_apps.registry import CALLBACKS, EXPERT_BANKS, LAYERS, ROUTERS, Registry

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Card:
    """What the catalogue says of one class.

    Attributes:
        paper: authors, year, arXiv number or venue.
        purpose: what it is for, in a few words.
        batch_independent: an example's output does not depend on the others of its batch (at
            inference, with a dispatch that drops nothing); None where the question is void.
        causal: a token's output does not depend on later tokens; None where the question is void.
        interpretation: the paper leaves formulas open, and ours fill them in.
    """

    paper: str
    purpose: str
    batch_independent: bool | None = True
    causal: bool | None = True
    interpretation: bool = False


def listed(
    registry: Registry[Any],
    name: str,
    *,
    paper: str,
    purpose: str,
    batch_independent: bool | None = True,
    causal: bool | None = True,
    interpretation: bool = False,
) -> Callable[[Entry], Entry]:
    """Class decorator: known by name, found by Keras when it loads a model, with a `Card`.

    Args:
        registry: `ROUTERS`, `EXPERT_BANKS`, `LAYERS` or `CALLBACKS` of `moe_apps.registry`.
        name: name in the registry.
        paper, purpose, batch_independent, causal, interpretation: see `Card`.

    Example:
        >>> from moe_apps.layers import TopK
        >>> TopK.card.batch_independent
        True
    """

    def enter(cls: Any) -> Any:
        cls.card = Card(paper, purpose, batch_independent, causal, interpretation)
        if registry is not CALLBACKS:
            cls = keras.saving.register_keras_serializable(package="moe_apps")(cls)
        return registry.register(name)(cls)

    return enter


def construct(registry: Registry[Any], name: str, **offered: Any) -> Any:
    """Make an entry with those of the offered settings that its constructor takes.

    A model that lets its user name a router or bank cannot know which settings that one has.

    Args:
        registry: where the entry is.
        name: its name.
        **offered: settings by name.

    Raises:
        ValueError: the entry needs a setting that is not offered.

    Example:
        >>> construct(ROUTERS, "top_k", k=1, no_such_setting=3).k
        1
    """
    cls = registry.get(name)
    needed = [
        p.name
        for p in inspect.signature(cls).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    missing = [f"`{key}`" for key in needed if key not in offered]
    if missing:
        raise ValueError(f"{registry.kind} {name!r} needs {', '.join(missing)}, not given here.")
    taken: set[str] = set()
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()
        taken.update(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break  # nothing is handed on to the bases behind it
    return cls(**{key: value for key, value in offered.items() if key in taken})


KINDS: dict[str, Registry[Any]] = {
    "router": ROUTERS,
    "expert bank": EXPERT_BANKS,
    "layer": LAYERS,
    "callback": CALLBACKS,
}


def rows() -> Iterator[dict[str, Any]]:
    """One row an entry: kind, name, class, and the fields of its `Card`, None without a card.

    Example:
        >>> next(row["class"] for row in rows() if row["name"] == "top_k")
        'TopK'
    """
    empty = dict.fromkeys(Card.__dataclass_fields__)
    for kind, registry in KINDS.items():
        for name in registry.names():
            cls = registry.get(name)
            # `vars`, not `getattr`: what a subclass changes, its parent's card does not say.
            card = vars(cls).get("card")
            facts = asdict(card) if card else empty
            yield {"kind": kind, "name": name, "class": cls.__name__, **facts}


def markdown() -> str:
    """The catalogue as docs/layers.md has it."""
    words = {True: "yes", False: "no", None: ""}
    lines = [
        "# Layers",
        "",
        "Written from the code by `make docs`; `moe-apps list --layers` prints it too.",
        "",
        "*Batch-independent*: at inference, with a dispatch that drops nothing, an example's",
        "output does not depend on the others of its batch. *Causal*: a token's output does not",
        "depend on later tokens. *Interpretation*: the source leaves formulas open, and the",
        "docstring says how ours fill them in.",
    ]
    kind = None
    for row in rows():
        if row["kind"] != kind:
            kind = row["kind"]
            lines += [
                "",
                f"## {kind.capitalize()}s",
                "",
                "| name | class | for | source | batch-independent | causal |",
                "|---|---|---|---|---|---|",
            ]
        source = row["paper"] or ""
        if row["interpretation"]:
            source += " (interpretation)"
        lines.append(
            f"| {row['name']} | `{row['class']}` | {row['purpose'] or ''} | {source} "
            f"| {words[row['batch_independent']]} | {words[row['causal']]} |"
        )
    return "\n".join(lines) + "\n"
