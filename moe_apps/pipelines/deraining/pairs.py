"""Pairs of a degraded and a clean image, found in the layouts of public data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from moe_apps.errors import DataError
from moe_apps.pipelines.deraining.image_files import (
    MAX_MEGAPIXELS,
    Picture,
    image_files,
    image_size,
    read_picture,
)
from moe_apps.pipelines.deraining.matching import (
    INPUT_FOLDERS,
    TARGET_FOLDERS,
    is_clean_name,
    match_names,
)

Layout = Literal["auto", "folders", "one_folder", "side_by_side", "list"]
Side = Literal["left", "right"]

SHOWN = 5
"""Names that a message lists before it only counts."""


@dataclass(frozen=True)
class Pair:
    """A degraded image and the clean one.

    Attributes:
        name: path of the degraded image below the folder that was given.
        input: file of the degraded image.
        target: file of the clean image; the same file where both are side by side.
        rule: how the two were found to belong together.
        part: "train", "validation", "test", or "" where the data do not say.
        group: data set or folder the pair is of; "" where there is one only.
        clean_side: side of the clean image where both are in one file.
    """

    name: str
    input: Path
    target: Path
    rule: str
    part: str = ""
    group: str = ""
    clean_side: Side | None = None

    def size(self) -> tuple[int, int]:
        """Height and width, from the headers of both files.

        Raises:
            DataError: a file is no image, or the two differ in size.
        """
        height, width = image_size(self.input)
        if self.clean_side:
            self._check_halves(width)
            return height, width // 2
        if (clean := image_size(self.target)) != (height, width):
            self._refuse((height, width), clean)
        return height, width

    def read(self, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[Picture, Picture]:
        """The degraded and the clean image, of equal size.

        Raises:
            DataError: a file cannot be read, or the two differ in size.
        """
        rainy = read_picture(self.input, max_megapixels)
        if self.clean_side:
            width = rainy.pixels.shape[1]
            self._check_halves(width)
            left, right = (
                Picture(rainy.pixels[:, part].copy(), None, rainy.mode)
                for part in (slice(0, width // 2), slice(width // 2, width))
            )
            return (right, left) if self.clean_side == "left" else (left, right)
        clean = read_picture(self.target, max_megapixels)
        if rainy.pixels.shape != clean.pixels.shape:
            self._refuse(rainy.pixels.shape, clean.pixels.shape)
        return rainy, clean

    def _check_halves(self, width: int) -> None:
        if width % 2:
            raise DataError(
                f"{self.input}: is {width} pixels wide; two images side by side need an even width"
            )

    def _refuse(self, rainy: Sequence[int], clean: Sequence[int]) -> None:
        raise DataError(
            f"{self.input} is {rainy[1]} x {rainy[0]} pixels, but its clean image {self.target} "
            f"is {clean[1]} x {clean[0]}: expected equal sizes"
        )


@dataclass(frozen=True)
class PairSet:
    """All pairs of a folder, and what was left over.

    Attributes:
        pairs: the pairs, sorted by name.
        unmatched: files without a partner, below the folder.
        notes: what was found and done, for people.
    """

    pairs: tuple[Pair, ...]
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def rules(self) -> dict[str, int]:
        """Pairs by the rule that found them."""
        return dict(Counter(pair.rule for pair in self.pairs))


def find_pairs(path: Path, layout: Layout = "auto", clean_side: Side = "left") -> PairSet:
    """Find the pairs of a folder or list file, in subfolders too.

    Layouts:

    - "folders": a folder of inputs beside one of targets (`input` and `target`, `rainy_image` and
      `ground_truth`, `data` and `gt`, ...), at any depth; several such couples are groups.
    - "one_folder": both in one folder, told apart by name (`rain-001`, `norain-001`).
    - "side_by_side": both in one file, the clean one on `clean_side`.
    - "list": a text file with two paths a line, degraded and clean, relative to the file.
    - "auto": a list where `path` is a text file; else "folders", else "one_folder". Side by side
      has to be asked for, as any wide image could be one.

    Folders called `train`, `val`, `test` or so above a couple say the part of its pairs.

    Raises:
        DataError: there are no pairs, or the list has a line that cannot be used.
    """
    if path.is_file() or layout == "list":
        if path.suffix.lower() != ".txt":
            raise DataError(f"{path}: expected a folder, or a .txt file with two paths a line")
        return PairSet(tuple(_of_list(path)))
    if layout == "side_by_side":
        pairs = tuple(
            Pair(
                _name(file, path),
                file,
                file,
                "side by side",
                _part_of(file.relative_to(path).parent),
                clean_side=clean_side,
            )
            for file in image_files(path)
        )
        return _checked(path, PairSet(pairs))
    if layout in ("auto", "folders"):
        found = _of_folders(path)
        if found.pairs or layout == "folders":
            return _checked(path, found)
    return _checked(path, _of_one_folder(path))


def _of_folders(root: Path) -> PairSet:
    pairs: list[Pair] = []
    left: list[str] = []
    couples = list(_couples(root))
    for inputs, targets in couples:
        matches = match_names(_below(inputs), _below(targets))
        above = inputs.parent.relative_to(root)
        group = above.as_posix() if len(couples) > 1 else ""
        for file, target in matches.targets.items():
            path = inputs / file
            rule = matches.rules[file]
            pairs.append(
                Pair(_name(path, root), path, targets / target, rule, _part_of(above), group)
            )
        left += [_name(inputs / file, root) for file in matches.inputs_left]
        left += [_name(targets / file, root) for file in matches.targets_left]
    return PairSet(tuple(sorted(pairs, key=lambda pair: pair.name)), tuple(sorted(left)))


def _couples(root: Path) -> Iterator[tuple[Path, Path]]:
    """Folders of inputs with the folder of targets beside each."""
    folders = [root, *sorted(folder for folder in root.rglob("*") if folder.is_dir())]
    for folder in folders:
        children = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
        inputs = [children[name] for name in INPUT_FOLDERS if name in children]
        targets = [children[name] for name in TARGET_FOLDERS if name in children]
        if inputs and targets:
            yield inputs[0], targets[0]


def _of_one_folder(root: Path) -> PairSet:
    files = list(_below(root))
    clean = [file for file in files if is_clean_name(file)]
    rainy = [file for file in files if not is_clean_name(file)]
    matches = match_names(rainy, clean)
    pairs = tuple(
        Pair(
            file.as_posix(), root / file, root / target, matches.rules[file], _part_of(file.parent)
        )
        for file, target in matches.targets.items()
    )
    left = (*matches.inputs_left, *matches.targets_left)
    return PairSet(pairs, tuple(file.as_posix() for file in sorted(left)))


def _of_list(path: Path) -> Iterator[Pair]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None
    some = False
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        names = line.split("\t") if "\t" in line else line.split()
        if len(names) != 2:
            raise DataError(
                f"{path}, line {number}: expected two paths, degraded and clean; found {line!r}"
            )
        rainy, clean = (_listed_file(path, name.strip(), number) for name in names)
        some = True
        yield Pair(names[0].strip().lstrip("/"), rainy, clean, "list file")
    if not some:
        raise DataError(f"{path}: is empty; expected two paths a line")


def _listed_file(path: Path, name: str, number: int) -> Path:
    # SPA-Data's lists begin their paths with a slash, though they are relative.
    for candidate in (path.parent / name, path.parent / name.lstrip("/")):
        if candidate.is_file():
            return candidate
    raise DataError(f"{path}, line {number}: no such file: {name}")


def _checked(path: Path, found: PairSet) -> PairSet:
    if found.pairs:
        return found
    left = f"; without a partner: {listed(found.unmatched)}" if found.unmatched else ""
    raise DataError(
        f"{path}: no pairs of images found{left}. Expected a folder such as input beside one such "
        "as target, or names such as rain-001 and norain-001, or data.layout=side_by_side"
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    Example:
        >>> listed(["a", "b", "c", "d", "e", "f", "g"])
        'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _below(folder: Path) -> Iterator[PurePath]:
    for file in image_files(folder):
        yield file.relative_to(folder)


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _part_of(path: PurePath) -> str:
    for word in reversed(path.parts):
        name = word.lower()
        if name.startswith("train"):
            return "train"
        if name.startswith("val"):
            return "validation"
        if name.startswith("test"):
            return "test"
    return ""
