from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest

from bids_app import judge
from bids_app.paper import claims, cohort, report
from bids_app.paper.runs import OURS, Plan
from bids_app.paper.scoring import COLUMNS, ENSEMBLE, SHOWN
from bids_app.train.methods import BASELINE

PAPER_NUMBERS = {"T2Sag": 247, "STIR": 137, "T2starAx": 119, "T1": 63, "T2Ax": 52, "MP2RAGE": 36}


def test_cohorts_have_the_papers_composition():
    members = cohort.training_members()
    assert {name: sum(name in one.sequences for one in members) for name in PAPER_NUMBERS} == PAPER_NUMBERS
    tested = cohort.test_members()
    assert {one.cohort for one in tested} == set(SHOWN) == {"A", "C"}
    for one in tested:
        assert set(SHOWN[one.cohort][-1]) <= set(one.sequences)


def scores(method, mean, spread, shown=(("T2Sag",),), runs=("seed-0", "seed-1", ENSEMBLE)):
    """Return rows with a known mean, for 30 participants of each cohort, the same people for every method."""
    people = np.random.default_rng(0).uniform(0.3, 0.5, 60)
    noise = np.random.default_rng(crc32(method.encode())).normal(0, spread, 60)
    # The same spread upwards and downwards: no gain on the whole.
    noise -= np.median(noise)
    rows = []
    for number, (base, extra) in enumerate(zip(people, noise, strict=True)):
        letter = "AC"[number % 2]
        for names in (one for one in SHOWN[letter] if len(one) == 1 or shown == "all"):
            more = 0.05 * ("T2starAx" in names) + 0.01 * (len(names) - 1)
            for run in runs:
                value = f"{base + mean + extra + more:.5f}"
                cells = dict.fromkeys(COLUMNS, value)
                rows.append(
                    cells
                    | {
                        "participant": f"{letter}{number}",
                        "cohort": letter,
                        "shown": "+".join(names),
                        "run": run,
                    }
                    | {"with_lesions": str(number % 5 != 0), "false_lesions": "0"}
                )
    return rows


@pytest.fixture
def tables():
    return {
        BASELINE: scores(BASELINE, 0.0, 0.001),
        OURS: scores(OURS, 0.1, 0.001, "all"),
        "feature-augmentation": scores("feature-augmentation", 0.04, 0.001),
        "frozen-encoder": scores("frozen-encoder", 0.05, 0.001, "all"),
    }


def answers(tables):
    return [one.answer for one in claims.check(tables, "f1_iou20")]


def test_claims_hold_where_the_scores_say_so(tables):
    assert answers(tables) == ["holds", "holds", "holds"]
    reason = claims.check(tables, "f1_iou20")[0].reason
    assert "+0.100" in reason
    assert "48 participants" in reason


def test_claims_do_not_hold_where_they_do_not(tables):
    assert answers(tables | {OURS: scores(OURS, -0.1, 0.001, "all")})[:2] == ["reversed", "reversed"]
    assert answers(tables | {OURS: scores(OURS, 0.0, 0.1, "all")})[0] == "not shown"
    assert answers({OURS: tables[OURS]}) == ["not run", "not run", "holds"]
    # Less harmful than the others is not helpful.
    for row in tables[OURS]:
        if row["shown"] != "T2Sag":
            row["f1_iou20"] = str(float(row["f1_iou20"]) - 0.2)
    assert answers({OURS: tables[OURS]})[2] == "reversed"


def test_report_names_what_the_prior_drives(tables):
    turned = tables | {OURS: scores(OURS, -0.1, 0.001, "all")}
    plan = Plan(None, 3, 2, 2, 4, 4, 64, (2, 2, 2, 2))
    text = "\n".join(report.report(plan, {"prior": tables, "equal": turned}))
    assert text.count("driven by that prior") == 2
    assert "**Simulated cohort**" in text
    assert ".641** / .466*" in text
    assert "48 with" not in text
    assert "cohort A: 30 participants, 24 with lesions" in text


@pytest.mark.slow
def test_a_tiny_run_goes_from_cohort_to_tables_and_is_not_repeated(tmp_path, capsys, caplog):
    arguments = ["--paper", str(tmp_path / "out"), "--steps", "2", "--batch", "2", "--seeds", "1", "--visibility", "prior",
                 "--training", "4", "--testing", "4", "--length", "64", "--channels", "2,2,2,2", "--workers", "1",
                 "--methods", BASELINE, "frozen-encoder", OURS]  # fmt: skip
    assert judge.main(arguments) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "out/paper.md").read_text()
    weights = sorted(tmp_path.rglob("lesion.safetensors"))
    assert len(weights) == 3
    times = [path.stat().st_mtime_ns for path in weights]
    assert judge.main(arguments) == 0
    assert capsys.readouterr().out == text
    assert [path.stat().st_mtime_ns for path in weights] == times
    # Scores alone are enough, also beside other methods; other settings make them void.
    for path in weights:
        path.unlink()
    assert judge.main([*arguments[:-2], OURS]) == 0
    assert capsys.readouterr().out == text
    assert not list(tmp_path.rglob("lesion.safetensors"))
    plan = Plan(tmp_path / "out", 3, 2, 1, 4, 4, 64, (2, 2, 2, 2))
    assert not plan.is_scored("prior", OURS)
    # People of another length are other people, and a run of other options is begun anew.
    assert judge.main([*arguments[:-3], BASELINE, "--length", "48", "--steps", "1"]) == 0
    log = (tmp_path / "out/prior" / BASELINE / "seed-0/log.tsv").read_text().splitlines()
    assert len(log) == 2
    assert {path.name for path in (tmp_path / "out/prior").glob("t*ing-*")} == {
        f"{purpose}-4-{length}" for purpose in ("training", "testing") for length in (48, 64)
    }
    assert judge.main(["--paper", str(tmp_path), "--methods", "frozen-encoder"]) == 2
    assert judge.main(["--paper", str(tmp_path), "--methods", "magic"]) == 2
