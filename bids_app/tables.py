"""Tab-separated tables, those that other programs wrote, and the columns of the table of lesions."""

from __future__ import annotations

import codecs
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import write_text

MISSING = "n/a"
#: Smaller numbers are written with an exponent.
SMALL = 1e-3
Cell = str | int | float | None
#: What parts the cells in tables of other programs: the first of these that the header has.
_SEPARATORS = "\t;,"
#: Marks at the beginning of texts that spreadsheet programs save, with what follows them.
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Column:
    """One column of a table: its name, what it holds, and the unit."""

    name: str
    description: str
    units: str = ""

    def definition(self) -> dict[str, str]:
        """Return what a BIDS sidecar says of the column."""
        return {"Description": self.description} | ({"Units": self.units} if self.units else {})


#: Columns of the table of lesions beside each image of instances.
LESION_COLUMNS = (
    Column("index", "Number of the lesion: the same in every image of the session, and its voxel value"),
    Column("name", "Name of the lesion"),
    Column("volume_mm3", "Volume in the common space of the unit (0.5 mm isotropic)", "mm^3"),
    Column("length_mm", "Extent along the cord", "mm"),
    Column("x_mm", "Centre of mass, towards the right, in the scanner space of the reference", "mm"),
    Column("y_mm", "Centre of mass, towards the front, in the scanner space of the reference", "mm"),
    Column("z_mm", "Centre of mass, towards the head, in the scanner space of the reference", "mm"),
    Column("vertebral_level", "Vertebra beside which most of the lesion lies; n/a where that is not known"),
    Column(
        "side",
        "Side of the cord's middle on which most of the lesion lies, by the cord mask: left, right or midline",
    ),
    Column(
        "column",
        "Part of the cord's cross-section in which most of the lesion lies, by the cord mask, not by an atlas:"
        " posterior, lateral, anterior or central",
    ),
    Column("from_top_mm", "From the upper end of the cord mask to the lesion's middle, along the cord", "mm"),
    Column("probability", "Highest probability inside the lesion"),
    Column("mean_probability", "Mean probability inside the lesion"),
    Column(
        "calibrated_probability",
        "Share of such lesions that were true ones in simulated participants; n/a where the weights say nothing of it",
    ),
    Column(
        "noise_sd", "Standard deviation of the mean probability under noise at the bottleneck of the network"
    ),
    Column(
        "support",
        "Mean probability inside the lesion when the network sees less, as WHAT:VALUE separated by commas;"
        " n/a where there was one sequence",
    ),
    Column("sequences", "Sequences that cover the centre of the lesion, separated by commas"),
    Column("reference", "Reference image of the unit in which the lesion was found, without extension"),
    Column("voxels", "Number of voxels in this image; 0 where another lesion has the only voxel it reaches"),
    Column("volume_image_mm3", "Volume of those voxels", "mm^3"),
)


def write_table(path: Path, columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]]) -> None:
    """Write a table atomically; missing and empty cells become ``n/a``.

    Raises
    ------
    EnvironmentFault
        The file cannot be written.
    """
    lines = ["\t".join(column.name for column in columns)]
    lines += ["\t".join(cell_text(row.get(column.name)) for column in columns) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a table with a header line; ``n/a`` stays as it is.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        A line has not as many cells as the header.
    """
    header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    names = header.split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def read_sheet(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read a table that a person or another program wrote.

    Cells are parted by tabs, semicolons or commas, with or without quotes; byte order marks, the line ends of every system
    and blank lines are taken as they come.

    Returns
    -------
    list of (int, dict of str to str)
        Of each row the line on which it ends, and its cells by the header's names in lower case; empty ones are ``n/a``.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no text, a quote is left open, or a row has not as many cells as the header; the text says which.
    """
    text = _text_of(path.read_bytes())
    head = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((one for one in _SEPARATORS if one in head), "\t")
    names: list[str] = []
    rows = []
    for number, cells in _cells(text, separator):
        if not any(cells):
            continue
        if not names:
            names = [cell.lower() for cell in cells]
            continue
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        if len(cells) != len(names):
            raise ValueError(f"line {number} has {len(cells)} cells, the header {len(names)}")
        rows.append((number, {name: cell or MISSING for name, cell in zip(names, cells, strict=True)}))
    return rows


def _text_of(data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8: save it again as such") from error


def _cells(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return the cells of each row, without white space around them, with the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    found = []
    try:
        for row in reader:
            # An open quote takes in lines up to the next quote.
            if any("\n" in cell and separator in cell for cell in row):
                raise ValueError(f"a quote before line {reader.line_num} is not closed")
            found.append((reader.line_num, [" ".join(cell.split()) for cell in row]))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: the quotes are not in pairs") from error
    return found


def cell_text(cell: Cell) -> str:
    """Return a cell as it stands in a table."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return MISSING
    if isinstance(cell, float):
        if 0 < abs(cell) < SMALL:
            return f"{cell:.3g}"
        return f"{cell:.4f}".rstrip("0").rstrip(".")
    # splitlines() knows more line ends than \n: join on any white space.
    return " ".join(str(cell).split()) or MISSING
