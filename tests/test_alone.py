"""Many sequences in training against T2Sag alone: scores that are kept, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bids_app.accuracy import alone
from bids_app.evaluate.statistics import compare
from bids_app.model import checkpoint
from bids_app.model.network import MultiSequenceNet, NetworkConfig
from bids_app.tables import read_table, write_table

DOCS = Path(__file__).parents[1] / "docs"


def table(path: Path, gains: list[float]) -> Path:
    """Write scores of a baseline and of another method that is better by ``gains``; the last participant is healthy."""
    rows = [
        {
            "method": method, "steps": 8, "seed": seed, "participant": number, "lesions": int(number < len(gains)),
            **dict.fromkeys(alone.SCORES, 0.1 * number + seed + (0 if method == alone.BASELINE else gain)),
        }
        for method in ("shared-start", alone.BASELINE) for seed in (0, 1) for number, gain in enumerate([*gains, 9.0])
    ]  # fmt: skip
    write_table(path, alone.COLUMNS, rows)
    return path


def test_methods_are_compared_over_participants_with_lesions(tmp_path):
    gains = [0.1, 0.2, 0.15, 0.05, 0.3, 0.25]
    *_, last = alone.comparison(table(tmp_path / "scores.tsv", gains))
    p = compare(np.array(gains), np.zeros(6)).p
    assert last.startswith("  shared-start against t2sag-baseline, 8 steps\tF1 iou20 +0.175 ")
    assert last.endswith(f"Wilcoxon p = {p:.2g}, 6 participants")


def test_without_a_baseline_of_as_many_steps_nothing_is_compared(tmp_path):
    path = table(tmp_path / "scores.tsv", [0.1, 0.2])
    rows = [{**row, "steps": 9} if row["method"] == alone.BASELINE else row for row in read_table(path)]
    write_table(path, alone.COLUMNS, rows)
    assert not [line for line in alone.comparison(path) if "against" in line]


@pytest.fixture
def runs(tmp_path):
    """Two runs of networks that have learned nothing."""
    for method in (alone.BASELINE, "mean-imputation"):
        torch.manual_seed(0)
        network = MultiSequenceNet(NetworkConfig(6, (4, 8), ("lesion", "cord")))
        path = tmp_path / "runs" / method / "seed-0" / "lesion.safetensors"
        path.parent.mkdir(parents=True)
        checkpoint.save(path, network, {"name": "untrained", "steps": 0})
    return tmp_path / "runs"


def test_runs_are_scored_once(runs, tmp_path, monkeypatch, capsys):
    scores = tmp_path / "scores.tsv"
    call = [str(scores), "--runs", str(runs), "--participants", "5", "--workers", "1"]
    assert alone.main(call) == 0
    first = scores.read_bytes()
    rows = read_table(scores)
    assert [row["participant"] for row in rows] == ["0", "1", "2", "3", "4"] * 2
    assert {row["lesions"] for row in rows} == {"0", "1"}
    told = capsys.readouterr().out
    assert "mean-imputation against t2sag-baseline, 0 steps" in told
    monkeypatch.setattr(alone, "make_people", None)
    assert alone.main(call) == 0
    assert scores.read_bytes() == first
    assert capsys.readouterr().out == told
    with pytest.raises(SystemExit):
        alone.main([*call[:-4], "--participants", "7"])
    assert "--participants 5" in capsys.readouterr().err


def test_kept_scores_are_complete():
    """`make accuracy` prints them: everybody is scored in every run, and a method has as many runs as its baseline."""
    rows = read_table(DOCS / "alone.tsv")
    assert (alone.BASELINE, "3600") in {(row["method"], row["steps"]) for row in rows}
    seeds: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        seeds.setdefault((row["method"], row["steps"]), []).append(row["seed"])
    for (_, steps), own in seeds.items():
        assert set(own) == set(seeds[alone.BASELINE, steps])
        assert len(own) == len(set(own)) * alone.PARTICIPANTS
