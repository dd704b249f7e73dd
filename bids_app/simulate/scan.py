"""The scan: thick slices in the sequence's own plane, partial volume, blur, truncation, shading, ghosts and Rician noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..sequences import AXIAL, ISOTROPIC, SAGITTAL
from .contrast import PALETTES
from .draw import Draw

#: Maps points, shape (M, 3) world mm, to channels, shape (C, M).
See = Callable[[Tensor], Tensor]
#: Points are evaluated in blocks of about this many.
BLOCK = 400_000
#: Standard deviation of the noise, relative to white matter.
NOISE = (0.015, 0.1)


@dataclass(frozen=True)
class Protocol:
    """How one image is acquired. Lengths in mm, angles in degrees.

    ``tilt`` turns the stack about the left-right axis, ``roll`` about the front-back axis. ``gains`` is the spread of the
    signal from slice to slice; towards the upper and lower end of the field of view it falls by the share ``fading``, over a
    length of ``fading_mm``. ``coil`` is the share by which it falls where the coil ends, over ``coil_mm``.
    """

    sequence: str
    plane: str
    in_plane_mm: float
    slice_mm: float
    gap_mm: float
    tilt: float
    roll: float
    noise: float
    blur_mm: float
    shading: float
    truncation: float
    ghost: float
    gains: float
    fading: float
    fading_mm: float
    coil: float = 0.0
    coil_mm: float = 20.0


def draw_protocol(draw: Draw, sequence: str) -> Protocol:
    """Draw how a sequence is acquired."""
    if sequence in ("T2starAx", "T2Ax"):
        plane = AXIAL
    elif sequence == "MP2RAGE":
        plane = ISOTROPIC
    elif sequence == "PSIR":
        plane = (SAGITTAL, AXIAL, ISOTROPIC)[draw.integer(0, 2)]
    else:
        plane = ISOTROPIC if draw.chance(0.45) else SAGITTAL
        if sequence == "T1" and draw.chance(0.25):
            plane = AXIAL
    if plane == ISOTROPIC:
        size = draw.uniform(0.7, 1.1)
        in_plane, thick, gap = size, size, 0.0
    elif plane == SAGITTAL:
        in_plane, thick = draw.uniform(0.4, 1.0), draw.uniform(1.5, 4.2)
        gap = thick * (draw.uniform(0, 0.2) if draw.chance(0.5) else 0.0)
    else:
        in_plane, thick = draw.uniform(0.35, 0.9), draw.log_uniform(2.2, 7.5)
        gap = thick * (draw.uniform(0, 0.25) if draw.chance(0.5) else 0.0)
    # Ringing needs edges that are sharp when the high frequencies are cut; blur takes it away.
    rings = draw.chance(0.5)
    return Protocol(
        sequence=sequence,
        plane=plane,
        in_plane_mm=in_plane,
        slice_mm=thick,
        gap_mm=gap,
        tilt=draw.normal(0, 8) if plane == AXIAL else draw.normal(0, 2),
        roll=draw.normal(0, 2),
        noise=draw.log_uniform(*NOISE),
        blur_mm=in_plane * (draw.uniform(0.15, 0.4) if rings else draw.uniform(0.25, 0.75)),
        shading=draw.uniform(0, 0.35),
        truncation=draw.uniform(0.4, 0.85) if rings else 1.0,
        ghost=draw.uniform(0, 0.05) if draw.chance(0.3) else 0.0,
        gains=0.0 if plane == ISOTROPIC else draw.uniform(0, 0.06),
        fading=draw.uniform(0, 0.35) if draw.chance(0.6) else 0.0,
        fading_mm=draw.uniform(1.5, 6) if plane == AXIAL else draw.uniform(3, 20),
        coil=draw.uniform(0.2, 0.95) if draw.chance(0.25) else 0.0,
        coil_mm=draw.uniform(8, 40),
    )


@dataclass(frozen=True, eq=False)
class Stack:
    """A native grid: shape, affine (4, 4) from voxel to world mm, the slice axis and the slice thickness (mm, without gap)."""

    shape: tuple[int, int, int]
    affine: Tensor
    slice_axis: int
    slice_mm: float


def stack_over(protocol: Protocol, low: Tensor, high: Tensor) -> Stack:
    """Return the stack that covers the box between two world corners, shape (3,) mm, in the protocol's plane."""
    a, b = math.radians(protocol.tilt), math.radians(protocol.roll)
    tilt = torch.tensor([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    roll = torch.tensor([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    turn = (tilt @ roll).float()
    slice_axis = {SAGITTAL: 0, AXIAL: 2, ISOTROPIC: 0}[protocol.plane]
    spacing = torch.full((3,), protocol.in_plane_mm)
    spacing[slice_axis] = protocol.slice_mm + protocol.gap_mm
    middle, half = (low + high) / 2, (high - low) / 2
    counts = [max(2, math.ceil(float(2 * half[axis] / spacing[axis]))) for axis in range(3)]
    affine = torch.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = middle - affine[:3, :3] @ ((torch.tensor(counts).float() - 1) / 2)
    return Stack((counts[0], counts[1], counts[2]), affine, slice_axis, protocol.slice_mm)


def acquire(see: See, protocol: Protocol, stack: Stack, draw: Draw, motion: Tensor) -> tuple[Tensor, Tensor]:
    """Scan what can be seen.

    Parameters
    ----------
    see : callable
        Maps points, shape (M, 3) world mm, to channels, shape (C, M): the noise-free signal first, then whatever
        else is to be averaged over the slices.
    motion : tensor, shape (4, 4)
        Maps the stack's world mm to the body's world mm: how the participant had moved.

    Returns
    -------
    image : tensor, shape stack.shape, float32
        Magnitude image, white matter about 1.
    others : tensor, shape (C - 1, *stack.shape)
        The other channels, averaged over each slice's thickness.
    """
    channels = _average(see, stack, motion)
    clean = channels[0]
    image = _blur(clean, protocol, stack)
    if protocol.truncation < 1:
        image = _truncate(image, protocol, stack)
    image = image * _shading(draw, stack.shape, protocol.shading).to(image)
    image = image * _gains(draw, protocol, stack).to(image)
    if protocol.ghost:
        axis = (stack.slice_axis + 1) % 3
        image = image + protocol.ghost * torch.roll(image, image.shape[axis] // 2, dims=axis)
    device = image.device
    real = image + protocol.noise * draw.noise(device, *stack.shape)
    imaginary = protocol.noise * draw.noise(device, *stack.shape)
    magnitude = torch.sqrt(real**2 + imaginary**2)
    if PALETTES[protocol.sequence].air_noise:
        # The UNI image of MP2RAGE is a ratio: where there is no signal it is pure noise.
        empty = torch.sigmoid((0.12 - clean) / 0.03)
        # The share of a normal number below another is as good as a uniform one.
        flat = 0.5 + 0.5 * torch.erf(draw.noise(device, *stack.shape) / math.sqrt(2))
        magnitude = magnitude * (1 - empty) + empty * flat * 1.3
    return magnitude, channels[1:]


def _average(see: See, stack: Stack, motion: Tensor) -> Tensor:
    """Average all channels over the slice thickness, shape (C, *stack.shape)."""
    thick = stack.slice_mm
    count = max(1, min(7, math.ceil(thick / 0.9)))
    pitch = float(stack.affine[:3, stack.slice_axis].norm())
    affine = motion @ stack.affine.to(motion)
    ranges = [torch.arange(n, dtype=torch.float32, device=motion.device) for n in stack.shape]
    rows_per_block = max(1, BLOCK // max(1, stack.shape[1] * stack.shape[2]))
    parts = []
    for start in range(0, stack.shape[0], rows_per_block):
        rows = ranges[0][start : start + rows_per_block]
        index = torch.stack(torch.meshgrid(rows, ranges[1], ranges[2], indexing="ij"), dim=-1).reshape(-1, 3)
        middle = index @ affine[:3, :3].T + affine[:3, 3]
        step = affine[:3, stack.slice_axis] * (thick / pitch)
        total = see(middle + step * (0.5 / count - 0.5))
        for sub in range(1, count):
            total = total + see(middle + step * ((sub + 0.5) / count - 0.5))
        parts.append((total / count).reshape(-1, len(rows), *stack.shape[1:]))
    return torch.cat(parts, dim=1)


def _blur(image: Tensor, protocol: Protocol, stack: Stack) -> Tensor:
    sigma = protocol.blur_mm / protocol.in_plane_mm
    reach = torch.arange(-2, 3, dtype=image.dtype)
    kernel = torch.exp(-(reach**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(image)
    axes = [axis for axis in range(3) if axis != stack.slice_axis or protocol.plane == ISOTROPIC]
    for axis in axes:
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 5
        pad = [0] * 6
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = 2
        padded = F.pad(image[None, None], pad, mode="replicate")
        image = F.conv3d(padded, kernel.reshape(shape))[0, 0]
    return image


def _truncate(image: Tensor, protocol: Protocol, stack: Stack) -> Tensor:
    """Cut high frequencies along the phase direction: the ringing that draws lines along the cord."""
    axis = 1 if stack.slice_axis != 1 else 0
    spectrum = torch.fft.rfft(image, dim=axis)
    keep = max(4, round(spectrum.shape[axis] * protocol.truncation))
    mask = torch.zeros(spectrum.shape[axis], device=image.device)
    mask[:keep] = 1
    shape = [1, 1, 1]
    shape[axis] = -1
    cut: Tensor = torch.fft.irfft(spectrum * mask.reshape(shape), n=image.shape[axis], dim=axis)
    return cut.clamp(min=0)


def _shading(draw: Draw, shape: tuple[int, int, int], strength: float) -> Tensor:
    # From one end of the field of view to the other, or within the cord's width.
    knots = draw.integer(3, 6)
    coarse = draw.gaussian(1, 1, knots, knots, knots)
    fine = F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]
    return torch.exp(strength * fine)


def _gains(draw: Draw, protocol: Protocol, stack: Stack) -> Tensor:
    """Draw what slices differ by, and how the signal fades at the ends of the field of view along the cord."""
    shape = [1, 1, 1]
    shape[stack.slice_axis] = stack.shape[stack.slice_axis]
    slices = torch.exp(protocol.gains * draw.gaussian(stack.shape[stack.slice_axis])).reshape(shape)
    spacing = float(stack.affine[:3, 2].norm())
    height = torch.arange(stack.shape[2], dtype=torch.float32) * spacing
    from_end = torch.minimum(height, height.flip(0))
    faded = 1 - protocol.fading * torch.exp(-from_end / protocol.fading_mm)
    return slices * faded * _coil(draw, protocol, height)


def _coil(draw: Draw, protocol: Protocol, height: Tensor) -> Tensor:
    """Return how the signal falls beyond the end of the coil, anywhere in the field of view or shortly beyond, mostly below."""
    length = float(height[-1]) + 1.0
    end = draw.uniform(-0.5, 0.6) * min(length, 60.0)
    outside = torch.sigmoid((end - height) / (protocol.coil_mm / 4))
    if draw.chance(0.25):
        outside = outside.flip(0)
    return 1 - protocol.coil * outside
