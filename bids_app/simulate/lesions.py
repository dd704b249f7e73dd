"""Lesions of a simulated cord: where they sit, how large they are, and how sharp.

Sources: lateral 58.9 %, posterior 35.3 %, anterior 5.8 % of lesions (Kearney et al.), against a predominance of the dorsal
columns and of C1 to C3 in 358 patients (ISMRM 2018, 0082): so the shares differ from person to person. Length mostly 3 to 36
mm, usually under half of the cord's area; a third stays in white matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .draw import Draw, Field

#: Share of the posterior columns among a person's lesions, and of the anterior ones among the others.
POSTERIOR, ANTERIOR = (0.3, 0.55), 0.09
#: Down to this vertebral level (the top of C4) lesions are this many times as frequent as further down.
UPPER_NECK, MORE_FREQUENT = 4.0, 1.7
#: A change of signal below this is not a lesion that a reader would mark.
LEAST_CHANGE = 0.1


@dataclass(frozen=True)
class Lesion:
    """One lesion: an ellipsoid along the cord with a noisy surface.

    Attributes
    ----------
    z : float
        World z of its middle, mm.
    radial, angle : float
        Place in the cross-section: fraction of the cord's radius, and radians from right (0) to front (pi/2).
    radii_mm : tuple of 3 floats
        Half axes: along its own in-plane direction, across it, and along the cord.
    turn : float
        In-plane direction, radians.
    edge : float
        Softness of the edge, relative to the radius.
    strength : float
        0..1, how far it tends to stand out.
    change : dict of str to float
        Relative change of signal by sequence; 0 where the sequence does not show it.
    """

    z: float
    radial: float
    angle: float
    radii_mm: tuple[float, float, float]
    turn: float
    edge: float
    strength: float
    change: dict[str, float] = field(default_factory=dict)


def draw_lesion(draw: Draw, z: float, posterior: float) -> Lesion:
    """Draw one lesion at world z; ``posterior`` is the chance that it lies in the posterior columns."""
    if draw.chance(posterior):
        angle, radial = -torch.pi / 2 + draw.normal(0, 0.45), draw.uniform(0.3, 0.95)
    elif draw.chance(ANTERIOR):
        angle, radial = torch.pi / 2 + draw.normal(0, 0.45), draw.uniform(0.3, 0.95)
    else:
        angle = draw.normal(0, 0.45) + (torch.pi if draw.chance(0.5) else 0.0)
        radial = draw.uniform(0.35, 0.95)
    first = draw.log_uniform(0.8, 3.2)
    radii = (first, min(max(first * draw.log_uniform(0.55, 1.8), 0.7), 3.6), draw.log_uniform(1.5, 18.0))
    return Lesion(
        z=z,
        radial=radial,
        angle=angle,
        radii_mm=radii,
        turn=draw.uniform(0, torch.pi),
        # Some fade out slowly.
        edge=draw.uniform(0.3, 0.7) if draw.chance(0.1) else draw.uniform(0.05, 0.25),
        strength=draw.uniform(0, 1),
    )


def occupancy(
    lesion: Lesion, place: tuple[Tensor, Tensor, Tensor], half_mm: tuple[float, float], noise: Tensor
) -> Tensor:
    """Return how far each point is inside a lesion, 0..1, shape (M,); the caller clips it to the cord.

    Parameters
    ----------
    place : tuple of tensor, shape (M,)
        Right and front of the cord's centre, and z, in mm.
    half_mm : tuple of float
        Half the cord's width and depth at the lesion's height.
    noise : tensor, shape (M,)
        Deforms the surface; the same noise must be given for the same lesion in every image.
    """
    u, v, z = place
    centre_u = lesion.radial * half_mm[0] * math.cos(lesion.angle)
    centre_v = lesion.radial * half_mm[1] * math.sin(lesion.angle)
    cos, sin = math.cos(lesion.turn), math.sin(lesion.turn)
    du, dv = u - centre_u, v - centre_v
    a = (cos * du + sin * dv) / lesion.radii_mm[0]
    b = (cos * dv - sin * du) / lesion.radii_mm[1]
    c = (z - lesion.z) / lesion.radii_mm[2]
    radius = torch.sqrt(a * a + b * b + c * c) * (1 + 0.22 * noise)
    return torch.sigmoid((1 - radius) / lesion.edge)


def draw_lesions(
    draw: Draw, count: int, z_low: float, z_high: float, frequent: Callable[[float], bool]
) -> tuple[Lesion, ...]:
    """Draw a person's lesions over a z range; some touch each other, as confluent lesions do.

    Parameters
    ----------
    frequent : callable
        Whether a height (world z) lies where lesions are more frequent.
    """
    posterior = draw.uniform(*POSTERIOR)
    lesions: list[Lesion] = []
    for _ in range(count):
        z = draw.uniform(z_low, z_high)
        for _ in range(4):
            if frequent(z) or draw.chance(1 / MORE_FREQUENT):
                break
            z = draw.uniform(z_low, z_high)
        if lesions and draw.chance(0.15):
            z = lesions[-1].z + draw.normal(0, 4)
        lesions.append(draw_lesion(draw, min(max(z, z_low), z_high), posterior))
    return tuple(lesions)


def lesion_noise(draw: Draw, low: Tensor, high: Tensor) -> Field:
    """Return the field that deforms lesion surfaces."""
    return Field(draw, 1, low, high, (2.0, 2.0, 4.0))
