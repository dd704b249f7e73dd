"""Samples on disk: written once, read many times, by one run or by several.

A sample is one ``.safetensors`` file with the arrays of a `Patch`; masks are packed to bits. It is read without being parsed, in
about a millisecond.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from ..errors import EnvironmentFault
from ..simulate.patches import Patch

#: Errors that say that a disk holds no more.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_sample(path: Path, patch: Patch) -> None:
    """Write a sample; it appears under its name only when it is complete.

    Raises
    ------
    EnvironmentFault
        The disk is full, or the folder cannot be written to.
    """
    arrays = {
        "images": patch.images,
        "coverage": _packed(patch.coverage),
        "visible": _packed(patch.visible),
        "slots": np.array(patch.slots, np.uint8),
        "cord": _byte(patch.cord),
    }
    if patch.grey is not None:
        arrays["grey"] = _byte(patch.grey)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise EnvironmentFault(
                f"The disk under {path.parent} is full.", "Free some space, or keep fewer samples (--keep)."
            ) from error
        raise EnvironmentFault(f"{path.parent} cannot be written to ({error.strerror}).") from error


def read_sample(path: Path) -> Patch:
    """Read what `write_sample` wrote."""
    arrays = load_file(path)
    images = arrays["images"]
    return Patch(
        images=images,
        coverage=_unpacked(arrays["coverage"], images.shape),
        slots=tuple(int(n) for n in arrays["slots"]),
        visible=_unpacked(arrays["visible"], images.shape),
        cord=_half(arrays["cord"]),
        grey=_half(arrays["grey"]) if "grey" in arrays else None,
    )


@dataclass(frozen=True)
class Kept:
    """Makes samples as ``make`` does, and keeps them in a folder: who asks for the same one again gets it from there."""

    make: Callable[[int], Patch]
    folder: Path

    def __call__(self, seed: int) -> Patch:
        """Read or make one."""
        path = self.folder / f"{seed}.safetensors"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_sample(path, self.make(seed))
        return read_sample(path)


def _packed(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(mask)


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).view(bool)


def _byte(share: NDArray[np.float16]) -> NDArray[np.uint8]:
    return np.asarray(np.round(share.astype(np.float32).clip(0, 1) * 255), np.uint8)


def _half(byte: NDArray[np.uint8]) -> NDArray[np.float16]:
    return (byte.astype(np.float32) / 255).astype(np.float16)
