from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ORIENTATIONS, oriented_affine
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter1d

from bids_app import images, resample, space
from bids_app.errors import EnvironmentFault
from bids_app.operating import Operating
from bids_app.records import (
    Alignment,
    Discovery,
    Failed,
    Image,
    Lesion,
    Prepared,
    Problem,
    Segmented,
    Unit,
    Unused,
)
from bids_app.report import ReportRun, write_report
from bids_app.report.arrays import View, read_crop, read_native
from bids_app.report.bundle import script_hash
from bids_app.report.choose import choose_slices
from bids_app.report.draw import CORD_COLOUR, LESION_COLOUR, draw_pair
from bids_app.report.pictures import pictures_per_unit
from bids_app.signal import read_signal

CENTRE = np.array([4.0, -12.0, 30.0])
#: One lesion to the left, behind the middle, and high up.
LEFT_POSTERIOR_HIGH = (np.array([-3.0, -2.5, 9.0]), 2.2)
VOID = {"meta", "img", "br", "input"}


def scan(
    folder: Path, name: str, codes: str = "LAS", spacing_mm=(1.0, 1.0, 1.0), tilt: float = 0.0, lesions=()
):
    """Write a cord along S with bright lesions, and its mask; return both paths."""
    affine = oriented_affine(codes, spacing_mm, tilt)
    # 44 mm in every direction of the patient but 20 mm across, centred on CENTRE.
    axes = [int(np.abs(affine[:3, axis]).argmax()) for axis in range(3)]
    shape = tuple(round((20, 44, 48)[axis] / size) for axis, size in zip(axes, spacing_mm, strict=True))
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3] - CENTRE
    radius = np.hypot(points[..., 0], points[..., 1])
    data = np.where(radius < 6, 200.0, np.where(radius < 9, 400.0, 100.0))
    for where, size in lesions:
        data[np.linalg.norm(points - where, axis=-1) < size] = 900
    folder.mkdir(parents=True, exist_ok=True)
    image, mask = folder / f"{name}.nii.gz", folder / f"{name}_cord.nii.gz"
    nib.save(nib.Nifti1Image(data.astype(np.int16), affine), image)
    nib.save(nib.Nifti1Image((radius < 6).astype(np.uint8), affine), mask)
    return image, mask


def record(path: Path, sequence: str, participant: str = "01", session: str | None = None) -> Image:
    grid = images.read_grid(path)
    return Image(path, participant, session, {}, "T2w", sequence, images.plane_of(grid), grid)


def mask_on(path: Path, mask: Path) -> Path:
    """Return the mask for a scan that may hold only the first slices of the masked one."""
    shape, whole = nib.load(path).shape, nib.load(mask)
    if shape == whole.shape:
        return mask
    part = path.with_name(f"{path.name.split('.')[0]}_cord.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(whole.dataobj)[..., : shape[2]], whole.affine), part)
    return part


def segmented(folder: Path, paths: list[Path], mask: Path, lesions=(), **changes) -> Segmented:
    """Bring scans into the common space of the first and mark the lesions there, numbered from 1."""
    names = changes.pop("sequences", ("T2Sag", "STIR", "T2starAx"))[: len(paths)]
    inputs = tuple(record(path, name) for path, name in zip(paths, names, strict=True))
    common = images.common_grid(inputs[0].grid)
    middle = common.to_index(CENTRE)
    bend = np.round(2 * np.sin(np.arange(common.shape[2]) / 15))
    starts = space.crop_starts(np.stack([middle[0] + bend, middle[1] - bend], axis=1))
    here = np.eye(4)
    signals = [read_signal(image.path) for image in inputs]
    crops = [
        resample.to_crop(found.values, grid, starts, common, here, valid=found.valid)
        for found, grid in signals
    ]
    cord, _ = resample.to_crop(*images.read_volume(mask), starts, common, here)
    points = common.to_mm(space.crop_index(starts).astype(float)) - CENTRE
    instances = np.zeros(cord.shape, np.int32)
    for number, (where, size) in enumerate(lesions, start=1):
        instances[np.linalg.norm(points - where, axis=-1) < size] = number
    crop, maps = folder / "crop.npz", folder / "maps.npz"
    np.savez(
        crop,
        images=np.stack([space.normalise(*pair) for pair in crops]),
        coverage=np.stack([coverage for _, coverage in crops]),
        cord=cord,
        starts=starts,
    )
    np.savez(maps, probability=np.where(instances > 0, np.float32(0.9), np.float32(0)), instances=instances)
    prepared = Prepared(
        unit=Unit(inputs[0], inputs),
        crop=crop,
        sequences=names,
        grid=common,
        cord_masks={image.path: mask_on(image.path, mask) for image in inputs},
        alignments={i.path: Alignment(i.path, here, "identity", "it is the reference") for i in inputs},
        cord_method="builtin 1",
    )
    found = tuple(
        Lesion(n, float((instances == n).sum() / 8), 4.5, tuple(where + CENTRE), 0.93, 0.71, names)
        for n, (where, _) in enumerate(lesions, start=1)
    )
    return Segmented(
        replace(prepared, **changes),
        maps,
        found,
        Operating(0.5, 3.0),
        {"name": "tiny", "sha256": "ab12"},
        {"segment": 1.25},
        48.0,
        48.0,
    )


def run_of(folder: Path, **changes) -> ReportRun:
    run = ReportRun(folder / "out", "mscord a b participant", "9.8.7", "today", "builtin", "cpu")
    return replace(run, **changes)


def discovery_of(*participants: str, **changes) -> Discovery:
    return replace(Discovery(participants or ("01",), (), (), ()), **changes)


class Page(HTMLParser):
    """Reads a page and fails on tags that do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def pictures(self) -> list[np.ndarray]:
        return [decode(attrs["src"]) for attrs in self.all("img")]


def decode(uri: str) -> np.ndarray:
    head, data = uri.split(",", 1)
    assert re.fullmatch(r"data:image/(png|jpeg);base64", head)
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def read(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    page = Page(text)
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))
    for _, attrs in page.tags:
        for name in ("src", "href"):
            value = attrs.get(name)
            assert value is None or value.startswith("data:image/") or value[1:] in identifiers, value
    # One script runs: the page's own, which the policy of the page names by its checksum. The rest is data.
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    assert f"script-src {script_hash(script)} blob:" in policy
    assert {attrs.get("type") for attrs in page.all("script")} <= {
        None,
        "application/json",
        "application/octet-stream",
    }
    assert not re.search(r"https?://|file:", text)
    assert all(attrs["alt"] for attrs in page.all("img"))
    return page


def near(pixels: np.ndarray, colour: str) -> int:
    """Count the pixels whose hue is that of a colour: JPEG and antialiasing move them a little."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels - wanted).max(axis=-1) < 60).sum())


def halves(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = pixels.shape[1] // 2
    return pixels[:, : middle - 3], pixels[:, middle + 3 :]


@pytest.fixture
def one_lesion(tmp_path):
    path, mask = scan(tmp_path, "sub-01_T2w", lesions=[LEFT_POSTERIOR_HIGH])
    return segmented(tmp_path, [path], mask, [LEFT_POSTERIOR_HIGH])


def test_page_is_whole_and_says_what_was_found(tmp_path, one_lesion):
    path = write_report("01", [one_lesion], discovery_of(), run_of(tmp_path))
    assert path == tmp_path / "out" / "sub-01.html"
    assert [p.name for p in path.parent.iterdir()] == ["sub-01.html"]
    page = read(path)
    volume = one_lesion.volume_mm3
    assert f"1 lesion, {volume:.1f} mm³ in all. 1 of 1 unit done. Sequences used: T2Sag." in page.text
    assert (
        "Research use only, not for diagnosis. What the weights were trained on is not said by their card."
        in page.text
    )
    assert "L -" not in page.text
    assert "R 1.0, P 14.5, S 39.0" in page.text
    for fact in (
        "0.93",
        "0.71",
        "builtin 1",
        "ab12",
        "1.2 s",
        "9.8.7",
        "mscord a b participant",
        "sub-01_T2w.nii.gz",
    ):
        assert fact in page.text
    assert "reference, read by the network" in page.text
    assert "What failed" not in page.text


def test_outlines_are_on_the_right_of_each_pair_only(tmp_path, one_lesion):
    page = read(write_report("01", [one_lesion], discovery_of(), run_of(tmp_path)))
    # The first picture is the strip along the cord, whose margins hold the scale and the bars.
    assert len(page.pictures) >= 3
    for pixels in page.pictures[1:]:
        plain, outlined = halves(pixels)
        assert plain.std() > 10
        assert near(plain, LESION_COLOUR) == near(plain, CORD_COLOUR) == 0
        assert near(outlined, LESION_COLOUR) > 20
        assert near(outlined, CORD_COLOUR) > 20


def test_equal_input_gives_equal_bytes(tmp_path, one_lesion):
    first = write_report("01", [one_lesion], discovery_of(), run_of(tmp_path)).read_bytes()
    assert first == write_report("01", [one_lesion], discovery_of(), run_of(tmp_path)).read_bytes()


def test_settings_of_the_user_do_not_change_the_page(tmp_path, one_lesion):
    import matplotlib

    first = write_report("01", [one_lesion], discovery_of(), run_of(tmp_path)).read_bytes()
    with matplotlib.rc_context(
        {"font.family": "monospace", "image.origin": "upper", "lines.antialiased": False}
    ):
        second = write_report("01", [one_lesion], discovery_of(), run_of(tmp_path)).read_bytes()
    assert first == second


@pytest.mark.parametrize(
    ("codes", "spacing_mm", "tilt", "axis"),
    [(codes, (1.0, 1.0, 1.0), 0, 0) for codes in ORIENTATIONS]
    + [
        ("PSR", (0.8, 0.8, 2.0), 0, 0),
        ("AIL", (0.8, 0.8, 2.0), 10, 0),
        ("RAS", (0.8, 0.8, 3.0), 0, 2),
        ("LPS", (0.8, 0.8, 3.0), 15, 2),
        ("LSA", (0.8, 0.8, 2.0), 0, 1),
    ],
)
def test_every_view_is_the_right_way_up(tmp_path, codes, spacing_mm, tilt, axis):
    lesions = [LEFT_POSTERIOR_HIGH]
    path, mask = scan(tmp_path, "sub-01_T2w", codes, spacing_mm, tilt, lesions)
    unit = segmented(tmp_path, [path], mask, lesions)
    crop = read_crop(unit)
    native = read_native(unit, crop)
    assert native.axis == axis
    slices = choose_slices(native.instances, native.axis, 24).slices
    whole = (slice(None),) * 3
    views = [native.view(position, whole) for position in slices]
    marked = np.concatenate([view.lesions.ravel() for view in views]) > 0
    bright = np.concatenate([view.image.ravel() for view in views]) > 800
    assert 2 * (marked & bright).sum() / (marked.sum() + bright.sum()) > 0.6
    levels = choose_slices(crop.instances, 2, 24).slices
    for view in [*views, crop.strip(0, crop.length), *(crop.axial(0, level) for level in levels)]:
        rows, columns = (index.mean() for index in np.nonzero(view.lesions))
        cord_rows, cord_columns = (index.mean() for index in np.nonzero(view.cord))
        # Each letter stands where the lesion, which lies to the left, behind and above, says it does.
        side = view.letters[1] if columns > cord_columns else view.letters[0]
        assert side in "LP"
        assert (view.letters[3] if rows > cord_rows else view.letters[2]) in "SP"
    # The number of a slice is its index in the file.
    axis_in_file = int(np.abs(images.read_grid(path).affine[axis, :3]).argmax())
    data = np.moveaxis(np.asarray(nib.load(path).dataobj), axis_in_file, 0)
    brightest = int((data > 800).sum(axis=(1, 2)).argmax())
    assert brightest in {int(native.numbers[position]) for position in slices}


def test_lesion_thinner_than_the_slices_is_still_drawn(tmp_path):
    thin = [(np.array([0.0, 0.0, 2.0]), 0.9)]
    path, mask = scan(tmp_path, "sub-01_T2w", "LAS", (0.7, 0.7, 6.0))
    page = read(
        write_report("01", [segmented(tmp_path, [path], mask, thin)], discovery_of(), run_of(tmp_path))
    )
    assert "Axial slice 4 of 8: lesion 1." in page.text


def test_no_lesion(tmp_path):
    path, mask = scan(tmp_path, "sub-01_T2w")
    page = read(write_report("01", [segmented(tmp_path, [path], mask)], discovery_of(), run_of(tmp_path)))
    assert "No lesion. 1 of 1 unit done." in page.text
    assert (
        "No lesion was found in 48 mm of cord (nothing reached a probability of 0.5, 0.5 on average, and a volume of 3 mm³)."
        in page.text
    )
    (strip,) = page.pictures
    assert near(strip, CORD_COLOUR) > 20
    assert near(strip, LESION_COLOUR) == 0
    assert "Levels with lesions" not in page.text


def test_sixty_lesions_are_limited_and_the_page_says_so(tmp_path):
    rng = np.random.default_rng(0)
    lesions = [(np.array([*rng.uniform(-4, 4, 2), z]), 0.8) for z in np.linspace(-21, 21, 60)]
    path, mask = scan(tmp_path, "sub-01_T2w")
    unit = segmented(tmp_path, [path], mask, lesions)
    page = read(write_report("01", [unit], discovery_of(), run_of(tmp_path)))
    assert len(re.findall(r"[SI] [\d.]+ mm: lesion", page.text)) == 24
    found = re.search(r"24 levels are drawn; (\d+) more with lesions were left out", page.text)
    assert found
    assert int(found[1]) > 0
    assert "Not drawn here: lesion" in page.text
    assert len([row for row in page.all("th") if row.get("scope") == "row"]) == 61


def test_lesions_at_the_edge_of_the_crop_are_drawn(tmp_path):
    lesions = [(np.array([11.5, 0.0, 0.0]), 2.0), (np.array([0.0, 0.0, 23.5]), 2.0)]
    path, mask = scan(tmp_path, "sub-01_T2w")
    page = read(
        write_report("01", [segmented(tmp_path, [path], mask, lesions)], discovery_of(), run_of(tmp_path))
    )
    assert len(page.pictures) > 3
    for pixels in page.pictures[1:]:
        assert near(halves(pixels)[1], LESION_COLOUR) > 10


def test_outline_is_closed_along_the_edge_of_the_picture():
    lesions = np.zeros((20, 20), np.int32)
    lesions[:6] = 1
    view = View(np.zeros((20, 20)), lesions, np.zeros((20, 20), bool), (1.0, 1.0), ("A", "P", "I", "S"))
    plain, outlined = halves(decode(draw_pair(view, (0, 1), 8, "a slice").uri))
    assert near(outlined[-3:], LESION_COLOUR) > 80
    assert near(plain, LESION_COLOUR) == 0


def test_sequence_that_does_not_reach_a_level_is_named_and_not_drawn(tmp_path):
    path, mask = scan(tmp_path, "sub-01_T2w", lesions=[LEFT_POSTERIOR_HIGH])
    low, _ = scan(tmp_path, "sub-01_T2starw")
    image = nib.load(low)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., :20], image.affine), low)
    unit = segmented(tmp_path, [path, low], mask, [LEFT_POSTERIOR_HIGH], sequences=("T2Sag", "T2starAx"))
    page = read(write_report("01", [unit], discovery_of(), run_of(tmp_path)))
    assert "lesion 1. Not scanned here: T2starAx." in page.text
    drawn = [attrs["alt"] for attrs in page.all("img") if "T2starAx" in attrs["alt"]]
    assert [alt.split(",")[0] for alt in drawn] == ["Checkerboard"]


def test_every_slice_with_a_lesion_is_drawn_of_every_image(tmp_path):
    lesions = [LEFT_POSTERIOR_HIGH]
    path, mask = scan(tmp_path, "sub-01_T2w", lesions=lesions)
    other, _ = scan(tmp_path, "sub-01_T2starw", lesions=lesions)
    unit = segmented(tmp_path, [path, other], mask, lesions, sequences=("T2Sag", "T2starAx"))
    moved = np.eye(4)
    moved[2, 3] = 4.0
    crop = read_crop(unit)
    for image, transform in zip(unit.prepared.unit.inputs, (np.eye(4), moved), strict=True):
        alignment = Alignment(image.path, transform, "rigid", "it fits better")
        unit = replace(
            unit,
            prepared=replace(unit.prepared, alignments={**unit.prepared.alignments, image.path: alignment}),
        )
    page = read(write_report("01", [unit], discovery_of(), run_of(tmp_path)))
    numbers = {}
    for image in unit.prepared.unit.inputs:
        native = read_native(unit, crop, image)
        along = tuple(axis for axis in range(3) if axis != native.axis)
        numbers[image.sequence] = native.numbers[native.instances.any(axis=along)]
        for number in numbers[image.sequence]:
            assert f"slice {number} of {len(native.numbers)} of {image.sequence}, plain" in str(
                page.all("img")
            )
    # The other image was moved by 4 mm: its lesion is 4 mm further up in the file.
    a, b = (read_native(unit, crop, image).instances > 0 for image in unit.prepared.unit.inputs)
    heights = [np.argwhere(one)[:, 2].mean() for one in (a, b)]
    assert heights[1] - heights[0] == pytest.approx(4.0 / nib.load(path).header.get_zooms()[2], abs=0.6)


def test_use_of_every_image_is_told(tmp_path):
    path, mask = scan(tmp_path, "sub-01_T2w")
    unit = segmented(tmp_path, [path], mask)
    others = [
        replace(unit.prepared.unit.reference, path=tmp_path / f"{name}.nii.gz") for name in ("a", "b", "c")
    ]
    everything = Unit(unit.prepared.unit.reference, (unit.prepared.unit.reference, *others[:2]), (others[2],))
    alignments = {
        **unit.prepared.alignments,
        others[0].path: Alignment(others[0].path, np.eye(4), "rigid", "it fits better"),
        others[2].path: Alignment(others[2].path, np.eye(4), "header", "rigid was worse"),
    }
    prepared = replace(
        unit.prepared, unit=everything, alignments=alignments, dropped={others[1].path: "no cord in it"}
    )
    page = read(write_report("01", [replace(unit, prepared=prepared)], discovery_of(), run_of(tmp_path)))
    rows = page.text[page.text.index("Images of this unit") :]
    assert re.search(
        r"a\.nii\.gz .*read by the network rigid \(moved onto the reference\) it fits better", rows
    )
    assert re.search(r"b\.nii\.gz .* left out no cord in it", rows)
    assert re.search(r"c\.nii\.gz .* masks only .* by the scanner's coordinates alone rigid was worse", rows)


def test_failures_come_first_with_the_next_step(tmp_path, one_lesion):
    other = replace(
        one_lesion.prepared.unit.reference, path=tmp_path / "sub-01_ses-2_T2w.nii.gz", session="2"
    )
    outcomes = [one_lesion, Failed("01", "No cord was found in it.", "Look at it.", Unit(other, (other,)))]
    page = read(write_report("01", outcomes, discovery_of(), run_of(tmp_path)))
    assert "1 of 2 units done, 1 failed." in page.text
    assert page.text.index("sub-01_ses-2_T2w : No cord was found in it. Look at it.") < page.text.index(
        "Lesions"
    )
    assert "Session 2: sub-01_ses-2_T2w Failed: No cord was found in it." in page.text


def test_page_without_any_unit(tmp_path):
    seen = discovery_of(
        "11",
        unused=(
            Unused(Path("x/sub-11_FLAIR.nii.gz"), "11", "not in the table"),
            Unused(Path("y"), "12", "other"),
        ),
        problems=(
            Problem("bad.json is not JSON.", "Mend it.", "11"),
            Problem("sub-11_T1w.nii.gz is empty.", "Copy it again.", "11", fatal=True),
            Problem("Of somebody else.", "", "12"),
        ),
    )
    page = read(write_report("11", [], seen, run_of(tmp_path)))
    assert "No result: there was no unit to work on." in page.text
    assert "Nothing of sub-11 can be used." in page.text
    assert "sub-11_FLAIR.nii.gz not in the table" in page.text
    assert page.text.index("sub-11_T1w.nii.gz is empty. Copy it again.") < page.text.index("Warnings")
    assert page.text.index("Warnings") < page.text.index("bad.json is not JSON. Mend it.")
    assert "Of somebody else." not in page.text
    assert not page.pictures


def test_all_units_failed_and_one_never_ran(tmp_path, one_lesion):
    unit = one_lesion.prepared.unit
    late = replace(unit.reference, path=tmp_path / "sub-01_run-2_T2w.nii.gz")
    found = discovery_of(units=(unit, Unit(late, (late,))))
    page = read(write_report("01", [Failed("01", "It broke.", "", unit)], found, run_of(tmp_path)))
    assert "No result: 2 units failed." in page.text
    assert "sub-01_run-2_T2w : This unit was not done" in page.text


def test_outcomes_of_others_are_passed_over(tmp_path, one_lesion):
    page = read(
        write_report("02", [one_lesion, Failed("03", "Not mine.")], discovery_of("02"), run_of(tmp_path))
    )
    assert not page.pictures
    assert "Not mine." not in page.text


def test_lost_files_of_a_unit_cost_its_pictures_only(tmp_path, one_lesion):
    one_lesion.maps.unlink()
    page = read(write_report("01", [one_lesion], discovery_of(), run_of(tmp_path)))
    assert "The pictures of this unit could not be drawn (maps.npz: No such file or directory)." in page.text
    assert "1 lesion," in page.text
    one_lesion.maps.write_bytes(b"PK\x03\x04 cut short")
    page = read(write_report("01", [one_lesion], discovery_of(), run_of(tmp_path)))
    assert "could not be drawn" in page.text


def test_text_from_outside_is_escaped(tmp_path, one_lesion):
    evil = '"><script>alert(1)<!--\x00\udce9'
    prepared = one_lesion.prepared
    reference = replace(prepared.unit.reference, participant=evil, sequence=evil, session=evil)
    dropped = replace(reference, path=tmp_path / f"{evil[:-2]}.nii.gz")
    prepared = replace(
        prepared,
        unit=Unit(reference, (reference, dropped)),
        sequences=(evil,),
        dropped={dropped.path: evil},
        cord_method=evil,
    )
    lesions = (replace(one_lesion.lesions[0], sequences=(evil,)),)
    done = replace(
        one_lesion, prepared=prepared, lesions=lesions, weights={"name": evil}, seconds={evil: 1.0}
    )
    failed = Failed(evil, evil, evil, Unit(dropped, (dropped,)))
    found = discovery_of(
        evil,
        unused=(Unused(dropped.path, evil, evil),),
        problems=(Problem(evil + "!", evil, evil, fatal=True), Problem(evil + "?", evil)),
    )
    run = run_of(tmp_path, command=evil, weights={"name": evil, "notice": evil}, links={evil: evil})
    written = write_report(evil, [done, failed], found, run)
    assert written.parent == tmp_path / "out"
    assert "<script>alert" not in written.read_text(encoding="utf-8")
    page = read(written)
    assert len(page.pictures) >= 3
    assert page.text.count('"><script>alert(1)<!--') > 25


def test_participant_cannot_lead_out_of_the_output_folder(tmp_path):
    written = write_report("../../x", [], discovery_of("../../x"), run_of(tmp_path))
    assert written.resolve().parent == (tmp_path / "out").resolve()


def test_notice_of_the_weights_is_shown(tmp_path):
    run = run_of(tmp_path, weights={"name": "w", "notice": "Trained on 30 people."})
    page = read(write_report("01", [], discovery_of(), run))
    assert "Research use only, not for diagnosis. Trained on 30 people." in page.text
    assert "simulated" not in page.text


def test_output_that_cannot_be_written(tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentFault, match=r"sub-01\.html"):
        write_report("01", [], discovery_of(), run_of(tmp_path))


def test_many_units_share_the_pictures():
    assert pictures_per_unit(1) == pictures_per_unit(2) == 24
    assert pictures_per_unit(4) == 12
    assert pictures_per_unit(1000) == 2


def test_every_lesion_is_chosen_before_any_is_chosen_twice():
    instances = np.zeros((4, 4, 60), np.int32)
    instances[0, 0, 5:45] = 1
    instances[:2, 0, 20] = 1
    instances[3, 3, 50] = 2
    instances[3, 0, 22] = 3
    assert choose_slices(instances, 2, 3, step=10).slices == (20, 22, 50)
    everything = choose_slices(instances, 2, 24, step=10)
    assert everything.slices == (10, 20, 22, 30, 40, 50)
    assert (everything.left_out, everything.undrawn) == (0, ())
    few = choose_slices(instances, 2, 1, step=10)
    assert few.slices == (20,)
    assert few.undrawn == (2, 3)
    assert few.left_out == 5
    assert choose_slices(np.zeros((2, 2, 2), np.int32), 2, 3).slices == ()


@pytest.mark.real
def test_real_scan_with_a_painted_lesion(tmp_path, real_data):
    labels = real_data / "derivatives" / "labels" / "sub-dev04" / "anat"
    path = real_data / "sub-dev04" / "anat" / "sub-dev04_acq-sagcrop_T2w.nii.gz"
    mask = labels / "sub-dev04_acq-sagcrop_T2w_label-SC_seg.nii.gz"
    painted, grid = images.read_volume(labels / "sub-dev04_acq-sagcrop_T2w_label-lesion_seg.nii.gz")
    cord, _ = images.read_volume(mask)
    common = images.common_grid(grid)
    points = common.to_index(grid.to_mm(np.argwhere(cord > 0).astype(float)))
    points = points[np.argsort(points[:, 2])]
    levels = np.arange(common.shape[2])
    centre = np.stack([np.interp(levels, points[:, 2], points[:, axis]) for axis in (0, 1)], axis=1)
    starts = space.crop_starts(gaussian_filter1d(centre, 10, axis=0))
    volume, coverage = resample.to_crop(*images.read_volume(path), starts, common, np.eye(4))
    crop_cord, _ = resample.to_crop(cord, grid, starts, common, np.eye(4))
    lesion, _ = resample.to_crop(painted, grid, starts, common, np.eye(4))
    np.savez(
        tmp_path / "crop.npz",
        images=space.normalise(volume, coverage)[None],
        coverage=coverage[None],
        cord=crop_cord,
        starts=starts,
    )
    np.savez(tmp_path / "maps.npz", probability=lesion, instances=(lesion >= 0.5).astype(np.int32))
    image = record(path, "T2Sag", "dev04")
    alignment = Alignment(path, np.eye(4), "identity", "it is the reference")
    prepared = Prepared(
        Unit(image, (image,)), tmp_path / "crop.npz", ("T2Sag",), common, {path: mask}, {path: alignment}
    )
    found = Lesion(1, float((lesion >= 0.5).sum() / 8), 10.0, (0.0, 0.0, 0.0), 1.0, 0.9, ("T2Sag",))
    unit = Segmented(prepared, tmp_path / "maps.npz", (found,), Operating(0.5, 3.0), {})
    native = read_native(unit, read_crop(unit)).instances > 0
    turned = nib.as_closest_canonical(nib.Nifti1Image(painted, grid.affine)).get_fdata()[::-1] > 0
    assert 2 * (native & turned).sum() / (native.sum() + turned.sum()) > 0.8
    written = write_report("dev04", [unit], discovery_of("dev04"), run_of(tmp_path))
    assert written.stat().st_size < 3_000_000
    assert len(read(written).pictures) >= 6
