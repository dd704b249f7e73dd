"""The network: one encoder per sequence, mean imputation at the bottleneck and every skip, one decoder."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .legacy_blocks import ConvUnit, Residual
from .legacy_imputation import MeanImputation, SlotFeatures


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network; stored in the model card.

    Attributes
    ----------
    slots : int
        Encoders, one per sequence of the table.
    channels : tuple of int
        Features per level, full resolution first; each level halves the resolution.
    outputs : tuple of str
        What the channels of the result mean.
    norm : str
        ``instance`` or ``weight``, see `blocks`.
    stem : int
        Convolutions at full resolution in each encoder.
    impute : str
        Where missing features are filled with the mean: at ``every-level``, at the ``bottleneck`` alone, or ``nowhere``;
        elsewhere with 0.
    availability : str
        By ``position``, or by ``volume``: a sequence that covers a part then counts as available everywhere.
    noise : float
        Standard deviation of the noise that training adds to the features at the bottleneck.
    intensity : str
        How images come in: ``cord``, relative to the median of the cord, or ``zscore``.
    """

    slots: int
    channels: tuple[int, ...]
    outputs: tuple[str, ...]
    norm: str = "instance"
    stem: int = 2
    impute: str = "every-level"
    availability: str = "position"
    noise: float = 0.0
    intensity: str = "cord"


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of a batch, one row per available sequence; absent sequences have no row.

    Attributes
    ----------
    images : tensor, shape (M, 1, X, Y, Z)
    coverage : tensor, shape (M, 1, X, Y, Z)
        1 where the sequence has data.
    slot : tuple of int, length M
        Encoder of each row.
    owner : tuple of int, length M
        Sample of each row.
    size : int
        Number of samples.
    """

    images: Tensor
    coverage: Tensor
    slot: tuple[int, ...]
    owner: tuple[int, ...]
    size: int


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoders make of a batch.

    Attributes
    ----------
    batch : Batch
    pyramid : list of tensor
        Coverage at each level, shapes (M, 1, X / 2**l, ...).
    levels : list of list of SlotFeatures
        Features at each level, full resolution first.
    """

    batch: Batch
    pyramid: list[Tensor]
    levels: list[list[SlotFeatures]]


@dataclass(frozen=True, eq=False)
class Fused:
    """What the decoder sees.

    Attributes
    ----------
    features : list of tensor
        At each level, full resolution first, shapes (size, C, X / 2**l, ...).
    seen : list of tensor or None
        Where any sequence has data, shapes (size, 1, X / 2**l, ...); None where all is covered.
    """

    features: list[Tensor]
    seen: list[Tensor | None]


class Encoder(nn.Module):
    """Residual encoder of one sequence."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, norm = config.channels, config.norm
        self.stem = nn.ModuleList(
            ConvUnit(norm, channels[0] if number else 1, channels[0]) for number in range(config.stem)
        )
        self.down = nn.ModuleList(ConvUnit(norm, a, b, stride=2) for a, b in itertools.pairwise(channels))
        self.blocks = nn.ModuleList(Residual(norm, width) for width in channels[1:])

    def forward(self, image: Tensor, coverage: Sequence[Tensor | None]) -> list[Tensor]:
        """Return features per level, full resolution first."""
        x = image
        for conv in self.stem:
            x = conv(x, coverage[0])
        features = [x]
        for level, (down, block) in enumerate(zip(self.down, self.blocks, strict=True), start=1):
            x = block(down(x, coverage[level]), coverage[level])
            features.append(x)
        return features


class Decoder(nn.Module):
    """From fused features back to full resolution."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.channels
        pairs = list(itertools.pairwise(channels))
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, wide, 2, stride=2) for wide, deep in pairs)
        self.conv = nn.ModuleList(ConvUnit(config.norm, 2 * wide, wide) for wide, _ in pairs)
        self.head = nn.Conv3d(channels[0], len(config.outputs), 1)

    def forward(self, fused: Sequence[Tensor], coverage: Sequence[Tensor | None]) -> Tensor:
        """Return logits, shape (B, outputs, X, Y, Z)."""
        x = fused[-1]
        for level in reversed(range(len(self.up))):
            x = torch.cat([self.up[level](x), fused[level]], dim=1)
            x = self.conv[level](x, coverage[level])
        return torch.as_tensor(self.head(x))


class MultiSequenceNet(nn.Module):
    """Segment from whichever sequences are there.

    Encoders of absent sequences are never run, and nothing depends on what an absent slot might hold: it has
    no row in the batch.
    """

    def __init__(self, config: NetworkConfig, tied: bool = False) -> None:
        """Build the network; ``tied`` lets all slots share one encoder (see `untie`)."""
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleList(Encoder(config) for _ in range(1 if tied else config.slots))
        levels = range(len(config.channels))
        filled = {"every-level": levels, "bottleneck": levels[-1:], "nowhere": levels[:0]}[config.impute]
        self.fusion = nn.ModuleList(
            MeanImputation(config.slots, width, level in filled)
            for level, width in enumerate(config.channels)
        )
        self.decoder = Decoder(config)

    @property
    def tied(self) -> bool:
        """Whether all slots share one encoder."""
        return len(self.encoders) < self.config.slots

    def untie(self) -> None:
        """Give every slot its own encoder, each a copy of the shared one."""
        if self.tied:
            self.encoders = nn.ModuleList(copy.deepcopy(self.encoders[0]) for _ in range(self.config.slots))

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, shape (size, outputs, X, Y, Z).

        X, Y and Z must be multiples of 2 ** (levels - 1).
        """
        fused = self.fuse(self.encode(batch))
        return self.decode(fused, self.config.noise if self.training else 0.0)

    def encode(self, batch: Batch) -> Encoded:
        """Run the encoders: what `fuse` and `decode` can turn into logits for any part of the sequences."""
        pyramid = _pyramid(batch.coverage, len(self.config.channels))
        return Encoded(batch, pyramid, self._encode(batch, pyramid))

    def fuse(self, encoded: Encoded, without: Collection[int] = ()) -> Fused:
        """Fuse the features of all sequences, as if the slots ``without`` had not been there; at least one must be left."""
        batch = encoded.batch
        kept = [[item for item in items if item.slot not in without] for items in encoded.levels]
        features = [fusion(items, batch.size) for fusion, items in zip(self.fusion, kept, strict=True)]
        rows = [row for row, slot in enumerate(batch.slot) if slot not in without]
        return Fused(features, _seen(batch, encoded.pyramid, rows))

    def decode(self, fused: Fused, noise: float = 0.0) -> Tensor:
        """Return logits, shape (size, outputs, X, Y, Z); ``noise`` is the standard deviation of what the bottleneck gets."""
        features = list(fused.features)
        if noise:
            features[-1] = features[-1] + noise * torch.randn_like(features[-1])
        return torch.as_tensor(self.decoder(features, fused.seen))

    def _encode(self, batch: Batch, pyramid: list[Tensor]) -> list[list[SlotFeatures]]:
        levels: list[list[SlotFeatures]] = [[] for _ in self.config.channels]
        owner = torch.tensor(batch.owner, device=batch.images.device)
        for rows, whole in self._groups(batch):
            encoder = self.encoders[0 if self.tied else batch.slot[rows[0]]]
            masks: list[Tensor | None] = [None if whole else mask[rows] for mask in pyramid]
            features = encoder(batch.images[rows], masks)
            for s in sorted({batch.slot[row] for row in rows}):
                own = [n for n, row in enumerate(rows) if batch.slot[row] == s]
                picked = [rows[n] for n in own]
                for level, values in enumerate(features):
                    share = pyramid[level][picked]
                    if self.config.availability == "volume":
                        share = torch.ones_like(share)
                    levels[level].append(SlotFeatures(s, owner[picked], values[own], share))
        return levels

    def _groups(self, batch: Batch) -> list[tuple[list[int], bool]]:
        """Return rows that share an encoder and are all wholly covered (True) or not (False): the former are cheaper."""
        groups: dict[tuple[int, bool], list[int]] = {}
        for row, (slot, coverage) in enumerate(zip(batch.slot, batch.coverage, strict=True)):
            key = (0 if self.tied else slot, bool((coverage == 1).all()))
            groups.setdefault(key, []).append(row)
        return [(groups[key], key[1]) for key in sorted(groups)]


def _seen(batch: Batch, pyramid: Sequence[Tensor], rows: Sequence[int]) -> list[Tensor | None]:
    """Return per level where any of some rows has data, shape (size, 1, X, Y, Z); None where all is covered."""
    result: list[Tensor | None] = []
    for mask in pyramid:
        seen = mask.new_zeros((batch.size, *mask.shape[1:]))
        for row in rows:
            owner = batch.owner[row]
            seen[owner] = torch.maximum(seen[owner], mask[row])
        if bool((seen == 1).all()):
            return [None for _ in pyramid]
        result.append(seen)
    return result


def _pyramid(coverage: Tensor, levels: int) -> list[Tensor]:
    """Return coverage pooled to each level, shapes (M, 1, X / 2**l, ...)."""
    result = [coverage]
    for _ in range(levels - 1):
        result.append(F.avg_pool3d(result[-1], 2))
    return result
