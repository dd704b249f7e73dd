"""The official validator has nothing to say about what is written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import oriented_affine
from fakes_write import centred, make_image, make_unit

from bids_app.group import write_group
from bids_app.options import Options
from bids_app.records import Failed, Unit
from bids_app.write.dataset import start_dataset
from bids_app.write.derivatives import write_session
from bids_app.write.manifest import finish_run, start_run, write_status

SAG, AX = ("RAS", (3.0, 1.0, 1.0), (10, 40, 60)), ("LPS", (1.0, 1.0, 5.0), (40, 40, 12))


def validator() -> str:
    beside = Path(sys.executable).parent / "bids-validator-deno"
    found = str(beside) if beside.exists() else shutil.which("bids-validator-deno")
    if not found:
        pytest.skip("bids-validator-deno is not installed: pip install bids-validator-deno")
    return found


def findings(dataset: Path, tmp_path: Path) -> list[tuple[str, str, str]]:
    report = tmp_path / "report.json"
    command = [validator(), str(dataset), "--format", "json", "-o", str(report)]
    subprocess.run(command, capture_output=True, timeout=120)
    issues = json.loads(report.read_text())["issues"]["issues"]
    return [(issue.get("severity"), issue.get("code"), issue.get("location")) for issue in issues]


def make(options: Options, name: str, grid, sequence: str = "T2Sag", z_mm: float = 0.0):
    orientation, spacing, shape = grid
    affine = centred(oriented_affine(orientation, spacing), shape, (0, 0, z_mm))
    # Half of the scans of this world do not say that they are in mm.
    return make_image(
        options.bids_dir, name, affine, shape, sequence, unit="unknown" if "_acq" in name else "mm"
    )


@pytest.fixture
def finished(tmp_path):
    """A finished dataset with every kind of name."""
    options = Options(tmp_path / "raw", tmp_path / "out")
    start_dataset(options)
    run = start_run(options, ["mscord", "raw", "out", "participant"])
    head = "sub-01_ses-M0_"
    upper = make(options, head + "acq-sag_chunk-1_T2w", SAG, z_mm=30)
    lower = make(options, head + "acq-sag_chunk-2_T2w", SAG, z_mm=-20)
    shared = make(options, head + "acq-ax_ce-gd_rec-norm_run-02_T2starw", AX, "T2starAx", 5)
    uni = make(options, head + "UNIT1", SAG, "MP2RAGE", 30)
    odd = [
        make(options, head + "flip-1_inv-2_mt-on_MP2RAGE", SAG, "MP2RAGE", 30),
        make(options, head + "acq-sag_STIR", SAG, "STIR", 30),
        make(options, head + "echo-1_part-mag_T2star", AX, "T2starAx", 30),
        make(options, head + "bp-cspine_T1w", SAG, "T1", 30),
    ]
    units = [
        make_unit(tmp_path / "a", Unit(upper, (upper, shared, uni), tuple(odd)), {1: (0, 3), 2: (9, 2)}),
        make_unit(tmp_path / "b", Unit(lower, (lower, shared)), {3: (10, 2)}),
    ]
    write_session(units, options)
    plain = make(options, "sub-02_T2w", SAG)
    clean = make_unit(tmp_path / "c", Unit(plain, (plain,)), {})
    write_session([clean], options)
    failed = Failed("03", "Nothing of sub-03 can be used.", "Look at it.")
    for label, outcomes in (("01", units), ("02", [clean]), ("03", [failed])):
        write_status(label, outcomes, options)
        (options.output_dir / f"sub-{label}.html").write_text("<!doctype html><p>report")
    finish_run(run, 3, [*units, clean, failed])
    write_group(options)
    return options


def test_validator_is_silent(finished, tmp_path):
    assert findings(finished.output_dir, tmp_path) == []


def test_this_test_can_fail(finished, tmp_path):
    mask = next(finished.output_dir.rglob("*label-lesion*_mask.nii.gz"))
    mask.rename(mask.with_name(mask.name.replace("_label-lesion", "_label-lesion_inv-1")))
    assert any(severity == "error" for severity, _, _ in findings(finished.output_dir, tmp_path))
