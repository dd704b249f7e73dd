"""The methods text of a run: what really ran, in words that a paper can use, with the references."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from .. import __version__, space
from ..files import write_text
from ..records import Segmented
from .dataset import NOTICE

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Reference:
    """One entry of the bibliography."""

    key: str
    words: str
    kind: str
    authors: str
    title: str
    where: str
    year: int
    doi: str = ""
    url: str = ""

    def bibtex(self) -> str:
        """Return the entry as BibTeX."""
        field = "booktitle" if self.kind == "inproceedings" else "journal"
        values = {"author": self.authors, "title": self.title, field: self.where, "year": str(self.year)}
        values |= {"doi": self.doi} if self.doi else {"url": self.url}
        lines = [f"  {name} = {{{value}}}" for name, value in values.items()]
        return f"@{self.kind}{{{self.key},\n" + ",\n".join(lines) + "\n}\n"

    def line(self) -> str:
        """Return the entry as a line of text."""
        link = f"https://doi.org/{self.doi}" if self.doi else self.url
        return f"{self.words.replace(' et al.', ' et al.,')}: {self.title}. {self.where}, {self.year}. {link}"


_REFERENCES = (
    Reference(
        "walsh2024", "Walsh et al. 2024", "inproceedings", "Walsh, Ricky and others",
        "Multi-sequence learning for multiple sclerosis lesion segmentation in spinal cord MRI",
        "Medical Image Computing and Computer Assisted Intervention (MICCAI)", 2024, url="https://hal.science/hal-04668565",
    ),
    Reference(
        "deleener2017", "De Leener et al. 2017", "article", "De Leener, Benjamin and others",
        "SCT: Spinal Cord Toolbox, an open-source software for processing spinal cord MRI data", "NeuroImage", 2017,
        "10.1016/j.neuroimage.2016.10.009",
    ),
    Reference(
        "gorgolewski2011", "Gorgolewski et al. 2011", "article", "Gorgolewski, Krzysztof and others",
        "Nipype: a flexible, lightweight and extensible neuroimaging data processing framework in Python",
        "Frontiers in Neuroinformatics", 2011, "10.3389/fninf.2011.00013",
    ),
    Reference(
        "gorgolewski2016", "Gorgolewski et al. 2016", "article", "Gorgolewski, Krzysztof J. and others",
        "The brain imaging data structure, a format for organizing and describing outputs of neuroimaging experiments",
        "Scientific Data", 2016, "10.1038/sdata.2016.44",
    ),
    Reference(
        "yarkoni2019", "Yarkoni et al. 2019", "article", "Yarkoni, Tal and others", "PyBIDS: Python tools for BIDS datasets",
        "Journal of Open Source Software", 2019, "10.21105/joss.01294",
    ),
    Reference(
        "lowekamp2013", "Lowekamp et al. 2013", "article", "Lowekamp, Bradley C. and others", "The design of SimpleITK",
        "Frontiers in Neuroinformatics", 2013, "10.3389/fninf.2013.00045",
    ),
    Reference(
        "paszke2019", "Paszke et al. 2019", "inproceedings", "Paszke, Adam and others",
        "PyTorch: an imperative style, high-performance deep learning library",
        "Advances in Neural Information Processing Systems", 2019, url="https://arxiv.org/abs/1912.01703",
    ),
    Reference(
        "harris2020", "Harris et al. 2020", "article", "Harris, Charles R. and others", "Array programming with NumPy",
        "Nature", 2020, "10.1038/s41586-020-2649-2",
    ),
    Reference(
        "virtanen2020", "Virtanen et al. 2020", "article", "Virtanen, Pauli and others",
        "SciPy 1.0: fundamental algorithms for scientific computing in Python", "Nature Methods", 2020,
        "10.1038/s41592-019-0686-2",
    ),
)  # fmt: skip
REFERENCES: Mapping[str, Reference] = {one.key: one for one in _REFERENCES}


@dataclass(frozen=True)
class Methods:
    """Paragraphs of text, and the references that they cite."""

    paragraphs: Sequence[str]
    references: Sequence[Reference]

    def markdown(self) -> str:
        """Return the text with its list of references."""
        return (
            "\n\n".join([*self.paragraphs, "References\n", *(f"* {one.line()}" for one in self.references)])
            + "\n"
        )

    def page(self) -> str:
        """Return the same as a page of HTML."""
        body = "".join(f"<p>{html.escape(text)}</p>\n" for text in self.paragraphs)
        listed = "".join(f"<li>{html.escape(one.line())}</li>\n" for one in self.references)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Methods</title></head>\n'
            f"<body>\n{body}<h2>References</h2>\n<ul>\n{listed}</ul>\n</body>\n</html>\n"
        )

    def bibtex(self) -> str:
        """Return the references as BibTeX."""
        return "\n".join(one.bibtex() for one in self.references)


def methods_of(done: Sequence[Segmented], device: str) -> Methods:
    """Describe how some units were done; there must be at least one.

    Parameters
    ----------
    done : sequence of Segmented
    device : str
        Where the networks ran.
    """
    first, cited = done[0], set()

    def cite(key: str) -> str:
        cited.add(key)
        return REFERENCES[key].words

    ways = Counter(one.method for outcome in done for one in outcome.prepared.alignments.values())
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template("methods.md").render(
        cite=cite,
        count=_count,
        version=__version__,
        people=len({outcome.participant for outcome in done}),
        units=len(done),
        sequences=Counter(name for outcome in done for name in outcome.sequences),
        sct=first.prepared.cord_method.startswith("SCT"),
        cord=first.prepared.cord_method,
        rigid=ways["rigid"],
        header=ways["header"],
        spacing=f"{space.SPACING_MM:g}",
        crop=f"{space.CROP_VOXELS * space.SPACING_MM:g}",
        margin=f"{space.CORD_MARGIN_MM:g}",
        device=device,
        weights={"name": "", "sha256": "", "data": ""} | dict(first.weights),
        threshold=f"{first.operating.threshold:g}",
        least_mean=first.operating.words(),
        volume=f"{first.operating.minimum_volume_mm3:g}",
        notice=NOTICE,
    )
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    return Methods(paragraphs, [one for key, one in REFERENCES.items() if key in cited])


def write_methods(methods: Methods, stem: Path) -> None:
    """Write ``<stem>.md``, ``.html`` and ``.bib``."""
    write_text(stem.with_name(stem.name + ".md"), methods.markdown())
    write_text(stem.with_name(stem.name + ".html"), methods.page())
    write_text(stem.with_name(stem.name + ".bib"), methods.bibtex())


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
