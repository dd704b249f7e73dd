"""A simulated spinal cord and what surrounds it, as smooth functions of position.

World coordinates are RAS+ mm. The cord runs along z; its centre is a curve (x(z), y(z)) and all sizes are
profiles along z, so that the anatomy can be evaluated at any point: on a scan's own voxels, or in the common
space.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .draw import Draw, smooth_profile

TABLES = Path(__file__).parent / "tables"
#: Levels in the tables: C1 to L1.
LEVELS = 20
#: Length of the medulla.
MEDULLA_MM = (24.0, 34.0)
#: Order of the rows of `Anatomy.profiles`.
PROFILES = (
    "x",
    "y",
    "turn",
    "ap",
    "rl",
    "canal_x",
    "canal_y",
    "canal_ap",
    "canal_rl",
    "level",
    "wobble",
    "bulge",
    "medulla",
)


@cache
def _diameters() -> dict[str, np.ndarray]:
    """Return arrays over levels 1..20: cord and canal means and spreads (mm), and level lengths (mm)."""
    with (TABLES / "diameters.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    result: dict[str, np.ndarray] = {}
    levels = np.arange(1, LEVELS + 1)
    for structure in ("cord", "canal"):
        own = [row for row in rows if row["structure"] == structure]
        known = [int(row["level"]) for row in own]
        for name in ("ap_mean", "ap_sd", "rl_mean", "rl_sd"):
            # np.interp holds the last value: the canal below T5 is extrapolated as constant.
            result[f"{structure}_{name}"] = np.interp(levels, known, [float(row[name]) for row in own])
        if structure == "cord":
            result["length"] = np.interp(levels, known, [float(row["pam50_length_mm"]) for row in own])
    return result


@cache
def _grey_table() -> Tensor:
    """Grey-matter probability, shape (1, 1, 14, 40, 40) float32: height C1 to C7, right-left, front-back."""
    table = torch.from_numpy(np.load(TABLES / "grey_matter.npy").astype(np.float32) / 255)
    return table[None, None]


@dataclass(frozen=True, eq=False)
class Local:
    """Points seen from the cord. Every field has shape (M,); distances in mm.

    ``u`` runs to the right and ``v`` to the front, from the cord's centre, in the cord's own turn.
    ``cord_distance`` and ``canal_distance`` are negative inside. ``cord`` is 1 inside and 0 outside with a
    soft edge; it includes the medulla, where ``medulla`` is 1.
    """

    u: Tensor
    v: Tensor
    z: Tensor
    half_rl: Tensor
    half_ap: Tensor
    cord_distance: Tensor
    canal_distance: Tensor
    canal_u: Tensor
    canal_v: Tensor
    canal_half_ap: Tensor
    level: Tensor
    medulla: Tensor
    cord: Tensor


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One participant's cord.

    Attributes
    ----------
    z0 : float
        World z of the first profile sample; samples are 1 mm apart, upwards.
    profiles : tensor, shape (13, Nz)
        Rows as in `PROFILES`.
    top, bottom : float
        World z where the medulla becomes the cord (foramen magnum) and where the cord ends (conus).
    upper : float
        World z where the medulla becomes the pons.
    """

    z0: float
    profiles: Tensor
    top: float
    bottom: float
    upper: float

    def profile(self, name: str, z: Tensor) -> Tensor:
        """Return one profile at world z, any shape."""
        return self._lookup(z.reshape(-1))[PROFILES.index(name)].reshape(z.shape)

    def level_at(self, z: float) -> float:
        """Return the vertebral level at a height: 1 at the top of C1, 8 at that of T1."""
        return float(self.profile("level", torch.tensor([z])))

    def half_mm(self, z: float) -> tuple[float, float]:
        """Return half the cord's width and depth at a height, mm."""
        at = torch.tensor([z])
        return float(self.profile("rl", at)) / 2, float(self.profile("ap", at)) / 2

    def centre(self, z: Tensor) -> Tensor:
        """Return the cord's centre (x, y) at world z, shape (N, 2)."""
        rows = self._lookup(z)
        return torch.stack([rows[0], rows[1]], dim=1)

    def _lookup(self, z: Tensor) -> Tensor:
        """Interpolate all profiles, shape (13, M)."""
        table = self.profiles.to(z)
        position = (z - self.z0).clamp(0, table.shape[1] - 1.001)
        low = position.floor()
        weight = position - low
        index = low.long()
        return table[:, index] * (1 - weight) + table[:, index + 1] * weight

    def local(self, points: Tensor, columns: int = 0) -> Local:
        """See points, shape (M, 3) world mm, from the cord.

        ``columns``: where the points form a grid whose last axis runs along z, its length; saves most of the looking up.
        """
        rows = self._lookup(points[: columns or None, 2])
        if columns:
            rows = rows[:, None].expand(-1, len(points) // columns, -1).reshape(len(rows), -1)
        row = dict(zip(PROFILES, rows, strict=True))
        du, dv = points[:, 0] - row["x"], points[:, 1] - row["y"]
        cos, sin = torch.cos(row["turn"]), torch.sin(row["turn"])
        u, v = cos * du + sin * dv, cos * dv - sin * du
        radius = torch.sqrt(u * u + v * v) + 1e-4
        rho = torch.sqrt((u / (row["rl"] / 2)) ** 2 + (v / (row["ap"] / 2)) ** 2) + 1e-4
        angle = torch.atan2(v, u)
        wobble = (
            1 + 0.04 * torch.cos(3 * angle + 2 * row["wobble"]) + 0.03 * torch.cos(2 * angle - row["wobble"])
        )
        cord_distance = radius - radius / rho * wobble
        canal_u, canal_v = points[:, 0] - row["canal_x"], points[:, 1] - row["canal_y"]
        canal_radius = torch.sqrt(canal_u**2 + canal_v**2) + 1e-4
        canal_rho = (
            torch.sqrt((canal_u / (row["canal_rl"] / 2)) ** 2 + (canal_v / (row["canal_ap"] / 2)) ** 2) + 1e-4
        )
        # A disc or a ligament pushes the front wall of the canal in.
        front = (canal_v / canal_radius).clamp(min=0) ** 2
        canal_distance = canal_radius - canal_radius / canal_rho + row["bulge"] * front
        ends = torch.sigmoid((self.upper - points[:, 2]) / 0.7) * torch.sigmoid(
            (points[:, 2] - self.bottom) / 0.7
        )
        return Local(
            u=u,
            v=v,
            z=points[:, 2],
            half_rl=row["rl"] / 2,
            half_ap=row["ap"] / 2,
            cord_distance=cord_distance,
            canal_distance=canal_distance,
            canal_u=canal_u,
            canal_v=canal_v,
            canal_half_ap=row["canal_ap"] / 2,
            level=row["level"],
            medulla=row["medulla"],
            cord=torch.sigmoid(-cord_distance / 0.18) * ends,
        )


@dataclass(frozen=True)
class GreyForm:
    """How the grey matter of one person differs from the template.

    Attributes
    ----------
    wide, deep : float
        Size from side to side and from back to front, over the template's.
    forward_mm : float
    power : float
        Exponent of the probability: below 1 thick horns, above 1 thin ones.
    wavy_mm : float
        Size of local displacements.
    """

    wide: float
    deep: float
    forward_mm: float
    power: float
    wavy_mm: float


def draw_grey_form(draw: Draw) -> GreyForm:
    """Draw a form; the ranges are those that make manual grey-matter masks of several people likely (13 to 21 % of the cord)."""
    return GreyForm(
        wide=draw.uniform(0.88, 1.18),
        deep=draw.uniform(0.88, 1.15),
        forward_mm=draw.normal(0, 0.3),
        power=draw.log_uniform(0.5, 1.6),
        wavy_mm=draw.uniform(0, 0.35),
    )


#: The template as it is.
PLAIN = GreyForm(1.0, 1.0, 0.0, 1.0, 0.0)


def grey_matter(local: Local, form: GreyForm = PLAIN, waves: Tensor | None = None) -> Tensor:
    """Return grey-matter probability, shape (M,).

    Above T1 from the template; the thoracic horns are thin and the lumbar ones thick (extrapolated). In the medulla the horns
    dissolve. ``waves`` (2, M) displaces it locally.
    """
    level = local.level
    thin = 1 - 0.35 * torch.sigmoid((level - 9) * 2) * torch.sigmoid((16 - level) * 2)
    thick = 1 + 0.35 * torch.sigmoid((level - 17) * 2)
    width = thin * thick
    height = (level - 1) / 6.5 * 2 - 1
    u, v = local.u, local.v - form.forward_mm
    if waves is not None:
        u, v = u + form.wavy_mm * waves[0], v + form.wavy_mm * waves[1]
    unit = torch.stack(
        [
            (v / local.half_ap) / torch.sqrt(width) / form.deep,
            (u / local.half_rl) / width / form.wide,
            height.clamp(-1, 1),
        ],
        dim=-1,
    )
    table = _grey_table().to(unit)
    found = F.grid_sample(table, unit[None, None, None], align_corners=True)[0, 0, 0, 0]
    return found.clamp(min=0) ** form.power * (1 - local.medulla)


def draw_anatomy(
    draw: Draw, z_low: float, z_high: float, level_at_middle: float, centred: bool = True
) -> Anatomy:
    """Draw a cord that spans at least the given z range.

    Parameters
    ----------
    z_low, z_high : float
        World mm.
    level_at_middle : float
        Vertebral level (1 = C1, 8 = T1, 20 = L1) at the middle of the range.
    centred : bool
        Put the cord at x = y = 0 in the middle of the range.
    """
    z0 = z_low - 20.0
    count = int(z_high - z_low) + 41
    z = z0 + torch.arange(count, dtype=torch.float32)
    middle = (z_low + z_high) / 2
    table = _diameters()
    stretch = draw.uniform(0.8, 1.15)
    # World z of the top of each level, from the level in the middle outwards.
    tops = np.concatenate([[0.0], -np.cumsum(table["length"] * stretch)])
    offset = np.interp(level_at_middle, np.arange(1, LEVELS + 2), tops)
    level = np.interp(z.numpy() - middle, (tops - offset)[::-1], np.arange(1, LEVELS + 2)[::-1])
    top, bottom = middle - offset + draw.uniform(-3, 4), middle + tops[-1] - offset - draw.uniform(-5, 15)
    rows = _sizes(draw, torch.from_numpy(level).float(), count)
    _widen_above(draw.fork(), rows, z - top)
    rows |= _course(draw, z, middle, rows, centred)
    rows["level"] = torch.from_numpy(level).float()
    profiles = torch.stack([rows[name] for name in PROFILES])
    upper = top + draw.uniform(*MEDULLA_MM)
    return Anatomy(z0, profiles, float(top), float(bottom), float(upper))


def _sizes(draw: Draw, level: Tensor, count: int) -> dict[str, Tensor]:
    """Draw diameters (mm) along the cord: the tables' mean and spread between people, widened, plus local change."""
    table = _diameters()

    def by_level(name: str) -> Tensor:
        values = np.interp(level.numpy(), np.arange(1, LEVELS + 1) + 0.5, table[name])
        return torch.from_numpy(values).float()

    local = smooth_profile(draw, 6, count, 15.0)
    atrophy = draw.uniform(0.75, 1.0) if draw.chance(0.3) else 1.0
    rows = {
        "ap": atrophy
        * (by_level("cord_ap_mean") + 1.6 * draw.normal() * by_level("cord_ap_sd") + 0.2 * local[0]),
        "rl": atrophy
        * (by_level("cord_rl_mean") + 1.6 * draw.normal() * by_level("cord_rl_sd") + 0.25 * local[1]),
        "canal_ap": by_level("canal_ap_mean")
        + 1.5 * draw.normal() * by_level("canal_ap_sd")
        + 0.4 * local[2],
        "canal_rl": by_level("canal_rl_mean")
        + 1.5 * draw.normal() * by_level("canal_rl_sd")
        + 0.5 * local[3],
        "wobble": 1.5 * local[4],
    }
    rows["ap"], rows["rl"] = rows["ap"].clamp(4, 11), rows["rl"].clamp(4.5, 17)
    phase = level - level.floor()
    at_disc = torch.exp(-((torch.minimum(phase, 1 - phase) / 0.12) ** 2))
    rows["bulge"] = (
        at_disc * (draw.uniform(0, 1.5) + 0.7 * local[5]).clamp(min=0) * (2.0 if draw.chance(0.15) else 0.8)
    )
    # Below the foramen magnum the canal is wide.
    wider = 1 + draw.uniform(0, 0.8) * torch.sigmoid((1.9 - level) * 3)
    rows["canal_ap"], rows["canal_rl"] = rows["canal_ap"] * wider, rows["canal_rl"] * wider
    # CSF may be as thin as a film but not absent on all sides: stenosis comes from bulges.
    rows["canal_ap"] = torch.maximum(rows["canal_ap"] * draw.uniform(0.85, 1.1), rows["ap"] + 1.0)
    rows["canal_rl"] = torch.maximum(rows["canal_rl"] * draw.uniform(0.85, 1.1), rows["rl"] + 1.6)
    return rows


def _widen_above(draw: Draw, rows: dict[str, Tensor], above: Tensor) -> None:
    """Turn the cord into the medulla above the foramen magnum, and the canal into the cisterns around it.

    The medulla is some 30 mm long and at its upper end about twice as wide as the cord and half as deep again. The cistern behind
    it (cisterna magna) may be as deep as the medulla itself.

    Parameters
    ----------
    rows : dict of tensor
        Diameters, mm; changed in place, and ``medulla`` and ``cistern`` (depth added behind, mm) added.
    above : tensor, shape (N,)
        Height above the foramen magnum, mm.
    """
    begins = draw.uniform(-6, 3)
    rows["medulla"] = torch.sigmoid((above - begins) / 2.5)
    grown = ((above - begins) / draw.uniform(18, 34)).clamp(0, 1.2)
    rows["rl"] = rows["rl"] * (1 + draw.uniform(0.15, 0.6) * grown)
    rows["ap"] = rows["ap"] * (1 + draw.uniform(0.2, 0.6) * grown)
    wide = torch.sigmoid((above + draw.uniform(-2, 8)) / draw.uniform(2, 5))
    rows["cistern"] = wide * draw.uniform(0, 14)
    rows["canal_ap"] = torch.maximum(rows["canal_ap"], rows["ap"] + 1.5) + rows["cistern"]
    rows["canal_rl"] = torch.maximum(rows["canal_rl"], rows["rl"] + 2.0) + 0.8 * rows["cistern"]


def _course(
    draw: Draw, z: Tensor, middle: float, rows: dict[str, Tensor], centred: bool
) -> dict[str, Tensor]:
    """Draw the cord's and the canal's centre (world mm) and the cord's turn (radians).

    ``rows`` holds diameters square to the cord; they are changed to those of an axial cut.
    """
    along = z - middle
    wave = draw.uniform(35, 60)
    slope = draw.normal(0, 0.2) + draw.normal(0, 0.005) * along
    slope = slope + draw.uniform(0, 4) / wave * torch.cos(along / wave + draw.uniform(0, 6))
    # Cervical lordosis and thoracic kyphosis lean the cord by up to 45 degrees; its cross-section leans with it.
    slope = slope.clamp(-1, 1)
    for name in ("ap", "canal_ap"):
        rows[name] = rows[name] * torch.sqrt(1 + slope**2)
    y = torch.cumsum(slope, dim=0)
    x = draw.normal(0, 0.03) * along + draw.uniform(0, 2.5) * torch.sin(
        along / draw.uniform(40, 90) + draw.uniform(0, 6)
    )
    smooth = smooth_profile(draw, 4, len(z), 20.0)
    x, y = x + 0.3 * smooth[0], y + 0.3 * smooth[1]
    if centred:
        at = round(middle - float(z[0]))
        x, y = x - x[at], y - y[at]
    slack_v = ((rows["canal_ap"] - rows["cistern"] - rows["ap"]) / 2 - 0.4).clamp(min=0)
    slack_u = ((rows["canal_rl"] - rows["rl"]) / 2 - 0.6).clamp(min=0)
    shift_v = (draw.uniform(-0.8, 0.9) + 0.3 * smooth[2]).clamp(-1, 1)
    shift_u = (draw.normal(0, 0.15) + 0.1 * smooth[3]).clamp(-0.6, 0.6)
    turn = draw.normal(0, 0.07) + 0.03 * smooth[0]
    return {
        "x": x,
        "y": y,
        "turn": turn,
        "canal_x": x - shift_u * slack_u,
        "canal_y": y - shift_v * slack_v - 0.4 * rows["cistern"],
    }
