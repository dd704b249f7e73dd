"""A whole simulated participant: full scans with headers, and where the lesions and the cord are in each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..sequences import AXIAL, ISOTROPIC, SAGITTAL, SLOTS
from .anatomy import draw_anatomy
from .contrast import VISIBILITY, draw_levels, lesion_change
from .draw import Draw
from .lesions import UPPER_NECK, draw_lesions
from .patches import CPU
from .scan import Protocol, Stack, acquire, draw_protocol, stack_over
from .tissue import Body, draw_body, seen_by

#: Share of the participants who have each sequence: 247, 137, 119, 63, 52 and 36 of 247 (Walsh et al. 2024).
PRESENCE = {
    "T2Sag": 1.0,
    "STIR": 137 / 247,
    "T2starAx": 119 / 247,
    "T1": 63 / 247,
    "T2Ax": 52 / 247,
    "MP2RAGE": 36 / 247,
    "PSIR": 0.0,
}
#: Array orders met in practice, by plane (nibabel letters).
ORDERS = {SAGITTAL: ("PSR", "PIR", "RAS"), AXIAL: ("LAS", "RAS", "LPS"), ISOTROPIC: ("RAS", "PSR", "LAS")}
#: Smallest pixel of a written scan by plane, mm.
FINEST_MM = {SAGITTAL: 0.7, AXIAL: 0.5, ISOTROPIC: 0.9}
#: White matter gets about this value in the file.
WHITE = 400.0


@dataclass(frozen=True, eq=False)
class SimulatedImage:
    """One scan.

    Attributes
    ----------
    sequence : str
    plane : str
    image, lesion, cord : nibabel images
        int16 scan; uint8 masks on its grid. The lesion mask holds every lesion that any of the participant's sequences shows.
    motion : array, shape (4, 4)
        Maps points of this image to points of the first one (RAS+ mm): how the participant had moved in between.
    """

    sequence: str
    plane: str
    image: nib.Nifti1Image
    lesion: nib.Nifti1Image
    cord: nib.Nifti1Image
    motion: NDArray[np.float64]


def simulate_participant(
    seed: int,
    sequences: tuple[str, ...] = (),
    half_mm: float | None = None,
    device: torch.device = CPU,
    level: float | None = None,
    protocol: Callable[[Draw, str], Protocol] = draw_protocol,
) -> list[SimulatedImage]:
    """Make one participant; equal seeds give equal scans on the same kind of device.

    Parameters
    ----------
    seed : int
    sequences : tuple of str
        Which to acquire; by default drawn as often as in the cohort of Walsh et al. 2024.
    half_mm : float, optional
        Half the length of the sagittal field of view; by default 85 to 115 mm.
    level : float, optional
        Vertebral level (1 = C1, 8 = T1, 20 = L1) in its middle; by default 5 to 7.5.
    protocol : callable
        Draws how a sequence is acquired.

    Returns
    -------
    list of SimulatedImage
        In the table's order.
    """
    draw = Draw(seed)
    names = sequences or tuple(name for name in SLOTS if draw.chance(PRESENCE[name]))
    drawn = draw.uniform(85, 115)
    half = half_mm or drawn
    of_anatomy, usual = draw.fork(), draw.uniform(5.0, 7.5)
    anatomy = draw_anatomy(of_anatomy, -half - 30, half + 30, level or usual)
    top = min(half - 8, anatomy.top - 8)
    count = 0 if draw.chance(0.25) else min(12, 1 + int(-math.log(1 - draw.uniform(0, 0.999)) * 3.0))
    lesions = draw_lesions(draw.fork(), count, -half + 8, top, lambda z: anatomy.level_at(z) < UPPER_NECK)
    shown = draw.fork()
    lesions = tuple(
        replace(
            lesion,
            change={name: lesion_change(shown, name, lesion.strength, VISIBILITY[name]) for name in names},
        )
        for lesion in lesions
    )
    reach = torch.tensor([80.0, 90.0, half + 20])
    body = draw_body(draw.fork(), anatomy, lesions, -reach, reach)
    still = torch.eye(4, device=device)
    return [
        _scan(
            draw.fork(), body, name, protocol, (half, top), still if order == 0 else _moved(draw).to(device)
        )
        for order, name in enumerate(names)
    ]


def _scan(
    draw: Draw,
    body: Body,
    name: str,
    draw_one: Callable[[Draw, str], Protocol],
    reach: tuple[float, float],
    motion: Tensor,
) -> SimulatedImage:
    """Scan a body whose cord is shown from ``-reach[0]`` to about ``reach[1]`` mm."""
    half, top = reach
    protocol = draw_one(draw, name)
    # Finer pixels would cost much time and show nothing more.
    fine = max(protocol.in_plane_mm, FINEST_MM[protocol.plane])
    thick = fine if protocol.plane == ISOTROPIC else protocol.slice_mm
    protocol = replace(protocol, in_plane_mm=fine, slice_mm=thick, noise=draw.log_uniform(0.015, 0.08))
    stack = stack_over(protocol, *_field_of_view(draw, body, protocol, half, top))
    see = seen_by(body, draw_levels(draw, name, odd=False), name)
    scan, shares = acquire(see, protocol, stack, draw.fork(), motion)
    lesion, cord = ((share >= 0.5).cpu().numpy().astype(np.uint8) for share in shares)
    order = ORDERS[protocol.plane][draw.integer(0, 2)]
    values = np.round(scan.cpu().numpy() * WHITE).clip(0, 32767).astype(np.int16)
    image, lesions, cords = (_image(array, stack, order) for array in (values, lesion, cord))
    return SimulatedImage(name, protocol.plane, image, lesions, cords, motion.cpu().double().numpy())


def _field_of_view(
    draw: Draw, body: Body, protocol: Protocol, half: float, top: float
) -> tuple[Tensor, Tensor]:
    """Return the corners of the field of view around the cord, world mm."""
    if protocol.plane == AXIAL:
        length = min(draw.uniform(50, 110), 1.6 * half)
        middle = draw.uniform(-half + length / 2, max(-half + length / 2, top - length / 2))
        centre = body.anatomy.centre(torch.tensor([middle]))[0]
        side = torch.tensor([48.0, 48.0])
        low, high = (
            torch.cat([centre - side, torch.tensor([middle - length / 2])]),
            torch.cat([centre + side, torch.tensor([middle + length / 2])]),
        )
        return low, high
    wide = draw.uniform(18, 28) if protocol.plane == SAGITTAL else 25.0
    return torch.tensor([-wide, -60.0, -half]), torch.tensor([wide, 70.0, half])


def _moved(draw: Draw) -> Tensor:
    """How the participant moved since the first scan: a few millimetres, a degree or two."""
    motion = torch.eye(4)
    angle = math.radians(draw.normal(0, 1.2))
    motion[1, 1] = motion[2, 2] = math.cos(angle)
    motion[1, 2], motion[2, 1] = -math.sin(angle), math.sin(angle)
    motion[:3, 3] = torch.tensor([draw.normal(0, 1.0), draw.normal(0, 1.0), draw.normal(0, 1.0)])
    return motion


def _image(array: NDArray[np.generic], stack: Stack, order: str) -> nib.Nifti1Image:
    """Store an array that runs along R, A, S in another order, as scanners do."""
    affine = stack.affine.numpy().astype(float)
    target = nib.orientations.axcodes2ornt(tuple(order))
    change = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), target)
    turned = nib.orientations.apply_orientation(array, change)
    image = nib.Nifti1Image(
        np.ascontiguousarray(turned), affine @ nib.orientations.inv_ornt_aff(change, array.shape)
    )
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    image.header.set_xyzt_units("mm")
    return image
