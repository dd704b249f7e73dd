"""Whatever stands in sidecars and filter files, discovery ends in units, warnings or a sentence: never in a traceback."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from fakes_discover import dataset, found, scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_app.errors import UsageError
from bids_app.sequences import SLOTS

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["*", "sag", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "InversionTime",
        "EchoTime",
        "RepetitionTime",
        "ScanningSequence",
        "MTState",
        "SliceThickness",
        "IntendedFor",
        "run",
    ]
) | st.text(string.printable, max_size=6)
SIDECARS = st.dictionaries(FIELDS, VALUES, max_size=4).map(json.dumps).map(str.encode) | st.binary(
    max_size=40
)
ENTITIES = st.sampled_from(["acquisition", "run", "session", "suffix", "acq", "part"]) | st.text(max_size=4)
FILTERS = st.dictionaries(
    st.sampled_from(SLOTS) | st.text(max_size=4),
    st.dictionaries(ENTITIES, VALUES, max_size=3) | VALUES,
    max_size=3,
).map(json.dumps).map(str.encode) | st.binary(max_size=40)  # fmt: skip
OFTEN = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = dataset(tmp_path_factory.mktemp("fuzz") / "bids")
    scan(root, "sub-01_acq-sag_T2w")
    scan(root, "sub-01_acq-ax_T2starw", "axial", 50, 120)
    scan(root, "sub-02_acq-sag_T2w")
    return root


@OFTEN
@given(own=SIDECARS, inherited=SIDECARS)
def test_sidecars(root, own, inherited):
    (root / "sub-01/anat/sub-01_acq-sag_T2w.json").write_bytes(own)
    (root / "T2w.json").write_bytes(inherited)
    discovery = found(root)
    # The images are read all the same, and what is wrong is a warning.
    assert [unit.participant for unit in discovery.units] == ["01", "02"]
    assert not any(problem.fatal for problem in discovery.problems)


@OFTEN
@given(content=FILTERS)
def test_filter_files(root, content):
    for name in ("sub-01/anat/sub-01_acq-sag_T2w.json", "T2w.json"):
        (root / name).unlink(missing_ok=True)
    path = root.parent / "filter.json"
    path.write_bytes(content)
    refusal: UsageError | None = None
    try:
        discovery = found(root, bids_filter_file=path)
    except UsageError as error:
        refusal = error
    assert refusal.next_step if refusal else discovery.participants == ("01", "02")
