"""The page of the dataset, and the decisions of people that it saves and the group level reads."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_group import finish, options, study  # noqa: F401
from test_report import Page, discovery_of, read, run_of, scan, segmented

from bids_app import cli
from bids_app.errors import UsageError
from bids_app.group import write_group
from bids_app.pages import overview_of, page_of
from bids_app.qc import Decision, read_decisions
from bids_app.records import Kept
from bids_app.report import write_dataset_page, write_report
from bids_app.report.bundle import script_hash
from bids_app.report.dataset import FAR_OUT, LEAST_SESSIONS, PARTS, _far_out, frequencies_of
from bids_app.report.remarks import remarks_of
from bids_app.tables import read_table

HEAD = "participant_id\tsession_id\tdecision\tcomment\n"


def written(options):  # noqa: F811
    write_group(options)
    text = write_dataset_page(options).read_text(encoding="utf-8")
    return text, Page(text)


def test_failures_come_first_and_pages_are_linked(options, study, tmp_path):  # noqa: F811
    options.output_dir.joinpath("sub-02.html").write_text("a page of an older kind")
    text, page = written(options)
    assert text.startswith("<!DOCTYPE html>")
    assert (
        "3 participants, 4 sessions; 2 with failures. Of the 2 that count, 1 have lesions: 2 in all"
        in page.text
    )
    assert page.text.index("What failed") < page.text.index("sub-01_ses-A_T2w No cord was found. Look at it.")
    assert page.text.index("Nothing of sub-03 can be used.") < page.text.index(
        "Look at each, decide, and save"
    )
    assert [link["href"] for link in page.all("a") if link["href"].endswith(".html")] == ["sub-02.html"]
    rows = [row for row in page.all("tr") if "data-participant" in row]
    # What failed comes first; the rest stays in order.
    assert [(row["data-participant"], row["data-session"]) for row in rows] == [
        ("sub-01", "ses-A"),
        ("sub-03", "n/a"),
        ("sub-01", "ses-B"),
        ("sub-02", "n/a"),
    ]
    assert len(page.all("select")) == 4
    assert all("aria-label" in select for select in page.all("select"))
    assert "https:" not in text
    script = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    assert f"script-src {script_hash(script)}" in text


def test_excluded_sessions_do_not_count_but_stay_in_sight(options, study, tmp_path):  # noqa: F811
    path = tmp_path / "qc.tsv"
    path.write_text(
        HEAD + "sub-02\tn/a\texclude\t<b>moved</b> a lot\nsub-01\tses-B\tkeep\tn/a\nsub-99\tn/a\tkeep\tn/a\n"
    )
    decided = replace(options, qc=path)
    lesions, units, sessions = write_group(decided)
    assert read_table(lesions) == []
    assert [(row["participant_id"], row["session_id"]) for row in read_table(sessions)] == [
        ("sub-01", "ses-A"),
        ("sub-01", "ses-B"),
        ("sub-03", "n/a"),
    ]
    rows = read_table(units)
    assert [row["decision"] for row in rows] == ["n/a", "keep", "exclude", "n/a"]
    assert rows[2]["comment"] == "<b>moved</b> a lot"
    text, page = written(decided)
    assert "1 excluded by decision." in page.text
    assert "<b>moved" not in text
    assert [row.get("value") for row in page.all("input")].count("<b>moved</b> a lot") == 1
    chosen = [attrs["value"] for attrs in page.all("option") if "selected" in attrs]
    assert sorted(chosen) == ["", "", "exclude", "keep"]
    # Without the file everything counts again.
    assert len(read_table(write_group(options)[0])) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("participant_id\tdecision\nsub-01\tkeep\n", "no column comment, session_id"),
        (HEAD + "sub-01\tn/a\tmaybe\tn/a\n", "line 2: 'maybe' is neither keep nor exclude"),
        (HEAD + "sub-01\tn/a\tkeep\tn/a\nsub-01\tn/a\texclude\tn/a\n", "line 3: sub-01 stands there twice"),
        (HEAD + "sub-01\tkeep\n", r"cannot be read \(line 2 has 2 cells, the header 4\)"),
        (HEAD + 'sub-01\tn/a\tkeep\t"a\nsub-02\tn/a\tkeep\tn/a\n', "the quotes are not in pairs"),
        (HEAD + 'sub-01\tn/a\tkeep\t"a\nsub-02\tn/a\tkeep\tb"\n', "a quote before line 3 is not closed"),
        (b"participant_id\tsession_id\tdecision\tcomment\nsub-01\tn/a\tkeep\tg\xeane\n", "UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_of_decisions_is_refused_in_words(tmp_path, text, words):
    path = tmp_path / "qc.tsv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=words):
        read_decisions(path)
    assert read_decisions(None) == {}


ROWS = (("sub-01", "n/a", "exclude", "gêne, a lot"), ("sub-02", "ses-M6", "keep", "n/a"))


@pytest.mark.parametrize(
    ("separator", "end", "quotes", "encoding"),
    [
        *[("\t", "\n", False, code) for code in ("utf-8", "utf-8-sig", "utf-16")],
        *[("\t", "\r\n", True, "utf-8-sig"), ("\t", "\r", False, "utf-8")],
        *[(";", "\r\n", quotes, "utf-8-sig") for quotes in (False, True)],
        (",", "\n", True, "utf-8"),
    ],
)
def test_decisions_that_a_spreadsheet_program_saved(tmp_path, separator, end, quotes, encoding):
    """With blank lines, lines of nothing but separators, and spaces around the cells, as they come from Excel."""
    lines = [HEAD.split(), [], *ROWS, ["", "", "", ""]]
    text = end.join(
        separator.join(f'"{cell}"' if quotes and cell else f"{cell} " for cell in line) for line in lines
    )
    path = tmp_path / "qc.tsv"
    path.write_bytes((text + end + end).encode(encoding))
    assert read_decisions(path) == {
        ("sub-01", ""): Decision("exclude", "gêne, a lot"),
        ("sub-02", "ses-M6"): Decision("keep", ""),
    }


def test_quotes_within_a_comment_stay(tmp_path):
    path = tmp_path / "qc.tsv"
    path.write_text(HEAD + 'sub-01\tn/a\tKeep\tfield of 5" only\nsub-02\tn/a\tkeep\t"""new"" coil; ok"\n')
    comments = [decision.comment for decision in read_decisions(path).values()]
    assert comments == ['field of 5" only', '"new" coil; ok']


def test_decisions_are_of_the_group_level(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main([str(tmp_path), str(tmp_path / "out"), "participant", "--qc", "qc.tsv"])
    assert "--qc is of the group level" in capsys.readouterr().err


def test_thumbnails_and_remarks_come_from_the_pages_of_participants(tmp_path):
    path, mask = scan(tmp_path, "sub-01_T2w")
    unit = segmented(tmp_path, [path], mask, dropped={tmp_path / "x.nii.gz": "no cord in it"})
    page = write_report("01", [unit], discovery_of(), run_of(tmp_path))
    entry = overview_of(page)["sub-01_T2w"]
    assert str(entry["thumbnail"]).startswith("data:image/jpeg;base64,")
    assert "x.nii.gz was left out: no cord in it." in entry["remarks"]
    text = read(page).text
    assert "Quality: " in text
    assert "x.nii.gz was left out: no cord in it." in text
    kept = Kept(unit.unit, {"Lesions": 0, "Volume_mm3": 0.0, "Sequences": ["T2Sag"]})
    write_report("01", [kept], discovery_of(), run_of(tmp_path))
    assert overview_of(page)["sub-01_T2w"] == entry
    assert overview_of(tmp_path / "none.html") == {}
    page.write_text('<script type="application/json" id="overview">{</script>')
    assert overview_of(page) == {}


def test_pages_that_were_tampered_with_bring_nothing_but_pictures(options, study):  # noqa: F811
    entry = {
        "sub-02_T2w": {
            "thumbnail": "javascript:alert(1)",
            "alt": "",
            "remarks": ["<script>alert(1)</script>"],
        }
    }
    harmless = json.dumps(entry).replace("</", "<\\/")
    script = f'<script type="application/json" id="overview">{harmless}</script>'
    page_of("02", options.output_dir).write_text(script)
    text, page = written(options)
    assert "javascript:" not in text
    assert "<script>alert" not in text
    assert "<script>alert(1)</script>" in page.text


def test_remarks(tmp_path):
    from bids_app.report.arrays import read_crop

    path, mask = scan(tmp_path, "sub-01_T2w")
    unit = segmented(tmp_path, [path], mask)
    crop = read_crop(unit)
    # 48 mm of cord in the scan.
    assert [remark.split(" mm")[0] for remark in remarks_of(unit, crop)] == ["Only 48"]
    crop.instances[20:28, 20:28, -4:] = 3
    crop.instances[20:28, 20:28, :-20] = 4
    words = " ".join(remarks_of(unit, crop))
    assert "of the cord: more than is usual" in words
    assert "Lesion 3, 4 reaches the end of the cord" in words


def test_a_cord_that_was_seen_in_part_is_told(tmp_path):
    from bids_app.report.arrays import read_crop

    path, mask = scan(tmp_path, "sub-01_T2w")
    unit = segmented(tmp_path, [path], mask)
    crop = read_crop(unit)
    (remark,) = remarks_of(replace(unit, cord_mm=70.0, image_mm=100.0), crop)
    assert "seen over 70 of 100 mm" in remark
    assert not remarks_of(replace(unit, cord_mm=81.0, image_mm=100.0), crop)


def line(participant="sub-01", level="n/a", side="left", column="lateral", depth="55"):
    return {
        "participant_id": participant, "session_id": "n/a", "vertebral_level": level, "side": side, "column": column,
        "from_top_mm": depth,
    }  # fmt: skip


def test_heat_map_counts_sessions_not_lesions():
    heat = frequencies_of([line(), line(), line("sub-02", depth="95"), line(column="n/a")], 4)
    assert [name for name, _ in heat.rows] == ["40 to 60 mm", "60 to 80 mm", "80 to 100 mm"]
    assert [cells[PARTS.index("left lateral")][:2] for _, cells in heat.rows] == [
        (1, 0.25),
        (0, 0.0),
        (1, 0.25),
    ]
    assert heat.unplaced == 1
    named = frequencies_of(
        [line(level="C3"), line("sub-02", level="C5", column="posterior"), line("sub-03")], 3
    )
    assert [name for name, _ in named.rows] == ["C3", "C4", "C5"]
    assert named.unplaced == 1
    assert frequencies_of([], 3).rows == []


def test_what_lies_far_from_the_others_is_noticed(options, study):  # noqa: F811
    from bids_app.report.dataset import SessionRow

    rows = [
        SessionRow(f"sub-{n}", "", "", [], "", n % 3, 10.0 * (n % 3), [], [], "", "")
        for n in range(LEAST_SESSIONS)
    ]
    assert _far_out(rows) == {}
    rows.append(replace(rows[0], lesions=int(3 + 2 * FAR_OUT)))
    assert list(_far_out(rows)) == [LEAST_SESSIONS]
    assert _far_out(rows[-3:]) == {}


def test_methods_and_checksums_stand_with_their_unit(tmp_path):
    path, mask = scan(tmp_path, "sub-01_T2w")
    unit = segmented(tmp_path, [path], mask)
    run = run_of(
        tmp_path,
        versions={"numpy": "9.9"},
        checksums={"sub-01_T2w.nii.gz": "c0ffee", "sub-02_T2w.nii.gz": "beef"},
        methods=lambda outcome: [f"Done on {outcome.unit.name} <so>."],
    )
    page = write_report("01", [unit], discovery_of(), run)
    text = read(page).text
    assert "Done on sub-01_T2w <so>." in text
    assert "SHA-256 of sub-01_T2w.nii.gz c0ffee" in text
    assert "beef" not in text
    assert "numpy 9.9" in text
    kept = Kept(unit.unit, {"Lesions": 0, "Volume_mm3": 0.0, "Sequences": ["T2Sag"]})
    write_report("01", [kept], discovery_of(), run_of(tmp_path))
    assert "c0ffee" in read(page).text
