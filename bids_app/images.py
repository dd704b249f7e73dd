"""Read and write NIfTI images, and say in one sentence what is wrong with a bad one."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from . import space
from .errors import BadImageError, UnitError
from .sequences import AXIAL, CORONAL, ISOTROPIC, SAGITTAL
from .space import FloatArray, Grid

#: Largest to smallest spacing under this ratio: the image has no slice direction.
ISOTROPIC_RATIO = 1.3
#: Images that claim more voxels than this are refused before any memory is taken.
MAX_VOXELS = 2_000_000_000
#: No file is compressed further than this by gzip.
DEFLATE_MOST = 1032
#: qform and sform may differ by this much anywhere in the image.
MAX_FORM_DIFFERENCE_MM = 0.5
#: No scanner is larger.
MAX_OFFSET_MM = 10_000.0
#: Units of length of NIfTI that are not the millimetre, by their code: name, and what one is in mm.
_LENGTHS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}
#: Voxels of scans of people are within these bounds.
LEAST_SPACING_MM, MOST_SPACING_MM = 0.01, 50.0
Scalar = TypeVar("Scalar", bound=np.generic)
_READ_ERRORS = (
    *(OSError, EOFError, ValueError, OverflowError, zlib.error, gzip.BadGzipFile),
    *(ImageFileError, HeaderDataError),
)


def missing_content(path: Path) -> str | None:
    """Say why a path has no content to read, or None where it has.

    Knows broken links, unfetched content of git-annex (locked links and unlocked pointer files) and Git LFS, and empty files.
    """
    try:
        dangling = path.is_symlink() and not path.exists()
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if dangling:
        target = str(path.readlink())
        if "annex/objects" in target.replace("\\", "/"):
            return f"{path.name} is git-annex content that has not been fetched"
        return f"{path.name} is a broken link to {target}"
    if not path.is_file():
        return f"{path.name} is not a file"
    try:
        if path.stat().st_size == 0:
            return f"{path.name} is empty (zero bytes)"
        with path.open("rb") as stream:
            start = stream.read(32)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if start.startswith(b"/annex/objects/"):
        return f"{path.name} is git-annex content that has not been fetched"
    if start.startswith(b"version https://git-lfs"):
        return f"{path.name} is a Git LFS pointer whose content has not been fetched"
    return None


def is_compressed(path: Path) -> bool:
    """Tell whether a file is compressed with gzip, by its content and not by its name; not where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"\x1f\x8b"
    except OSError:
        return False


def name_doubt(path: Path) -> str:
    """Say where the name of an image and its content disagree on compression; empty where they do not."""
    compressed = is_compressed(path)
    if not path.name.endswith((".nii", ".nii.gz")) or compressed == path.name.endswith(".gz"):
        return ""
    return f"{path.name} is {'' if compressed else 'not '}compressed, though its name says otherwise"


def unit_doubt(path: Path) -> str:
    """Say where the header of a readable image names another unit of length than its numbers are in; empty where it does not."""
    name = _LENGTHS.get(int(_open(path).header["xyzt_units"]) & 7, ("", 1.0))[0]
    return (
        f"{path.name} says that its voxel sizes are in {name}, and by their values they are in millimetres"
        if name
        else ""
    )


def read_grid(path: Path) -> Grid:
    """Read the grid of a 3D image from its header alone.

    Raises
    ------
    BadImageError
        Unreadable, not 3D, colour, single slice, impossible voxel sizes, qform and sform that disagree, or no usable affine.
    """
    return _checked_grid(_open(path), path)


def read_volume(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Read a 3D image.

    Returns
    -------
    array, shape (I, J, K), float32, and its Grid

    Raises
    ------
    BadImageError
        As for `read_grid`; also truncated data, and an image without two different finite values. Other voxels may be NaN or
        infinite: see `bids_app.signal`.
    """
    data, grid = _read(path)
    finite = data[np.isfinite(data)]
    if not finite.size:
        raise BadImageError(f"{path.name} is empty: every voxel is NaN or infinite.")
    if finite.min() == finite.max():
        raise BadImageError(f"{path.name} is empty: every voxel has the value {finite[0]:g}.")
    return data, grid


def read_labels(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Read a mask or a map of labels as its numbers; an all-zero one is fine.

    Raises
    ------
    BadImageError
        As for `read_grid`; also truncated data, NaN or infinite values.
    """
    data, grid = _read(path)
    bad = int(data.size - np.isfinite(data).sum())
    if bad:
        raise BadImageError(
            f"{path.name} holds {bad} voxels that are NaN or infinite.", "Replace them, for example by 0."
        )
    return data, grid


def _read(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Read the voxels of a 3D image, whatever they are."""
    image = _open(path)
    grid = _checked_grid(image, path)
    _check_size(image, path)
    try:
        data = np.asarray(image.dataobj, dtype=np.float32)
    except MemoryError as error:
        raise UnitError(f"{path.name} does not fit into memory.", "Grant more memory.") from error
    except _READ_ERRORS as error:
        raise BadImageError(
            f"{path.name} is damaged: its voxels cannot be read ({_one_line(error)}).",
            "Copy or convert it again.",
        ) from error
    return data.reshape(grid.shape), grid


def read_mask(path: Path) -> tuple[NDArray[np.bool_], Grid]:
    """Read a binary mask or a label map as what is above 0; an all-zero mask is fine.

    Raises
    ------
    BadImageError
        As for `read_grid`; also truncated data, NaN or infinite values.
    """
    data, grid = read_labels(path)
    return data > 0, grid


def write_like(path: Path, array: NDArray[Any], like: Path) -> None:
    """Write an array on exactly the grid of another image: affine, shape, and q/sform with their codes.

    The file appears under its name only when it is complete. Equal input gives equal bytes.
    """
    source = _open(like)
    if array.shape != source.shape[:3]:
        raise ValueError(f"array {array.shape} does not fit {like.name} {source.shape}")
    image = nib.Nifti1Image(array, None)
    header = image.header
    for name in ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"):
        header[name] = source.header[name]
    for name in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
        header[name] = source.header[name]
    if not int(header["xyzt_units"]) & 7:
        # The source leaves its unit of length open; every reader takes it for mm, and so do we.
        header["xyzt_units"] = int(header["xyzt_units"]) | 2
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    # An image built with affine None would have its forms rewritten on save: hand the finished header over.
    done = nib.Nifti1Image(array, source.affine, header)
    done.header["qform_code"], done.header["sform_code"] = (
        source.header["qform_code"],
        source.header["sform_code"],
    )
    write_image(path, done)


def write_image(path: Path, image: Any) -> None:
    """Save a nibabel image atomically, with a gzip stream that holds no time and no name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        data = image.to_bytes()
        if path.name.endswith(".gz"):
            data = gzip.compress(data, compresslevel=6, mtime=0)
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def plane_of(grid: Grid) -> str:
    """Return the acquisition plane by the header: sagittal, axial, coronal or isotropic.

    The slice axis is the one with the largest spacing; the angle of its normal to the patient's axes decides, so that an
    axial stack tilted by 50 degrees about the left-right axis stays axial.
    """
    spacing = grid.spacing_mm
    if spacing.max() / spacing.min() < ISOTROPIC_RATIO:
        return ISOTROPIC
    in_plane = [axis for axis in range(3) if axis != int(spacing.argmax())]
    normal = np.cross(grid.affine[:3, in_plane[0]], grid.affine[:3, in_plane[1]])
    normal = np.abs(normal / np.linalg.norm(normal))
    if normal[0] > np.sqrt(0.5):
        return SAGITTAL
    # Between axial and coronal the limit is 60 degrees from the S-I axis: steep cervical stacks are still axial.
    return AXIAL if normal[2] >= 0.5 else CORONAL


def extent_si_mm(grid: Grid) -> tuple[float, float]:
    """Return the lowest and highest S coordinate that the grid reaches along its own S-I axis, in mm.

    The extent is measured at the middle of the other two axes, so that a tilt does not lengthen it.
    """
    # By direction, not by step: thick slices that lean a little would win otherwise.
    axis = int((np.abs(grid.affine[2, :3]) / grid.spacing_mm).argmax())
    middle = (np.array(grid.shape) - 1) / 2
    ends = np.stack([middle, middle])
    ends[0, axis], ends[1, axis] = -0.5, grid.shape[axis] - 0.5
    z = grid.to_mm(ends)[:, 2]
    return float(z.min()), float(z.max())


@dataclass(frozen=True)
class Order:
    """From an array as it is stored to the order of `space.AXIS_CODES`, and back. Nothing is copied or interpolated.

    Attributes
    ----------
    axes : tuple of int
        Stored axis of each axis of the result.
    flips : tuple of int
        1, or -1 where an axis of the result runs against the stored one.
    """

    axes: tuple[int, ...]
    flips: tuple[int, ...]

    def apply(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view in the order of `space.AXIS_CODES`."""
        return array.transpose(self.axes)[tuple(slice(None, None, step) for step in self.flips)]

    def undo(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view of what `apply` returned in the stored order."""
        steps = tuple(slice(None, None, step) for step in self.flips)
        return array[steps].transpose(tuple(int(n) for n in np.argsort(self.axes)))


def canonical(grid: Grid) -> tuple[Order, Grid]:
    """Return how an array on a grid gets into the order nearest to LAS, and its grid there.

    What is computed there does not depend on how a scan is stored, to the last bit.
    """
    orientation = nib.orientations.io_orientation(grid.affine)
    target = nib.orientations.axcodes2ornt(space.AXIS_CODES)
    change = nib.orientations.ornt_transform(orientation, target)
    to = change[:, 0].astype(int)
    axes = tuple(int(n) for n in np.argsort(to))
    order = Order(axes, tuple(int(change[axis, 1]) for axis in axes))
    affine = grid.affine @ nib.orientations.inv_ornt_aff(change, grid.shape)
    return order, Grid((grid.shape[axes[0]], grid.shape[axes[1]], grid.shape[axes[2]]), affine)


def on_grid(
    array: NDArray[Scalar], own: Grid, grid: Grid, tolerance_mm: float = 0.01
) -> NDArray[Scalar] | None:
    """Return an array in the order in which another grid stores the same voxels: a view, nothing is interpolated.

    Parameters
    ----------
    array : array, shape own.shape
    own : Grid
        Its grid.
    grid : Grid
        The grid that is wanted.
    tolerance_mm : float
        The corners of the two may differ by this much.

    Returns
    -------
    array, shape grid.shape, or None
        None where the two grids are not the same voxels.
    """
    (order, ours), (wanted, theirs) = canonical(own), canonical(grid)
    if ours.shape != theirs.shape:
        return None
    if np.abs(ours.corners_mm() - theirs.corners_mm()).max() > tolerance_mm:
        return None
    return wanted.undo(order.apply(array))


def common_grid(reference: Grid, spacing_mm: float = space.SPACING_MM) -> Grid:
    """Return the uncropped common grid of a reference: its axes reordered and flipped to LAS, isotropic.

    The outer edges of the first voxels coincide with the reference's; the last voxel may reach past its edge
    by less than ``spacing_mm``.
    """
    _, ordered = canonical(reference)
    spacing = ordered.spacing_mm
    scale = spacing_mm / spacing
    fine = ordered.affine.copy()
    fine[:3, :3] = ordered.affine[:3, :3] * scale
    first = -0.5 + 0.5 * scale
    fine[:3, 3] = ordered.affine[:3, :3] @ first + ordered.affine[:3, 3]
    counts = np.ceil(np.array(ordered.shape) * spacing / spacing_mm - 1e-3).astype(int)
    return Grid((int(counts[0]), int(counts[1]), int(counts[2])), fine)


def _open(path: Path) -> Any:
    reason = missing_content(path)
    if reason:
        step = f"Fetch it with: datalad get {path}" if "git-annex" in reason else ""
        raise BadImageError(f"{reason}.", step)
    try:
        image = nib.load(path) if not name_doubt(path) else _load_misnamed(path)
    except _READ_ERRORS as error:
        raise BadImageError(f"{path.name} is not a readable NIfTI file ({_one_line(error)}).") from error
    if not isinstance(image, nib.Nifti1Pair):
        raise BadImageError(f"{path.name} is not a NIfTI file but {type(image).__name__}.")
    return image


def _load_misnamed(path: Path) -> Any:
    """Load a compressed image whose name does not end in .gz, or one that is not and does: nibabel goes by the name."""
    stream: Any = gzip.open(path) if is_compressed(path) else path.open("rb")  # noqa: SIM115 - the image keeps it
    sizes = {nib.Nifti1Image: 348, nib.Nifti2Image: 540}
    start = stream.read(4)
    for kind, size in sizes.items():
        if size in (int.from_bytes(start, "little"), int.from_bytes(start, "big")):
            return kind.from_file_map({"image": nib.FileHolder(fileobj=stream)})
    stream.close()
    raise ImageFileError("it begins as no NIfTI file does")


def _check_size(image: Any, path: Path) -> None:
    """Refuse a header that claims more voxels than the file can hold, before memory is taken for them."""
    file = Path(image.file_map["image"].filename or path)
    most = file.stat().st_size * (DEFLATE_MOST if is_compressed(file) else 1)
    claimed = float(np.prod([float(n) for n in image.shape])) * image.get_data_dtype().itemsize
    if claimed > most:
        raise BadImageError(
            f"{path.name} is damaged: its header claims {claimed / 2**20:,.1f} MiB of voxels, and the file can hold no more than"
            f" {most / 2**20:,.1f}.",
            "Copy or convert it again.",
        )


def _checked_grid(image: Any, path: Path) -> Grid:
    shape = _checked_shape(image, path)
    affine = _checked_affine(image, path)
    return Grid(shape, affine)


def _checked_shape(image: Any, path: Path) -> tuple[int, int, int]:
    if image.get_data_dtype().fields is not None:
        raise BadImageError(f"{path.name} is a colour (RGB) image, not a scan.")
    if image.get_data_dtype().kind == "c":
        raise BadImageError(f"{path.name} holds complex numbers.", "Convert it to magnitude.")
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        raise BadImageError(
            f"{path.name} is {len(shape)}D ({' x '.join(map(str, shape))}); a single 3D volume is needed.",
            "Average or choose a volume first.",
        )
    if len(shape) < 3 or min(shape) < 2:
        raise BadImageError(f"{path.name} has a single slice or less ({' x '.join(map(str, shape))}).")
    if float(np.prod([float(n) for n in shape])) > MAX_VOXELS:
        raise BadImageError(
            f"{path.name} claims {' x '.join(map(str, shape))} voxels, which cannot be right."
        )
    return shape  # type: ignore[return-value]


def _checked_affine(image: Any, path: Path) -> FloatArray:
    header = image.header
    pixdim = _written_voxel_size(image)
    if not np.all(np.isfinite(pixdim)) or np.any(pixdim <= 0):
        raise BadImageError(
            f"{path.name} has a voxel size of zero or less ({_numbers(pixdim)} mm) in its header."
        )
    if not int(header["qform_code"]) and not int(header["sform_code"]):
        raise BadImageError(f"{path.name} does not say where it lies: neither qform nor sform is set.")
    affine = np.asarray(image.affine, float)
    if np.all(np.isfinite(affine)) and np.linalg.det(affine[:3, :3]):
        _refuse_other_unit(header, np.linalg.norm(affine[:3, :3], axis=0), path)
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise BadImageError(f"{path.name} has an affine that cannot be inverted.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not _of_people(spacing):
        raise BadImageError(f"{path.name} has impossible voxel sizes ({_numbers(spacing)} mm).")
    if np.abs(affine[:3, 3]).max() > MAX_OFFSET_MM:
        raise BadImageError(
            f"{path.name} lies {np.abs(affine[:3, 3]).max() / 1000:g} m from the origin: its affine is wrong."
        )
    if int(header["qform_code"]) and int(header["sform_code"]):
        difference = _form_difference_mm(header, image.shape[:3])
        if difference > MAX_FORM_DIFFERENCE_MM:
            raise BadImageError(
                f"{path.name} has a qform and an sform that disagree by up to {difference:.1f} mm: one of them is wrong.",
                "Keep the right one (for example with nibabel or fslorient) and try again.",
            )
    return affine


def _of_people(spacing_mm: FloatArray) -> bool:
    return bool(spacing_mm.min() >= LEAST_SPACING_MM and spacing_mm.max() <= MOST_SPACING_MM)


def _refuse_other_unit(header: Any, spacing: FloatArray, path: Path) -> None:
    """Refuse an image in metres or micrometres: most programs would take its numbers for millimetres.

    Where the numbers are those of a scan in millimetres, it is the header's unit that is wrong: see `unit_doubt`.
    """
    name, factor = _LENGTHS.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    if name and not _of_people(spacing) and _of_people(spacing * factor):
        raise BadImageError(
            f"{path.name} gives its voxel sizes in {name} ({_numbers(spacing)}), not in millimetres.",
            f"Multiply pixdim, qoffset and srow by {factor:g}, and set xyzt_units to mm (for example with nibabel).",
        )


def _written_voxel_size(image: Any) -> FloatArray:
    # Not image.header: on loading, nibabel replaces a size of zero by 1 and drops minus signs.
    with (image.file_map.get("header") or image.file_map["image"]).get_prepare_fileobj("rb") as stream:
        header = type(image.header).from_fileobj(stream, check=False)
    return np.asarray(header["pixdim"][1:4], float)


def _form_difference_mm(header: Any, shape: tuple[int, ...]) -> float:
    try:
        qform = np.asarray(header.get_qform(), float)
    except (ValueError, np.linalg.LinAlgError, HeaderDataError):
        return float("inf")
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    sform = np.asarray(header.get_sform(), float)
    gap = Grid(size, qform).corners_mm() - Grid(size, sform).corners_mm()
    return float(np.linalg.norm(gap, axis=1).max())


def _numbers(values: FloatArray) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
