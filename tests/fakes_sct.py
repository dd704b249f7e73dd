"""Fake ``sct_*`` programs for PATH that behave, and misbehave, as the real ones are known to."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

_SEGMENT = """#!{python}
import json, os, subprocess, sys, time
from pathlib import Path
import nibabel as nib
import numpy as np

behaviour = "{behaviour}"
arguments = sys.argv[1:]
image, output = arguments[arguments.index("-i") + 1], arguments[arguments.index("-o") + 1]
seen = {{"argv": arguments, "cwd": os.getcwd(), "environ": dict(os.environ), "link": os.path.islink(image)}}
calls = Path("{log}")
with calls.open("a") as stream:
    stream.write(json.dumps(seen) + "\\n")
if behaviour == "rc1":
    print("ValueError: the model cannot be loaded", file=sys.stderr)
    sys.exit(1)
if behaviour == "silent":
    print("sct_deepseg: nothing to do")
    sys.exit(0)
if behaviour == "kill-caller":
    # The parent is the leash; the caller is beyond it.
    caller = int(Path(f"/proc/{{os.getppid()}}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(caller, 9)
    time.sleep(60)
if behaviour == "slow":
    child = subprocess.Popen(["sleep", "60"])
    Path("pids.txt").write_text(f"{{os.getpid()}} {{child.pid}}")
    time.sleep(60)
loaded = nib.load(image)
mask = np.load("{mask}")
if behaviour == "empty":
    mask[:] = 0
if behaviour == "noisy-beside":
    Path(image).with_name("image_RPI_seg.nii.gz").write_bytes(b"left over")
    Path("warp_curve2straight.nii.gz").write_bytes(b"left over")
if behaviour == "wrong-grid":
    mask = mask[:-1]
affine = loaded.affine.copy()
if behaviour == "shifted":
    affine[0, 3] += 3
if behaviour == "drift":
    affine[:3, 3] += 1e-4
if behaviour == "garbage":
    Path(output).write_bytes(b"not an image")
    sys.exit(0)
made = nib.Nifti1Image(mask.astype(np.uint8), affine)
made.set_sform(affine, 2)
made.set_qform(affine, 2)
nib.save(made, output)
Path(output.replace(".nii.gz", ".json")).write_text("{{}}")
"""

_LABEL = """#!{python}
import json, os, sys
from pathlib import Path
import nibabel as nib
import numpy as np

behaviour = "{behaviour}"
arguments = sys.argv[1:]
with Path("{log}").open("a") as stream:
    stream.write(json.dumps({{"argv": arguments, "cwd": os.getcwd()}}) + "\\n")
Path("warp_curve2straight.nii.gz").write_bytes(b"left over")
if behaviour == "labels-rc1":
    print("ValueError: C2/C3 was not found", file=sys.stderr)
    sys.exit(1)
if behaviour == "labels-silent":
    sys.exit(0)
cord = nib.load(arguments[arguments.index("-s") + 1])
mask = np.asarray(cord.dataobj)
where = np.argwhere(mask > 0)
height = nib.affines.apply_affine(cord.affine, where)[:, 2]
values = 3 + ((height.max() - height) / {height_mm}).astype(int)
labels = np.zeros(mask.shape, np.uint8)
labels[tuple(where.T)] = values
nib.save(nib.Nifti1Image(labels, cord.affine), Path(arguments[arguments.index("-ofolder") + 1]) / "cord_labeled.nii.gz")
"""

_VERSION = """#!/bin/sh
echo "--"
echo "{version}"
exit {code}
"""


def install(
    folder: Path,
    mask: Path,
    behaviour: str = "good",
    version: str = "7.3",
    code: int = 0,
    height_mm: float = 15.0,
) -> Path:
    """Write the fakes into a folder and return the file in which every call of ``sct_deepseg`` is noted.

    ``mask`` is an ``.npy`` file with what the fake finds. Vertebrae are labelled from C3 on, each of them ``height_mm`` high;
    those calls are noted in ``labels.jsonl``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "calls.jsonl"
    texts = {
        "sct_deepseg": _SEGMENT.format(python=sys.executable, behaviour=behaviour, log=log, mask=mask),
        "sct_label_vertebrae": _LABEL.format(
            python=sys.executable, behaviour=behaviour, log=folder / "labels.jsonl", height_mm=height_mm
        ),
        "sct_version": _VERSION.format(version=version, code=code),
    }
    for name, text in texts.items():
        program = folder / name
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return log
