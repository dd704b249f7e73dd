"""The pages in a real browser, opened from disk."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from chromium import Visit, browser
from PIL import Image as Pillow
from test_group import finish, options, study  # noqa: F401
from test_report import LEFT_POSTERIOR_HIGH, discovery_of, run_of, scan, segmented

from bids_app.group import write_group
from bids_app.qc import Decision, read_decisions
from bids_app.report import write_dataset_page, write_report
from bids_app.tables import read_table

LOW = (np.array([2.0, 2.0, -10.0]), 1.6)


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path, mask = scan(folder, "sub-01_T2w", lesions=[LEFT_POSTERIOR_HIGH])
    other, _ = scan(folder, "sub-01_T2starw")
    unit = segmented(folder, [path, other], mask, [LEFT_POSTERIOR_HIGH, LOW])
    return write_report("01", [unit], discovery_of(), run_of(folder))


@pytest.fixture(scope="module")
def visit(chromium, page_path):
    seen = Visit(chromium, page_path, offline=True)
    seen.start_viewer()
    return seen


def pixels(canvas) -> np.ndarray:
    canvas.scroll_into_view_if_needed()
    return np.asarray(Pillow.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)


def coloured(image: np.ndarray) -> int:
    """Count pixels that are neither grey nor the blue of the cord: outlines of lesions."""
    return int((image[..., 0] - image[..., 2] > 60).sum())


def test_the_viewer_draws_without_network_or_complaint(visit):
    for name in ("axial", "sagittal"):
        image = pixels(visit.part(name))
        assert image.std() > 20, name
        assert coloured(image) > 20, name
        assert ((image[..., 2] - image[..., 0]) > 80).sum() > 20, f"no outline of the cord: {name}"
    assert visit.trouble == []


def test_a_click_on_a_lesion_moves_the_crosshair(visit):
    places = []
    for number in (1, 2):
        visit.page.locator(f'table button[data-lesion="{number}"]').click()
        places.append(visit.part("place").inner_text())
        assert f"lesion {number}, probability 0.90" in places[-1]
    # Lesion 1 is at (1, -14.5, 39) mm and lesion 2 at (6, -10, 20) mm of the scanner.
    assert places[0].startswith("R 1.")
    assert "P 14." in places[0]
    assert "S 38." in places[0] or "S 39." in places[0]
    assert places[1].startswith(("R 6.", "R 5."))
    assert "S 20." in places[1] or "S 19." in places[1]


def test_the_slider_changes_the_outlines(visit):
    visit.page.locator('table button[data-lesion="1"]').click()
    canvas, slider = visit.part("axial"), visit.part("threshold")
    before = coloured(pixels(canvas))
    slider.fill("0.95")
    assert visit.part("pieces").inner_text().startswith("0 at this probability")
    assert coloured(pixels(canvas)) < before / 4
    slider.fill("0.5")
    assert visit.part("pieces").inner_text().startswith("2 at this probability: 2 of the result")
    assert coloured(pixels(canvas)) == before


def test_another_sequence_and_another_level(visit):
    canvas = visit.part("axial")
    visit.page.locator('table button[data-lesion="1"]').click()
    before = pixels(canvas)
    visit.part("sequence").select_option("1")
    # The lesion is bright on the first sequence alone.
    assert np.abs(pixels(canvas) - before).max() > 60
    visit.part("sequence").select_option("0")
    assert np.array_equal(pixels(canvas), before)
    visit.part("level").focus()
    place = visit.part("place").inner_text()
    visit.page.keyboard.press("ArrowRight")
    assert visit.part("place").inner_text() != place


def test_a_click_into_the_picture_moves_the_crosshair(visit):
    place = visit.part("place").inner_text()
    visit.part("axial").click(position={"x": 150, "y": 180})
    assert visit.part("place").inner_text() != place
    assert visit.trouble == []


def test_the_table_sorts(visit):
    heading = visit.page.get_by_role("button", name="Volume (mm³)")

    def volumes():
        return [
            float(text)
            for text in visit.page.locator("table.sortable tbody td:nth-child(5)").all_inner_texts()
        ]

    heading.click()
    assert volumes() == sorted(volumes())
    assert visit.page.locator('th[aria-sort="ascending"]').count() == 1
    heading.press("Enter")
    assert volumes() == sorted(volumes(), reverse=True)
    assert len(set(volumes())) == 2


def test_without_webgl_the_page_says_so_and_shows_pictures(chromium, page_path):
    context = chromium.new_context(offline=True)
    context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page = context.new_page()
    page.goto(page_path.as_uri())
    assert "needs WebGL 2" in page.locator('.viewer [data-part="state"]').inner_text()
    assert page.locator("figure img").count() > 2


def test_a_damaged_program_is_said_in_words(chromium, page_path, tmp_path):
    text = page_path.read_text(encoding="utf-8")
    start = text.index('id="niivue">') + len('id="niivue">')
    bad = tmp_path / "bad.html"
    bad.write_text(text[:start] + "AAAA" + text[text.index("</script>", start) :], encoding="utf-8")
    seen = Visit(chromium, bad)
    seen.page.locator(".viewer").scroll_into_view_if_needed()
    seen.page.wait_for_function(
        "document.querySelector('.viewer [data-part=state]').textContent.includes('could not be started')"
    )


@pytest.fixture
def dataset_page(options, study, tmp_path):  # noqa: F811
    write_group(options)
    return write_dataset_page(options)


def test_decisions_are_saved_and_read_back(chromium, dataset_page, options, tmp_path):  # noqa: F811
    seen = Visit(chromium, dataset_page, offline=True, accept_downloads=True)
    page = seen.page
    page.get_by_label("Decision on sub-02").select_option("exclude")
    page.get_by_label("Comment on sub-02").fill("moved\ta lot")
    assert page.locator("#qc-state").inner_text() == "1 of 4 decided, not saved"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions").click()
    path = tmp_path / "qc.tsv"
    download.value.save_as(path)
    assert download.value.suggested_filename == "qc.tsv"
    decisions = read_decisions(path)
    assert decisions["sub-02", ""] == Decision("exclude", "moved a lot")
    assert decisions["sub-01", "ses-A"] == Decision()
    assert read_table(write_group(replace(options, qc=path))[0]) == []
    # A fresh page reads the file as well.
    again = Visit(chromium, dataset_page, offline=True)
    again.page.locator("#qc-file").set_input_files(path)
    again.page.wait_for_function(
        "document.getElementById('qc-state').textContent.includes('4 of 4 lines read')"
    )
    assert again.page.get_by_label("Decision on sub-02").input_value() == "exclude"
    assert again.page.get_by_label("Comment on sub-02").input_value() == "moved a lot"
    again.page.get_by_label("show only what is undecided").check()
    assert again.page.locator("tbody tr:visible").count() == 3
    assert seen.trouble == again.trouble == []


def test_a_page_reads_what_a_spreadsheet_program_saved_and_quotes_what_begins_with_a_quote(
    chromium, dataset_page, tmp_path
):
    path = tmp_path / "qc.csv"
    lines = ["participant_id;session_id;decision;comment", "", 'sub-02;;exclude;"""moved""; a lot"', ";;;"]
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode("utf-8-sig"))
    seen = Visit(chromium, dataset_page, offline=True, accept_downloads=True)
    seen.page.locator("#qc-file").set_input_files(path)
    seen.page.wait_for_function(
        "document.getElementById('qc-state').textContent.includes('1 of 1 lines read')"
    )
    assert seen.page.get_by_label("Decision on sub-02").input_value() == "exclude"
    assert seen.page.get_by_label("Comment on sub-02").input_value() == '"moved"; a lot'
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="Save decisions").click()
    saved = tmp_path / "qc.tsv"
    download.value.save_as(saved)
    assert read_decisions(saved)["sub-02", ""] == Decision("exclude", '"moved"; a lot')
    assert seen.trouble == []


def test_participants_sort(chromium, dataset_page):
    seen = Visit(chromium, dataset_page)
    heading = seen.page.get_by_role("button", name="Lesions")

    def lesions():
        return seen.page.locator("table.sortable tbody td:nth-child(4)").all_inner_texts()

    heading.click()
    assert lesions() == ["0", "2", "failed", "failed"]
    heading.click()
    assert lesions() == ["2", "0", "failed", "failed"]
    assert seen.trouble == []


@pytest.mark.parametrize("which", ["participant", "dataset"])
@pytest.mark.parametrize("width", [1200, 360])
def test_pages_are_accessible_and_fit_a_phone(chromium, page_path, dataset_page, which, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    path = page_path if which == "participant" else dataset_page
    seen = Visit(chromium, path, viewport={"width": width, "height": 800}, bypass_csp=True)
    found = axe.run(seen.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found] == []
    # Nothing but what scrolls by itself is wider than the screen.
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_paper_nothing_is_cut_off_and_the_viewer_is_left_out(chromium, page_path):
    # A4 with margins of 12 mm, at 96 pixels an inch.
    seen = Visit(chromium, page_path, viewport={"width": 703, "height": 1000})
    seen.page.emulate_media(media="print")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 703
    assert not seen.page.locator(".viewer").first.is_visible()
    assert seen.page.locator("figure img").first.is_visible()


@pytest.mark.parametrize("which", ["participant", "dataset"])
def test_pages_are_valid_html(page_path, dataset_page, which):
    html5lib = pytest.importorskip("html5lib")
    parser = html5lib.HTMLParser(strict=True)
    parser.parse((page_path if which == "participant" else dataset_page).read_text(encoding="utf-8"))
    assert parser.errors == []
