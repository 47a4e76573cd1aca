"""RecBole's atomic files: `name.inter` with `name.user` and `name.item` beside it.

Tab-separated, with the type in the header (`user_id:token`), which is taken off here; tables of
users and items are joined by their first column.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

SUFFIX = ".inter"
BESIDE = (".user", ".item")


@dataclass(frozen=True)
class Companion:
    """A table of users or items, all cells as text.

    Attributes:
        key: Its first column, which the interactions have too.
        table: Its rows.
    """

    key: str
    table: pa.Table

    @property
    def names(self) -> list[str]:
        """Columns that it adds."""
        return [name for name in self.table.column_names if name != self.key]

    def column(self, name: str, keys: pa.Array) -> pa.Array:
        """The column's cells for keys `[rows]`; null for a key that it does not have."""
        place = pc.index_in(keys, value_set=self.table.column(self.key).combine_chunks())
        return self.table.column(name).combine_chunks().take(place)


def plain_name(name: str) -> str:
    """A column's name without its type.

    Example:
        >>> plain_name("user_id:token")
        'user_id'
    """
    return name.rpartition(":")[0] or name


def companions(path: Path, names: list[str]) -> tuple[Companion, ...]:
    """The tables beside an interaction file whose first column is among its columns."""
    found = []
    for suffix in BESIDE:
        file = path.with_suffix(suffix)
        if file.is_file():
            table = _read(file)
            if table.column_names[0] in names:
                found.append(Companion(table.column_names[0], table))
    return tuple(found)


def _read(file: Path) -> pa.Table:
    parse = pa.csv.ParseOptions(delimiter="\t", quote_char=False)
    with pa.csv.open_csv(file, parse_options=parse) as reader:
        originals = reader.schema.names
    table = pa.csv.read_csv(
        file,
        parse_options=parse,
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(originals, pa.string()), strings_can_be_null=True
        ),
    )
    return table.rename_columns([plain_name(name) for name in originals])
