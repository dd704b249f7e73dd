"""``mscord-multispine``: one case of the MS-Multi-Spine challenge (MICCAI 2025) in, its instance image and table out.

The challenge gives one patient as a folder or zip of NIfTI images (T2 with STIR, PSIR or MP2RAGE) and wants, in the space of
the T2, an image of instances and a CSV with a probability for each. Its evaluation reads ``label,p``; descriptors of
entries write ``id,p``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from . import cli, images
from .errors import BadImageError, EnvironmentFault, ExitCode, MscordError, NothingToDoError, UsageError
from .files import write_bytes, write_text, writing
from .machine import prepare_process
from .tables import MISSING, read_table

log = logging.getLogger("bids_app")

#: What a file's name says, and the BIDS name that mscord knows it by; the first that fits counts.
KINDS: tuple[tuple[str, str], ...] = (
    (r"psir", "acq-psir_T1w"),
    (r"stir", "acq-stir_T2w"),
    (r"mp2rage|unit?1?", "UNIT1"),
    (r"t2\W?star", "T2starw"),
    (r"t1w?", "T1w"),
    (r"t2w?", "T2w"),
)
REFERENCE = "T2w"
COLUMNS = ("label", "id")


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord-multispine``."""
    result = argparse.ArgumentParser(
        prog="mscord-multispine",
        description="Read one case of the MS-Multi-Spine challenge and write its instance image and CSV.",
        epilog="Further options are handed to mscord (--device, --weights, --threshold, --cord, --nprocs, ...).",
    )
    result.add_argument("case", type=Path, help="folder or .zip with the NIfTI images of one patient")
    result.add_argument("out", type=Path, help="folder, or .tar.gz, for CASE.nii.gz and CASE.csv")
    result.add_argument(
        "--column", choices=COLUMNS, default="label", help="name of the first column of the CSV"
    )
    return result


def main(argv: list[str] | None = None) -> int:
    """Find the lesions of one case; returns the exit status of mscord."""
    options, further = parser().parse_known_args(argv)
    prepare_process()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        with tempfile.TemporaryDirectory(prefix="mscord-") as name:
            return convert(options.case, options.out, options.column, further, Path(name))
    except MscordError as error:
        log.error("%s", error)
        return int(error.exit_code)


def convert(case: Path, out: Path, column: str, further: list[str], folder: Path) -> int:
    """Read a case, run mscord on it in ``folder``, and write the result.

    Raises
    ------
    UsageError
        The case is neither a folder nor a zip.
    NothingToDoError
        It holds no T2w image.
    """
    name = re.sub(r"\.zip$", "", case.name)
    source = _unpacked(case, folder / "case")
    dataset, derivatives = folder / "bids", folder / "derivatives"
    _lay_out(source, dataset)
    status = cli.main([str(dataset), str(derivatives), "participant", *further])
    if status not in (ExitCode.OK, ExitCode.SOME_FAILED):
        return status
    instances = (
        derivatives / "sub-case" / "anat" / f"sub-case_space-orig_seg-lesions_desc-{REFERENCE}_dseg.nii.gz"
    )
    if not instances.exists():
        log.error("mscord left no instances for the %s image of %s.", REFERENCE, name)
        return status or ExitCode.SOME_FAILED
    result = folder / "result"
    result.mkdir()
    shutil.copyfile(instances, result / f"{name}.nii.gz")
    write_text(result / f"{name}.csv", table_of(instances, column))
    _deliver(result, out)
    return status


def kind_of(name: str) -> str | None:
    """Return the BIDS name of an image by its file's name; None where mscord has no use for it.

    >>> kind_of("patient7_STIR.nii.gz"), kind_of("p7_PSIR.nii.gz"), kind_of("T2_raw.nii.gz")
    ('acq-stir_T2w', 'acq-psir_T1w', 'T2w')
    """
    stem = name.split(".nii")[0].lower()
    if re.search(r"mask|seg|lesion|label|instance", stem):
        return None
    return next((kind for word, kind in KINDS if re.search(rf"(?<![a-z0-9]){word}(?![a-z0-9])", stem)), None)


def table_of(instances: Path, column: str) -> str:
    """Return the CSV of an instance image: every label in it with its highest probability."""
    labels, _ = images.read_labels(instances)
    there = {int(value) for value in np.unique(labels)} - {0}
    rows = read_table(instances.with_name(instances.name.replace(".nii.gz", ".tsv")))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column, "p"])
    for row in rows:
        if int(row["index"]) in there and row["probability"] != MISSING:
            writer.writerow([row["index"], row["probability"]])
    return stream.getvalue()


def _unpacked(case: Path, folder: Path) -> Path:
    if case.is_dir():
        return case
    if not zipfile.is_zipfile(case):
        raise UsageError(f"{case} is neither a folder nor a zip file.")
    try:
        with zipfile.ZipFile(case) as archive:
            # extractall drops absolute paths and "..".
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise EnvironmentFault(f"{case} cannot be unpacked ({error}).") from error
    return folder


def _lay_out(source: Path, dataset: Path) -> None:
    """Name the images of a case as BIDS does, as links where possible."""
    anat = dataset / "sub-case" / "anat"
    anat.mkdir(parents=True)
    description = {"Name": "case", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    write_text(dataset / "dataset_description.json", json.dumps(description))
    taken: dict[str, Path] = {}
    for path in sorted(source.rglob("*.nii*")):
        kind = kind_of(path.name)
        if kind is None:
            log.warning("%s is not used.", path.name)
        elif kind in taken:
            raise BadImageError(f"{taken[kind].name} and {path.name} would both be the {kind} image.")
        else:
            taken[kind] = path
            ending = ".nii.gz" if path.name.endswith(".gz") else ".nii"
            (anat / f"sub-case_{kind}{ending}").symlink_to(path.absolute())
    if REFERENCE not in taken:
        raise NothingToDoError(f"{source} holds no image with T2 in its name.")


def _deliver(result: Path, out: Path) -> None:
    if not out.name.endswith((".tar.gz", ".tgz")):
        for path in result.iterdir():
            write_bytes(out / path.name, path.read_bytes())
        return
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(out.name + ".part")
        with tarfile.open(part, "w:gz") as archive:
            for path in sorted(result.iterdir()):
                archive.add(path, path.name)
        part.replace(out)


if __name__ == "__main__":
    sys.exit(main())
