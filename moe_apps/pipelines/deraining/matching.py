"""Which clean image belongs to which rainy one, by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

INPUT_FOLDERS = (
    "input",
    "inputs",
    "in",
    "lq",
    "rain",
    "rainy",
    "rainy_image",
    "data",
    "synthetic",
)
TARGET_FOLDERS = ("target", "targets", "gt", "norain", "clean", "ground_truth")
"""Names of folders in public data sets, in the order in which they are tried."""

SUBSTITUTIONS = (("rain", "norain"), ("rain", "clean"), ("rainy", "clean"), ("lq", "gt"))
"""What an input's name has where its target's has something else."""

SEPARATORS = "_-"


@dataclass(frozen=True)
class Matches:
    """Names of inputs and the targets that belong to them.

    Attributes:
        targets: input to target.
        rules: input to the rule by which its target was found.
        inputs_left: inputs without a target.
        targets_left: targets without an input.
    """

    targets: Mapping[PurePath, PurePath]
    rules: Mapping[PurePath, str]
    inputs_left: tuple[PurePath, ...]
    targets_left: tuple[PurePath, ...]

    @property
    def by_rule(self) -> dict[str, int]:
        """Number of pairs that each rule found."""
        return dict(Counter(self.rules.values()))


def match_names(inputs: Iterable[PurePath], targets: Iterable[PurePath]) -> Matches:
    """Match file names; suffixes may differ, and several inputs may share a target.

    In this order: equal names; a word replaced (`rain-001` and `norain-001`, `7_rain` and
    `7_clean`); a target's name followed by `_` or `-` and something that the input adds, the
    longest such target (`901_3` and `901`, `im_0001_s80_a04` and `im_0001`). Folders below those
    given must agree first; a name that is unique without them is found too.

    Example:
        >>> found = match_names([PurePath("901_3.jpg")], [PurePath("901.jpg"), PurePath("9.jpg")])
        >>> [str(target) for target in found.targets.values()], found.by_rule
        (['901.jpg'], {'prefix': 1})
    """
    inputs, targets = sorted(inputs), sorted(targets)
    with_folder = {target.with_suffix("").as_posix().lower(): target for target in targets}
    count = Counter(target.stem.lower() for target in targets)
    alone = {t.stem.lower(): t for t in targets if count[t.stem.lower()] == 1}
    found: dict[PurePath, PurePath] = {}
    rules: dict[PurePath, str] = {}
    for path in inputs:
        for known, name in ((with_folder, path.with_suffix("").as_posix()), (alone, path.stem)):
            answer = _target_of(name.lower(), known)
            if answer is not None:
                found[path], rules[path] = known[answer[0]], answer[1]
                break
    used = set(found.values())
    return Matches(
        found,
        rules,
        tuple(path for path in inputs if path not in found),
        tuple(path for path in targets if path not in used),
    )


def _target_of(name: str, targets: Mapping[str, object]) -> tuple[str, str] | None:
    if name in targets:
        return name, "equal names"
    folder, slash, stem = name.rpartition("/")
    for word, other in SUBSTITUTIONS:
        replaced = f"{folder}{slash}{stem.replace(word, other, 1)}"
        if replaced != name and replaced in targets:
            return replaced, f"{word} replaced by {other}"
    for end in range(len(name) - 1, len(folder) + len(slash), -1):
        if name[end] in SEPARATORS and name[:end] in targets:
            return name[:end], "prefix"
    return None


def is_clean_name(path: PurePath) -> bool:
    """Whether the name says that the image is the clean one of two in the same folder.

    Example:
        >>> [is_clean_name(PurePath(name)) for name in ("norain-001.png", "rain-001.png")]
        [True, False]
    """
    name = path.stem.lower()
    return any(word in name for word in ("norain", "clean", "_gt", "-gt", "ground_truth"))
