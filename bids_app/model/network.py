"""The network: one encoder per sequence, mean imputation at the bottleneck and every skip, one decoder."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import SLOPE, DecoderConv, Residual, SequenceConv, Stem, channels_last
from .imputation import MeanImputation, SlotFeatures


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
    sharing : str
        What the encoders share: ``kernels``, so that they differ in their first convolution and in gain and bias of all others;
        or ``nothing``.
    along : int
        Voxels along the cord that the network takes together: 2 where it works at 1 mm on images at 0.5 mm.
    dark : tuple of int
        Slots whose lesions are darker than the cord; see `blocks.Stem`.
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
    sharing: str = "kernels"
    along: int = 1
    dark: tuple[int, ...] = ()
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
        Coverage at each level, shapes (M, 1, X / 2**l, ...), along the cord of `NetworkConfig.along` voxels.
    levels : list of SlotFeatures
        Features at each level, full resolution first.
    """

    batch: Batch
    pyramid: list[Tensor]
    levels: list[SlotFeatures]


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


class Encoders(nn.Module):
    """One residual encoder for each sequence; all rows of a batch go through together."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, slots, shared = config.channels, config.slots, config.sharing == "kernels"
        self.stem = Stem(channels[0], slots, config.dark)
        self.down = nn.ModuleList(
            SequenceConv(a, b, slots, shared, stride=2) for a, b in itertools.pairwise(channels)
        )
        self.blocks = nn.ModuleList(Residual(width, slots, shared) for width in channels[1:])

    def forward(self, images: Tensor, slot: Tensor, coverage: Sequence[Tensor | None]) -> list[Tensor]:
        """Return features per level, full resolution first, shapes (M, C, X / 2**l, ...)."""
        x = F.leaky_relu(self.stem(images, slot, coverage[0]), SLOPE)
        features = [x]
        for level, (down, block) in enumerate(zip(self.down, self.blocks, strict=True), start=1):
            x = block(F.leaky_relu(down(x, slot, coverage[level]), SLOPE), slot, coverage[level])
            features.append(x)
        return features


class Decoder(nn.Module):
    """From fused features back to full resolution."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.channels
        pairs = list(itertools.pairwise(channels))
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, wide, 2, stride=2) for wide, deep in pairs)
        self.conv = nn.ModuleList(DecoderConv(2 * wide, wide) for wide, _ in pairs)
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

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = Encoders(config)
        levels = range(len(config.channels))
        filled = {"every-level": levels, "bottleneck": levels[-1:], "nowhere": levels[:0]}[config.impute]
        self.fusion = nn.ModuleList(
            MeanImputation(config.slots, width, level in filled)
            for level, width in enumerate(config.channels)
        )
        self.decoder = Decoder(config)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, shape (size, outputs, X, Y, Z).

        X, Y and Z must be multiples of 2 ** (levels - 1), Z of `NetworkConfig.along` times that.
        """
        return self.decode(self.fuse(self.encode(batch)), self.config.noise if self.training else 0.0)

    def encode(self, batch: Batch) -> Encoded:
        """Run the encoders: what `fuse` and `decode` can turn into logits for any part of the sequences."""
        images, coverage = shortened(batch, self.config.along)
        pyramid = _pyramid(coverage, len(self.config.channels))
        whole = bool((coverage == 1).all())
        masks = [None if whole else (mask > 0).to(images.dtype) for mask in pyramid]
        slot, owner = (torch.tensor(rows, device=images.device) for rows in (batch.slot, batch.owner))
        features = self.encoders(channels_last(images), slot, masks)
        shares = pyramid
        if self.config.availability == "volume":
            shares = [torch.ones_like(mask) for mask in pyramid]
        return Encoded(
            batch,
            pyramid,
            [SlotFeatures(slot, owner, own, share) for own, share in zip(features, shares, strict=True)],
        )

    def fuse(self, encoded: Encoded, without: Collection[int] = ()) -> Fused:
        """Fuse the features of all sequences, as if the slots ``without`` had not been there; at least one must be left."""
        batch = encoded.batch
        rows = [row for row, slot in enumerate(batch.slot) if slot not in without]
        levels = (
            encoded.levels if len(rows) == len(batch.slot) else [one.only(rows) for one in encoded.levels]
        )
        features = [fusion(own, batch.size) for fusion, own in zip(self.fusion, levels, strict=True)]
        return Fused(features, _seen(batch, encoded.pyramid, rows))

    def decode(self, fused: Fused, noise: float = 0.0) -> Tensor:
        """Return logits, shape (size, outputs, X, Y, Z); ``noise`` is the standard deviation of what the bottleneck gets."""
        features = list(fused.features)
        if noise:
            features[-1] = features[-1] + noise * torch.randn_like(features[-1])
        logits: Tensor = self.decoder(features, fused.seen)
        if self.config.along == 1:
            return logits
        scale = (1.0, 1.0, float(self.config.along))
        return F.interpolate(logits.contiguous(), scale_factor=scale, mode="trilinear", align_corners=False)


def shortened(batch: Batch, along: int) -> tuple[Tensor, Tensor]:
    """Return images and coverage with ``along`` neighbours along the cord taken together, where there are data.

    A position counts as covered where any of its voxels is.
    """
    if along == 1:
        return batch.images, batch.coverage
    steps = (1, 1, along)
    share = F.avg_pool3d(batch.coverage, steps)
    mean = F.avg_pool3d(batch.images * batch.coverage, steps) / share.clamp(min=1 / along)
    return mean, (share > 0).to(batch.coverage.dtype)


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
        result.append((seen > 0).to(seen.dtype))
    return result


def _pyramid(coverage: Tensor, levels: int) -> list[Tensor]:
    """Return coverage pooled to each level, shapes (M, 1, X / 2**l, ...)."""
    result = [coverage]
    for _ in range(levels - 1):
        result.append(F.avg_pool3d(result[-1], 2))
    return result
