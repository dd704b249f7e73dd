"""Signal at a point: the cord with grey matter and lesions, the CSF with roots and flow, and what lies around."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .anatomy import Anatomy, Local, grey_matter
from .contrast import Levels
from .draw import Draw, Field
from .lesions import Lesion, lesion_noise, occupancy


@dataclass(frozen=True, eq=False)
class Body:
    """What one participant has beside the cord; the same in every image.

    Attributes
    ----------
    lesion_shape : Field
        Deforms lesion surfaces.
    texture : Field
        Channels: fine cord texture, horn texture, CSF flow, coarse tissue, coarse tissue 2.
    roots : tensor, shape (R, 6)
        Angle, distance from the cord's edge (mm), radius (mm), slant (radians per mm), phase (mm), signal (of
        CSF).
    """

    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    lesion_shape: Field
    fine: Field
    coarse: Field
    roots: Tensor
    vertebra_mm: tuple[float, float]
    trunk_mm: tuple[float, float, float]
    airway_mm: tuple[float, float, float]
    vessels: Tensor
    central_canal: float
    flow: float


def draw_body(draw: Draw, anatomy: Anatomy, lesions: tuple[Lesion, ...], low: Tensor, high: Tensor) -> Body:
    """Draw all that is not the cord, for the region between two corners (world mm)."""
    count = draw.integer(0, 8)
    roots = torch.tensor(
        [
            [
                draw.uniform(-torch.pi, torch.pi),
                draw.uniform(0.2, 2.5),
                draw.uniform(0.25, 0.8),
                draw.normal(0, 0.03),
                draw.uniform(0, 20),
                draw.uniform(0.1, 0.75),
            ]
            for _ in range(count)
        ]
    ).reshape(count, 6)
    neck = draw.uniform(45, 75)
    return Body(
        anatomy=anatomy,
        lesions=lesions,
        lesion_shape=lesion_noise(draw.fork(), low, high),
        fine=Field(draw.fork(), 3, low, high, (2.5, 2.5, 5.0)),
        coarse=Field(draw.fork(), 3, low, high, (9.0, 9.0, 14.0)),
        roots=roots,
        vertebra_mm=(draw.uniform(13, 24), draw.uniform(18, 34)),
        trunk_mm=(neck * draw.uniform(1.0, 1.6), neck * draw.uniform(0.9, 1.3), draw.uniform(-12, 12)),
        airway_mm=(draw.uniform(28, 48), draw.uniform(4, 11), draw.uniform(-6, 6)),
        vessels=_draw_vessels(draw.fork()),
        central_canal=draw.uniform(0.2, 0.7) if draw.chance(0.25) else 0.0,
        flow=draw.uniform(0, 0.5) if draw.chance(0.6) else 0.0,
    )


def _draw_vessels(draw: Draw) -> Tensor:
    """Draw carotid and jugular pairs, dark by flow or bright by inflow."""
    rows = []
    for _ in range(draw.integer(0, 3)):
        right, forward = draw.uniform(14, 42), draw.uniform(-2, 40)
        radius = draw.uniform(1.5, 6)
        level = draw.uniform(0, 0.4) if draw.chance(0.5) else draw.uniform(1, 4)
        for side in (-1, 1):
            rows.append(
                [
                    side * right * draw.uniform(0.9, 1.1),
                    forward + draw.normal(0, 2),
                    radius * draw.uniform(0.7, 1.3),
                    draw.normal(0, 0.05),
                    level * draw.uniform(0.8, 1.2),
                ]
            )
    return torch.tensor(rows).reshape(len(rows), 5)


@dataclass(frozen=True, eq=False)
class Scene:
    """A body seen at some points: everything that does not depend on the sequence, shapes (M,)."""

    local: Local
    grey: Tensor
    occupancy: tuple[Tensor, ...]
    fine: Tensor
    coarse: Tensor
    root: Tensor
    root_signal: Tensor


def look(body: Body, points: Tensor) -> Scene:
    """Evaluate a body at points, shape (M, 3) world mm.

    Grey matter, lesions and roots are worked out only in and next to the canal: in a whole neck that is one point in fifty.
    """
    local = body.anatomy.local(points)
    near = torch.nonzero((local.canal_distance < 2.5) | (local.cord_distance < 2.5)).flatten()
    close = Local(*(getattr(local, entry.name)[near] for entry in fields(Local)))
    noise = body.lesion_shape(points[near])[0]
    root, root_signal = _roots(body, close)

    def spread(values: Tensor, empty: float = 0.0) -> Tensor:
        return torch.full_like(local.u, empty).index_copy(0, near, values)

    return Scene(
        local=local,
        grey=spread(grey_matter(close)),
        occupancy=tuple(spread(occupancy(lesion, close, body.anatomy, noise)) for lesion in body.lesions),
        fine=body.fine(points),
        coarse=body.coarse(points),
        root=spread(root),
        root_signal=spread(root_signal, 1.0),
    )


def signal(body: Body, scene: Scene, levels: Levels, sequence: str, wide: bool) -> Tensor:
    """Return noise-free signal, shape (M,), white matter = 1.

    ``wide`` draws the whole neck or trunk; without it, only what a 24 mm crop can see.
    """
    local = scene.local
    cord = _cord_signal(body, scene, levels, sequence)
    flow = 1 - body.flow * torch.sigmoid(2 * scene.fine[2] - 0.5) * (0.6 + 0.4 * torch.sigmoid(-local.v))
    csf = levels.csf * flow
    csf = csf * (1 - scene.root) + scene.root * scene.root_signal * csf
    outside = _outside_signal(body, scene, levels, wide)
    canal = torch.sigmoid(-local.canal_distance / 0.3)
    inside = csf * (1 - local.cord) + cord * local.cord
    return (outside * (1 - canal) + inside * canal).clamp(min=0)


def _cord_signal(body: Body, scene: Scene, levels: Levels, sequence: str) -> Tensor:
    local = scene.local
    right, front = torch.sigmoid(local.u / 0.5), torch.sigmoid((local.v + 0.3) / 0.5)
    horns = levels.horns
    factor = front * ((1 - right) * horns[0] + right * horns[1]) + (1 - front) * (
        (1 - right) * horns[2] + right * horns[3]
    )
    factor = (factor * (1 + 0.25 * scene.fine[1])).clamp(0.2, 2.2)
    cord = 1 + (levels.grey - 1) * scene.grey * factor + levels.texture * scene.fine[0]
    if body.central_canal:
        spot = torch.exp(-((local.u**2 + (local.v - 0.2) ** 2) / (2 * body.central_canal**2)))
        cord = cord + 0.5 * spot * (levels.csf - cord)
    for lesion, inside in zip(body.lesions, scene.occupancy, strict=True):
        change = lesion.change.get(sequence, 0.0)
        if change:
            # A lesion replaces what lies beneath it; the grey matter shows through only partly.
            cord = cord + inside * ((1 + change) * (0.5 + 0.5 * cord) - cord)
    return cord


def _roots(body: Body, local: Local) -> tuple[Tensor, Tensor]:
    """Return how far each point is inside a nerve root or vessel beside the cord, and the root's signal (of CSF)."""
    inside = torch.zeros_like(local.u)
    value = torch.ones_like(local.u)
    for angle, distance, radius, slant, phase, level in body.roots.tolist():
        turned = angle + slant * (local.z - phase)
        edge_u = (local.half_rl + distance) * torch.cos(turned)
        edge_v = (local.half_ap + distance) * torch.sin(turned)
        gap = (local.u - edge_u) ** 2 + (local.v - edge_v) ** 2
        own = torch.exp(-gap / (2 * radius**2))
        value = torch.where(own > inside, torch.full_like(value, level), value)
        inside = torch.maximum(inside, own)
    return inside, value


def _outside_signal(body: Body, scene: Scene, levels: Levels, wide: bool) -> Tensor:
    """Vertebrae with discs in front, arches behind, ligament around the canal, muscle and fat beyond."""
    local = scene.local
    soft = torch.sigmoid(4 * scene.coarse[0])
    signal = levels.muscle + (levels.fat - levels.muscle) * soft * torch.sigmoid(3 * scene.coarse[1] + 0.5)
    phase = local.level - local.level.floor()
    at_disc = torch.exp(-((torch.minimum(phase, 1 - phase) / 0.11) ** 4))
    bone = levels.bone * (1 + 0.12 * scene.fine[1])
    body_ap, body_rl = body.vertebra_mm
    front = local.canal_v - local.canal_half_ap - body_ap / 2 - 1.0
    vertebra = torch.sigmoid(
        (1 - torch.sqrt((front / (body_ap / 2)) ** 2 + (local.canal_u / (body_rl / 2)) ** 2)) * 6
    )
    signal = signal * (1 - vertebra) + vertebra * (bone * (1 - at_disc) + levels.disc * at_disc)
    behind = torch.sigmoid((-local.canal_v - local.canal_half_ap * 0.5) / 0.8) * torch.sigmoid(
        (16 - local.canal_distance) / 2
    )
    arch = behind * torch.sigmoid((5 + 0.25 * (-local.canal_v) - local.canal_u.abs()) / 1.0)
    spine = torch.sigmoid((0.28 - (phase - 0.5).abs()) * 25)
    signal = signal * (1 - arch) + arch * (bone * spine + levels.fat * (1 - spine))
    pedicle = torch.sigmoid((local.canal_u.abs() - local.canal_half_ap * 0.9) / 0.8) * torch.sigmoid(
        (9 - local.canal_distance) / 1.5
    )
    foramen = torch.sigmoid((phase - 0.6) * 20) * torch.sigmoid((0.95 - phase) * 20)
    lateral = bone * (1 - foramen) + foramen * (0.6 * levels.fat + 0.4 * levels.muscle)
    signal = signal * (1 - pedicle) + pedicle * lateral
    rim = torch.exp(-(((local.canal_distance - 0.9) / 0.7) ** 2))
    signal = signal * (1 - 0.85 * rim) + 0.85 * rim * levels.ligament
    signal = signal * (1 + 0.15 * scene.coarse[2])
    return _far(body, scene, levels, signal) if wide else signal


def _far(body: Body, scene: Scene, levels: Levels, signal: Tensor) -> Tensor:
    """Add airway, skin and air around, lungs below the neck, and the head with its brain above the cord."""
    local = scene.local
    depth, radius, side = body.airway_mm
    airway = torch.sigmoid(
        (
            radius
            - torch.sqrt((local.canal_u - side) ** 2 + (local.canal_v - local.canal_half_ap - depth) ** 2)
        )
        / 0.8
    )
    signal = signal * (1 - airway)
    for right, forward, width, slant, level in body.vessels.tolist():
        gap = (local.canal_u - right - slant * local.z) ** 2 + (local.canal_v - forward) ** 2
        vessel = torch.sigmoid((width - torch.sqrt(gap)) / 0.6)
        signal = signal * (1 - vessel) + vessel * level
    half_rl, half_ap, shift = body.trunk_mm
    chest = torch.sigmoid((local.level - 8) * 1.5)
    wide, deep = half_rl * (1 + 1.2 * chest), half_ap * (1 + 0.4 * chest)
    front = local.canal_v - 12 - shift
    depth_of_skin = torch.sqrt((local.canal_u / wide) ** 2 + (front / deep) ** 2)
    trunk = torch.sigmoid((1 - depth_of_skin) * 25)
    # Under the skin lies fat, behind the neck most of all.
    under_skin = torch.sigmoid((depth_of_skin - 0.86) * 40)
    signal = signal * (1 - under_skin) + under_skin * levels.fat
    lung = (
        chest
        * torch.sigmoid((local.canal_u.abs() - 30 + 6 * scene.coarse[1]) / 2)
        * torch.sigmoid((front + 20) / 2)
    )
    signal = signal * (1 - 0.95 * lung)
    above = local.z - body.anatomy.top
    head = torch.sigmoid((above + 4) / 2)
    brain_radius = torch.sqrt(
        (local.canal_u / 68) ** 2 + ((local.canal_v - 15) / 75) ** 2 + ((above - 62) / 62) ** 2
    )
    brain = torch.sigmoid((1 - brain_radius) * 20)
    fold = torch.sigmoid(5 * scene.fine[0] + 2 * scene.coarse[0])
    inside = 1 + (levels.grey - 1) * fold + (levels.csf - 1) * torch.sigmoid(6 * (scene.fine[1] - 1.2))
    stem = torch.sigmoid((11 + 0.2 * above - torch.sqrt(local.u**2 + local.v**2)) / 1.0) * torch.sigmoid(
        (45 - above) / 3
    )
    inside = inside * (1 - stem) + stem
    skull = torch.sigmoid((1.12 - brain_radius) * 20)
    scalp = levels.fat * (1 + 0.2 * scene.coarse[0])
    headed = skull * (levels.bone * 0.4 * (1 - brain) + inside * brain) + (1 - skull) * scalp
    signal = signal * (1 - head) + headed * head
    trunk = torch.maximum(trunk * (1 - head), head * torch.sigmoid((1.25 - brain_radius) * 20))
    return signal * trunk
