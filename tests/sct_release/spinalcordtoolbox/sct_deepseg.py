"""Installs a "model", or writes a tube along the axis of the image that is nearest to head-foot."""

import gzip
import os
import struct
import sys
from pathlib import Path

MODEL = Path(os.environ["SCT_DIR"], "data", "deepseg_models", "model_seg_spinal_cord_stub")
SOURCE = MODEL / "source.json"
RADIUS_MM = 4.5


def main() -> None:
    """Do what sct_deepseg spinalcord is documented to."""
    arguments = sys.argv[1:]
    if arguments[0] != "spinalcord":
        sys.exit(2)
    if "-install" in arguments:
        MODEL.mkdir(parents=True, exist_ok=True)
        SOURCE.write_text('{"model_urls": ["stub"]}\n')
        return
    if not SOURCE.exists():
        sys.exit("the model is absent, and the stub downloads nothing")
    image, output = (Path(arguments[arguments.index(option) + 1]) for option in ("-i", "-o"))
    output.write_bytes(gzip.compress(tube(gzip.decompress(image.read_bytes())), mtime=0))


def tube(nifti: bytes) -> bytes:
    """Return an uncompressed NIfTI-1 mask on the grid of one."""
    header = bytearray(nifti[:352])
    shape = struct.unpack_from("<3h", header, 42)
    rows = [struct.unpack_from("<4f", header, 280 + 16 * row) for row in range(3)]
    along = max(range(3), key=lambda axis: abs(rows[2][axis]) / sum(row[axis] ** 2 for row in rows) ** 0.5)
    spacing = [sum(row[axis] ** 2 for row in rows) ** 0.5 for axis in range(3)]
    across = [axis for axis in range(3) if axis != along]
    middle = [(shape[axis] - 1) / 2 for axis in range(3)]

    def inside(index: tuple[int, int, int]) -> bool:
        return sum(((index[axis] - middle[axis]) * spacing[axis]) ** 2 for axis in across) <= RADIUS_MM**2

    values = bytes(
        inside((i, j, k)) for k in range(shape[2]) for j in range(shape[1]) for i in range(shape[0])
    )
    struct.pack_into("<2h", header, 70, 2, 8)  # uint8
    struct.pack_into("<f", header, 108, 352.0)
    struct.pack_into("<2f", header, 112, 1.0, 0.0)
    return bytes(header) + values


main()
