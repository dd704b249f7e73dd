"""How far a lesion's probability can be believed: the arithmetic, on numbers whose answer is known."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from bids_app.accuracy.calibration import Found, calibration_error, draw, fit, report, separation, write
from bids_app.cards import SHIPPED, Calibration, read_card
from bids_app.operating import Operating


@pytest.fixture(scope="module")
def pieces() -> list[Found]:
    """What comes of lesions whose chance of being true is known."""
    random = np.random.default_rng(0)
    means = random.uniform(0.4, 0.98, 4000)
    known = Calibration(0.5, -2.0, -1.0)
    return [
        Found(
            float(mean), bool(random.random() < known.of(float(mean), sequences)), (0.1, 0.1, float(1 - mean)), sequences
        )
        for mean, sequences in zip(means, [1, 3] * 2000, strict=True)
    ]  # fmt: skip


def test_fit_finds_what_the_pieces_were_made_with(pieces):
    found = fit(pieces)
    assert found.temperature == pytest.approx(0.5, abs=0.06)
    assert found.offset == pytest.approx(-2.0, abs=0.2)
    assert found.offset_several == pytest.approx(-1.0, abs=0.2)


def test_error_is_the_distance_between_word_and_deed():
    assert calibration_error(np.full(100, 0.8), np.arange(100) < 80, bins=1) == pytest.approx(0)
    assert calibration_error(np.full(100, 0.9), np.zeros(100, bool)) == pytest.approx(0.9)


def test_separation():
    true = np.array([True, True, False, False])
    assert separation(np.array([0.9, 0.8, 0.2, 0.1]), true) == 1
    assert separation(np.array([0.1, 0.2, 0.8, 0.9]), true) == 0
    assert separation(np.full(4, 0.5), true) == 0.5


def test_report_plot_and_card(pieces, tmp_path):
    fitted, checked = pieces[:2000], pieces[2000:]
    found = fit(fitted)
    lines = "\n".join(report(fitted, checked, found, Operating(0.3, 0.0, 0.84, 0.7)))
    errors = [float(line.split("error ")[1].split()[0]) for line in lines.splitlines() if "error " in line]
    assert errors[1] < 0.04 < errors[0]
    assert lines.count("that pass for a lesion") == 2
    draw(checked, found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    for ending in (".json", ".safetensors"):
        shutil.copy(SHIPPED / f"lesion{ending}", tmp_path)
    write(tmp_path / "lesion.json", found, fitted, checked)
    card = read_card(tmp_path / "lesion.safetensors")
    assert card.calibration is not None
    assert card.calibration.temperature == pytest.approx(found.temperature, abs=1e-4)
    assert card.calibration.offset_several == pytest.approx(found.offset_several, abs=1e-4)
    record = json.loads((tmp_path / "lesion.json").read_text())
    assert record.pop("calibration") != {}
    assert "calibration" not in record


def test_what_ships_is_calibrated():
    shipped = read_card(SHIPPED / "lesion.safetensors").calibration
    assert shipped is not None
    assert 0 < shipped.of(0.84, 1) < shipped.of(0.95, 1) < 1
    assert shipped.of(0.84, 1) < shipped.of(0.84, 2) < 1
