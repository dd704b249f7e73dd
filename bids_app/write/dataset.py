"""The dataset around the outputs: what is written first, and once for all participants."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from .. import __version__
from ..errors import UsageError
from ..files import read_json, write_json, write_text, writing
from ..options import Options
from ..provenance import container

APP = "mscord"
BIDS_VERSION = "1.11.1"
#: Key of DatasetLinks for the input: the first part of every source URI.
RAW = "raw"
DESCRIPTION = "dataset_description.json"
#: Said in every output.
NOTICE = "For research use only, not for diagnosis."
#: What BIDS does not name yet. A pattern with a trailing slash would not be honoured by the validator.
IGNORED = (
    "*.html",
    "*_xfm.txt",
    "*_xfm.json",
    "group_lesions.*",
    "group_units.*",
    "group_sessions.*",
    "group_longitudinal.*",
    "*.part",
)

_README = """\
Multiple sclerosis lesions in spinal cord MRI, found by mscord
==============================================================

For research use only, not for diagnosis. The weights that ship with mscord are trained on simulated spinal
cords, not on people; the JSON file beside every image names the weights that were used. Look at the results
before you rely on them.

Every input image that was used has, on exactly its own voxel grid, under sub-<label>[/ses-<label>]/anat:

*_label-lesion_desc-<image>_mask.nii.gz      lesions: 1, elsewhere 0
*_label-lesion_desc-<image>_probseg.nii.gz   probability of lesion, from 0 to 1
*_seg-lesions_desc-<image>_dseg.nii.gz       each lesion with its number, the same in all images of a session
*_seg-lesions_desc-<image>_dseg.tsv          a row for every lesion: volume, length, position, probability
*_label-SC_desc-<image>_mask.nii.gz          spinal cord: 1, elsewhere 0
*_from-<image>_to-<reference>_mode-image_xfm.txt
                                             rigid transform (ITK text) that resamples the image onto the
                                             reference: maps points of the reference to points of the image
*.json                                       what each file was made from, and how

desc-<image> is the suffix of the input (desc-T2w, desc-UNIT1), with whatever else a BIDS name of a mask has
no place for (desc-MP2RAGEinv1).

Beside these:

sub-<label>.html                             report of a participant: look here first
group_*.tsv                                  all lesions, units of work and sessions, made by the group level
logs/run-*_manifest.json                     what was run, with which options and versions, and what came of it
logs/run-*_options.toml, _log.txt            its options, to repeat it with --config, and all that it said
logs/run-*_methods.md, .html, .bib           how it was done, in words for a paper, with the references
logs/sub-*_status.json                       the last result of each participant and session, failures too
logs/sub-*_crash.txt                         why a unit of work failed

Where no lesion was found the mask is there, all zero. Where there is no mask, the image was not used: the
report says why.
"""


def start_dataset(options: Options) -> Path:
    """Make the output folder a BIDS derivative dataset: the first thing that a run writes.

    Safe to call from many processes at once: all write the same bytes, each file appears whole.

    Returns
    -------
    Path
        The dataset description.

    Raises
    ------
    UsageError
        The output folder is the dataset of another tool, or not a folder.
    EnvironmentFault
        The output folder cannot be written to.
    """
    folder = options.output_dir
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"The output {folder} is a file, not a folder.", "Name a folder.")
    path = folder / DESCRIPTION
    _refuse_foreign(path)
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(path, _description(options))
    _ignore(folder / ".bidsignore")
    # Written once: whoever adds to it keeps what was added.
    if not any(folder.glob("README*")):
        write_text(folder / "README", _README)
    return path


def raw_uri(path: Path, bids_dir: Path) -> str:
    """Return the BIDS URI of a file of the input."""
    full, root = Path(os.path.abspath(path)), Path(os.path.abspath(bids_dir))  # noqa: PTH100 - links stay links
    if not full.is_relative_to(root):
        # One of them was reached through a link: resolve the folders, never the file (git-annex links out of
        # the tree).
        full, root = full.parent.resolve() / full.name, root.resolve()
    return f"bids:{RAW}:{quote(full.relative_to(root).as_posix(), safe='/+')}"


def _description(options: Options) -> dict[str, object]:
    raw = _raw_description(options.bids_dir)
    generated: dict[str, object] = {"Name": APP, "Version": __version__}
    where = container()
    if where:
        # The digest has no place here in BIDS; the manifest has it.
        generated["Container"] = {name: value for name, value in where.items() if name != "Digest"}
    link = _link(options)
    doi = raw.get("DatasetDOI")
    source = {"DOI": doi} if isinstance(doi, str) and doi else {"URL": options.bids_dir.resolve().as_uri()}
    name = raw.get("Name")
    return {
        "Name": "Spinal cord lesions found by mscord"
        + (f" in {name}" if isinstance(name, str) and name else ""),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "Authors": [*_authors(raw), "The developers of mscord"],
        "GeneratedBy": [generated],
        "DatasetLinks": {RAW: link},
        "SourceDatasets": [source],
    }


def _authors(raw: dict[str, object]) -> list[str]:
    """Return the authors of the input: a derivative is theirs, too."""
    named = raw.get("Authors")
    names = [name for name in named if isinstance(name, str) and name] if isinstance(named, list) else []
    return names or ["The authors of the input dataset"]


def _link(options: Options) -> str:
    """Return where the input is: relative where the output lies inside it, so that both can move together."""
    raw, output = options.bids_dir.resolve(), options.output_dir.resolve()
    if output != raw and output.is_relative_to(raw):
        return "/".join([".."] * len(output.relative_to(raw).parts))
    return raw.as_uri()


def _raw_description(bids_dir: Path) -> dict[str, object]:
    try:
        return read_json(bids_dir / DESCRIPTION)
    except (OSError, ValueError):
        return {}  # Discovery reports it; here it only costs the name.


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    step = "Choose another output folder."
    try:
        record = read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"The output folder has a {path.name} that cannot be read: {path}.", step) from error
    made = record.get("GeneratedBy")
    names = (
        [str(tool.get("Name")) for tool in made if isinstance(tool, dict)] if isinstance(made, list) else []
    )
    if APP not in names:
        what = f"made by {', '.join(names)}" if names else "not made by mscord"
        raise UsageError(
            f"The output folder {path.parent} is a dataset {what}: nothing is written into it.", step
        )


def _ignore(path: Path) -> None:
    """Add our patterns to those that are there."""
    try:
        present = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except OSError:
        present = []
    write_text(path, "\n".join([*present, *(line for line in IGNORED if line not in present)]) + "\n")
