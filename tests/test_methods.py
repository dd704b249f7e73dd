"""The methods text says what really ran."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from conftest import oriented_affine
from fakes_write import centred, make_image, make_unit

from bids_app.options import Options
from bids_app.records import Unit
from bids_app.write.methods import REFERENCES, methods_of, write_methods


@pytest.fixture
def done(tmp_path):
    options = Options(tmp_path / "raw", tmp_path / "out")
    shape = (10, 40, 60)
    image = make_image(
        options.bids_dir, "sub-01_T2w", centred(oriented_affine("RAS", (3, 1, 1)), shape), shape
    )
    return make_unit(tmp_path / "w", Unit(image, (image,)), {1: (0, 3)})


def test_it_says_who_found_the_cord(done):
    own = "\n".join(methods_of([done], "cpu").paragraphs)
    assert "networks of mscord's own" in own
    assert "De Leener" not in own
    with_sct = replace(done, prepared=replace(done.prepared, cord_method="SCT 7.3 sct_deepseg spinalcord"))
    text = methods_of([with_sct], "cpu").markdown()
    assert "Spinal Cord Toolbox (SCT 7.3 sct_deepseg spinalcord; De Leener et al. 2017)" in text


def test_it_says_which_sequences_and_settings(done):
    text = methods_of([done, done], "cuda").markdown()
    assert "1 participant (2 units of work" in text
    assert f"{done.sequences[0]} in 2 units." in text
    assert f"probability of at least {done.operating.threshold:g}" in text
    assert "on cuda" in text
    assert "no further images to align" in text


def test_every_citation_is_in_the_list_and_in_bibtex(done, tmp_path):
    methods = methods_of([done], "cpu")
    write_methods(methods, tmp_path / "run-1_methods")
    text, page, bib = ((tmp_path / f"run-1_methods{end}").read_text() for end in (".md", ".html", ".bib"))
    named = {one.key for one in REFERENCES.values() if one.words in "\n".join(methods.paragraphs)}
    assert named == {one.key for one in methods.references} == set(re.findall(r"@\w+\{(\w+),", bib))
    assert "walsh2024" in named
    assert "deleener2017" not in named
    assert bib.count("{") == bib.count("}")
    assert "<li>Walsh et al., 2024" in page
    assert "https://hal.science/hal-04668565" in text
