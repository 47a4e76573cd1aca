"""What experts do, in sentences for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

IDLE = 0.1
"""Part of an equal share below which an expert has next to nothing to do."""
EVEN = 1.5
"""Factor between largest and smallest share up to which experts share alike."""
LEADING = 1.2
"""Factor of an equal share from which an expert is said to lead in a group."""
NOTHING = 0.01
"""Specialisation, 0 to 1, below which the expert tells next to nothing."""
MOST_GROUPS = 8
"""Groups beyond this number are for a figure, not for a sentence."""


def reading(
    load: Sequence[float],
    *,
    names: Sequence[str] | None = None,
    tells: Mapping[str, float] | None = None,
    by_chance: Mapping[str, bool] | None = None,
    groups: Mapping[str, Sequence[float]] | None = None,
    where: str = "",
    explained: bool = False,
) -> str:
    """Say how experts share the work out, what that depends on, and who leads where.

    Args:
        load: Share of each expert, in sum 1.
        names: Names of the experts; their numbers by default.
        tells: Factor to specialisation, 0 to 1.
        by_chance: Factor to whether shuffled labels tell as much.
        groups: Group to shares of the experts in it; left out where there are too many.
        where: Layer, task or gate that this is of.
        explained: `tells` is how much of the weights each factor explains, not the other way
            round.

    Example:
        >>> said = reading([0.75, 0.24, 0.01], tells={"class": 0.4, "speed": 0.001}, where="Gate")
        >>> for sentence in said.split(". "):
        ...     print(sentence)
        Gate: expert 0 has the most of 3 (75 %), expert 2 the least (1 %); 1 of them has ... to do
        Knowing the expert tells most about class (0.40 of 1), next to nothing about speed.
    """
    named = [f"expert {n}" for n in range(len(load))] if names is None else list(names)
    sentences = [_shared_out(load, named)]
    if tells:
        sentences.append(_told(tells, by_chance or {}, explained))
    if groups and 1 < len(groups) <= MOST_GROUPS and len(load) > 1:
        sentences += _leaders(groups, named)
    text = " ".join(sentences)
    return f"{where}: {text}" if where else text[0].upper() + text[1:]


def _shared_out(load: Sequence[float], names: Sequence[str]) -> str:
    if len(load) == 1:
        return "there is one expert."
    most = max(range(len(load)), key=load.__getitem__)
    least = min(range(len(load)), key=load.__getitem__)
    if load[most] <= EVEN * load[least]:
        between = f"{_percent(load[least])} to {_percent(load[most])}"
        return f"{len(load)} experts share alike ({between})."
    text = (
        f"{names[most]} has the most of {len(load)} ({_percent(load[most])}), "
        f"{names[least]} the least ({_percent(load[least])})"
    )
    idle = sum(share < IDLE / len(load) for share in load)
    if not idle:
        return f"{text}."
    return f"{text}; {idle} of them {'has' if idle == 1 else 'have'} next to nothing to do."


def _told(tells: Mapping[str, float], by_chance: Mapping[str, bool], explained: bool) -> str:
    begin, about = ("Weights depend", "on") if explained else ("Knowing the expert tells", "about")
    known = {f: v for f, v in tells.items() if v >= NOTHING and not by_chance.get(f, False)}
    chance = [f for f, v in tells.items() if v >= NOTHING and by_chance.get(f, False)]
    nothing = [factor for factor, value in tells.items() if value < NOTHING]
    parts = []
    if known:
        ordered = sorted(known, key=lambda factor: -known[factor])
        parts.append(f"most {about} " + _listed([f"{f} ({known[f]:.2f} of 1)" for f in ordered]))
    if chance:
        parts.append(f"no more than chance {about} {_listed(chance)}")
    if nothing:
        parts.append(f"{'hardly' if explained else 'next to nothing'} {about} {_listed(nothing)}")
    return f"{begin} {', '.join(parts)}."


def _leaders(groups: Mapping[str, Sequence[float]], names: Sequence[str]) -> list[str]:
    leaders: dict[int, list[str]] = {}
    for group, shares in groups.items():
        leader = max(range(len(shares)), key=shares.__getitem__)
        if shares[leader] >= LEADING / len(shares):
            leaders.setdefault(leader, []).append(f"{group} ({_percent(shares[leader])})")
    if not leaders:
        return []
    if len(leaders) == 1 and sum(map(len, leaders.values())) == len(groups):
        [(leader, _)] = leaders.items()
        return [f"The largest share has {names[leader]} in all of {_listed(list(groups))}."]
    said = [f"{names[leader]} in {_listed(of)}" for leader, of in leaders.items()]
    return [f"The largest share has {'; '.join(said)}."]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
