"""Signal at a point: the cord with grey matter and lesions, the CSF with roots and flow, and what lies around."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .anatomy import Anatomy, GreyForm, Local, draw_grey_form, grey_matter
from .contrast import Levels
from .draw import Draw, Field
from .lesions import LEAST_CHANGE, Lesion, lesion_noise, occupancy

#: Tissues around the canal, in the order of `Scene.outside`; names of fields of `Levels`.
OUTSIDE = ("bone", "disc", "fat", "muscle", "ligament")


@dataclass(frozen=True)
class Fissure:
    """A cleft with fluid in the middle of the cord's front or back: how deep and wide (mm), and how much of it is fluid."""

    depth_mm: float
    width_mm: float
    fluid: float


@dataclass(frozen=True, eq=False)
class Body:
    """What one participant has beside the cord; the same in every image.

    Attributes
    ----------
    lesion_shape : Field
        Deforms lesion surfaces.
    fine : Field
        Texture of a few mm, 3 channels: of the cord, of the horns and the bone, of the CSF's flow.
    tracts : Field
        Texture that runs along the cord.
    coarse : Field
        Texture of about 1 cm outside the cord, 3 channels.
    roots : tensor, shape (R, 6)
        Angle, distance from the cord's edge (mm), radius (mm), slant (radians per mm), phase (mm), signal (of
        CSF).
    nuclei : tensor, shape (K, 7)
        Nuclei and crossing tracts of the medulla, the same on both sides: place to the side and to the front (of half the
        width and depth), radius (mm), height above the foramen magnum and half length (mm), contrast (of that of grey to white
        matter), and how much the left differs from the right.
    """

    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    lesion_shape: Field
    fine: Field
    tracts: Field
    coarse: Field
    roots: Tensor
    nuclei: Tensor
    vertebra_mm: tuple[float, float]
    trunk_mm: tuple[float, float, float]
    airway_mm: tuple[float, float, float]
    vessels: Tensor
    central_canal: float
    flow: float
    grey_form: GreyForm
    fissures: tuple[Fissure, Fissure]


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
        tracts=Field(draw.fork(), 1, low, high, (2.2, 2.2, 18.0)),
        coarse=Field(draw.fork(), 3, low, high, (9.0, 9.0, 14.0)),
        roots=roots,
        nuclei=_draw_nuclei(draw.fork()),
        vertebra_mm=(draw.uniform(13, 24), draw.uniform(18, 34)),
        trunk_mm=(neck * draw.uniform(1.0, 1.6), neck * draw.uniform(0.9, 1.3), draw.uniform(-12, 12)),
        airway_mm=(draw.uniform(28, 48), draw.uniform(4, 11), draw.uniform(-6, 6)),
        vessels=_draw_vessels(draw.fork()),
        central_canal=draw.uniform(0.2, 0.7) if draw.chance(0.25) else 0.0,
        flow=draw.uniform(0, 0.5) if draw.chance(0.6) else 0.0,
        grey_form=draw_grey_form(draw),
        # The anterior median fissure is 2 to 3 mm deep; the posterior sulcus is shallow.
        fissures=(
            Fissure(draw.uniform(1.0, 3.2), draw.uniform(0.2, 0.5), draw.uniform(0, 0.7)),
            Fissure(draw.uniform(0.3, 2.0), draw.uniform(0.2, 0.45), draw.uniform(0, 0.45)),
        ),
    )


def _draw_nuclei(draw: Draw) -> Tensor:
    """Draw what the medulla has instead of horns: nuclei behind (gracile, cuneate), olives at the sides, tracts that cross."""
    rows = []
    for side, front, spread in (
        (0.2, -0.6, 0.15),
        (0.5, -0.5, 0.15),
        (0.6, 0.3, 0.2),
        (0.0, -0.1, 0.2),
        (0.3, 0.7, 0.3),
    ):
        if draw.chance(0.75):
            rows.append(
                [
                    abs(side + draw.normal(0, spread)),
                    front + draw.normal(0, spread),
                    draw.uniform(0.6, 2.0),
                    draw.uniform(-8, 18),
                    draw.log_uniform(3, 14),
                    draw.uniform(0.4, 2.2) if draw.chance(0.8) else draw.uniform(-1.0, 0.0),
                    draw.uniform(-0.2, 0.2),
                ]
            )
    return torch.tensor(rows).reshape(len(rows), 7)


def _draw_vessels(draw: Draw) -> Tensor:
    """Draw carotid and jugular pairs, dark by flow or bright by inflow."""
    rows = []
    for _ in range(draw.integer(0, 4)):
        right, forward = draw.uniform(12, 48), draw.uniform(-10, 42)
        radius = draw.uniform(1.5, 7)
        level = draw.uniform(0, 0.4) if draw.chance(0.4) else draw.uniform(0.8, 4)
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
    """A body seen at M points: everything that does not depend on the sequence.

    In and next to the canal, at the N points ``near``, every detail is known; further out only what lies there. In a
    whole neck that is one point in fifty.

    Attributes
    ----------
    local : Local
        All points, shapes (M,).
    near : tensor of int, shape (N,)
    close : Local
        The near points, shapes (N,).
    grey, tracts, root, root_signal : tensor, shape (N,)
    occupancy : tuple of tensor, shape (N,)
        One for each lesion.
    fine, coarse : tensor, shape (3, M)
        Texture.
    outside : tensor, shape (5, M)
        Shares of `OUTSIDE` at each point; they sum to about 1.
    """

    local: Local
    near: Tensor
    close: Local
    grey: Tensor
    occupancy: tuple[Tensor, ...]
    tracts: Tensor
    root: Tensor
    root_signal: Tensor
    fine: Tensor
    coarse: Tensor
    outside: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """Return values of the near points on all points, shape (M,); 0 elsewhere."""
        return torch.zeros_like(self.local.u).index_copy(0, self.near, values)

    def lesion_map(self, body: Body, sequence: str) -> Tensor:
        """Return how far each point is inside a lesion that a sequence shows, 0..1, shape (M,)."""
        total = torch.zeros_like(self.close.u)
        for lesion, inside in zip(body.lesions, self.occupancy, strict=True):
            if abs(lesion.change.get(sequence, 0.0)) >= LEAST_CHANGE:
                total = torch.maximum(total, inside)
        return self.spread(total)


def look(body: Body, points: Tensor, textures: tuple[Tensor, ...] = (), columns: int = 0) -> Scene:
    """Evaluate a body at points, shape (M, 3) world mm.

    Parameters
    ----------
    textures : tuple of tensor, optional
        The fields ``lesion_shape`` (1, M), ``tracts`` (1, M), ``fine`` (3, M) and ``coarse`` (3, M) at the points, where
        they are known already.
    columns : int
        Where the points form a grid whose last axis runs along z: its length.
    """
    local = body.anatomy.local(points, columns)
    near = torch.nonzero((local.canal_distance < 2.5) | (local.cord_distance < 2.5)).flatten()
    close = Local(*(getattr(local, entry.name)[near] for entry in fields(Local)))
    if textures:
        shape, tracts, fine, coarse = textures
        shape, tracts = shape[:, near], tracts[:, near]
    else:
        shape, tracts = body.lesion_shape(points[near]), body.tracts(points[near])
        fine, coarse = body.fine(points), body.coarse(points)
    root, root_signal = _roots(body, close)
    return Scene(
        local=local,
        near=near,
        close=close,
        grey=grey_matter(close, body.grey_form, fine[:2, near]),
        occupancy=tuple(
            occupancy(lesion, (close.u, close.v, close.z), body.anatomy.half_mm(lesion.z), shape[0])
            * close.cord
            for lesion in body.lesions
        ),
        tracts=tracts[0],
        root=root,
        root_signal=root_signal,
        fine=fine,
        coarse=coarse,
        outside=_outside(body, local, fine, coarse),
    )


def signal(body: Body, scene: Scene, levels: Levels, sequence: str, wide: bool) -> Tensor:
    """Return noise-free signal, shape (M,), white matter = 1.

    ``wide`` draws the whole neck or trunk; without it, only what a 24 mm crop can see.
    """
    around = torch.tensor([getattr(levels, name) for name in OUTSIDE]).to(scene.outside) @ scene.outside
    if wide:
        around = _far(body, scene, levels, around)
    local, fine = scene.close, scene.fine[:, scene.near]
    cord = _cord_signal(body, scene, fine, levels, sequence)
    flow = 1 - body.flow * torch.sigmoid(2 * fine[2] - 0.5) * (0.6 + 0.4 * torch.sigmoid(-local.v))
    csf = levels.csf * flow
    csf = csf * (1 - scene.root) + scene.root * scene.root_signal * csf
    canal = torch.sigmoid(-local.canal_distance / 0.3) * torch.sigmoid((body.anatomy.upper - local.z) / 1.5)
    inside = csf * (1 - local.cord) + cord * local.cord
    mixed = around[scene.near] * (1 - canal) + inside * canal
    return around.index_copy(0, scene.near, mixed).clamp(min=0)


def _cord_signal(body: Body, scene: Scene, fine: Tensor, levels: Levels, sequence: str) -> Tensor:
    """Return the signal of the cord's own tissue at the near points, shape (N,)."""
    local = scene.close
    right, front = torch.sigmoid(local.u / 0.5), torch.sigmoid((local.v + 0.3) / 0.5)
    horns = levels.horns
    factor = front * ((1 - right) * horns[0] + right * horns[1]) + (1 - front) * (
        (1 - right) * horns[2] + right * horns[3]
    )
    factor = (factor * (1 + 0.25 * fine[1])).clamp(0.2, 2.2)
    # The posterior columns differ a little from the rest of the white matter.
    behind = torch.sigmoid((-local.v - 0.2 * local.half_ap) / 0.5) * torch.sigmoid(
        (0.45 * local.half_rl - local.u.abs()) / 0.5
    )
    behind = behind * (1 - local.medulla)
    cord = 1 + levels.columns * behind + (levels.grey - 1) * (scene.grey * factor + _nuclei(body, local))
    # Bundles of fibres differ along the whole cord, and between sequences: lighter in one, darker in another.
    cord = cord + levels.texture * fine[0] + levels.tracts * scene.tracts
    for fissure, toward in zip(body.fissures, (local.v, -local.v), strict=True):
        inside = torch.sigmoid((toward - local.half_ap + fissure.depth_mm) / 0.25) * torch.exp(
            -(local.u**2) / (2 * fissure.width_mm**2)
        )
        cord = cord + fissure.fluid * inside * (levels.csf - cord)
    if body.central_canal:
        spot = torch.exp(-((local.u**2 + (local.v - 0.2) ** 2) / (2 * body.central_canal**2)))
        cord = cord + 0.5 * spot * (levels.csf - cord)
    for lesion, inside in zip(body.lesions, scene.occupancy, strict=True):
        change = lesion.change.get(sequence, 0.0)
        if change:
            cord = cord + inside * (_lesion_level(cord, change) - cord)
    return cord


def _nuclei(body: Body, local: Local) -> Tensor:
    """Return the contrast of the medulla's nuclei and crossing tracts, of that of grey to white matter, shape (N,)."""
    total = torch.zeros_like(local.u)
    above = local.z - body.anatomy.top
    for side, front, radius, height, length, contrast, uneven in body.nuclei.tolist():
        gap = (local.u.abs() - side * local.half_rl) ** 2 + (local.v - front * local.half_ap) ** 2
        along = ((above - height) / length) ** 2
        own = torch.exp(-gap / (2 * radius**2) - along / 2)
        total = total + contrast * (1 + uneven * torch.sign(local.u)) * own
    # They begin a little below the foramen magnum, where the pyramids cross.
    return total * torch.maximum(local.medulla, torch.sigmoid((above + 8) / 3))


def _lesion_level(cord: Tensor, change: float) -> Tensor:
    """Return the signal of lesion tissue: the grey matter shows through only partly, but is brightened or darkened too."""
    level, least = (1 + change) * (0.5 + 0.5 * cord), (1 + 0.5 * change) * cord
    return torch.maximum(level, least) if change > 0 else torch.minimum(level, least)


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


def _outside(body: Body, local: Local, fine: Tensor, coarse: Tensor) -> Tensor:
    """Vertebrae with discs in front, arches behind, ligament around the canal, muscle and fat beyond: shares (5, M)."""
    soft = torch.sigmoid(4 * coarse[0]) * torch.sigmoid(3 * coarse[1] + 0.5)
    none = torch.zeros_like(soft)
    phase = local.level - local.level.floor()
    at_disc = torch.exp(-((torch.minimum(phase, 1 - phase) / 0.11) ** 4))
    body_ap, body_rl = body.vertebra_mm
    front = local.canal_v - local.canal_half_ap - body_ap / 2 - 1.0
    vertebra = torch.sigmoid(
        (1 - torch.sqrt((front / (body_ap / 2)) ** 2 + (local.canal_u / (body_rl / 2)) ** 2)) * 6
    )
    behind = torch.sigmoid((-local.canal_v - local.canal_half_ap * 0.5) / 0.8) * torch.sigmoid(
        (16 - local.canal_distance) / 2
    )
    arch = behind * torch.sigmoid((5 + 0.25 * (-local.canal_v) - local.canal_u.abs()) / 1.0)
    spine = torch.sigmoid((0.28 - (phase - 0.5).abs()) * 25)
    pedicle = torch.sigmoid((local.canal_u.abs() - local.canal_half_ap * 0.9) / 0.8) * torch.sigmoid(
        (9 - local.canal_distance) / 1.5
    )
    foramen = torch.sigmoid((phase - 0.6) * 20) * torch.sigmoid((0.95 - phase) * 20)
    rim = 0.85 * torch.exp(-(((local.canal_distance - 0.9) / 0.7) ** 2))
    shares = torch.stack([none, none, soft, 1 - soft, none])
    bone, disc, fat, muscle, ligament = shares
    # Each layer covers what was laid before it.
    for weight, parts in (
        (vertebra, ((bone, 1 - at_disc), (disc, at_disc))),
        (arch, ((bone, spine), (fat, 1 - spine))),
        (pedicle, ((bone, 1 - foramen), (fat, 0.6 * foramen), (muscle, 0.4 * foramen))),
        (rim, ((ligament, 1.0),)),
    ):
        shares *= 1 - weight
        for row, part in parts:
            row += weight * part
    bone *= 1 + 0.12 * fine[1]
    shares *= 1 + 0.15 * coarse[2]
    return shares


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


def seen_by(body: Body, levels: Levels, sequence: str) -> Callable[[Tensor], Tensor]:
    """Return what a scan of the whole neck or trunk sees at points (M, 3): signal, lesions of any sequence, cord; (3, M)."""

    def see(points: Tensor) -> Tensor:
        scene = look(body, points)
        lesions = torch.zeros_like(scene.close.u)
        for lesion, inside in zip(body.lesions, scene.occupancy, strict=True):
            if any(abs(change) >= LEAST_CHANGE for change in lesion.change.values()):
                lesions = torch.maximum(lesions, inside)
        return torch.stack(
            [signal(body, scene, levels, sequence, wide=True), scene.spread(lesions), scene.local.cord]
        )

    return see
