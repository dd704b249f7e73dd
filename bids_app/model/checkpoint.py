"""Weights on disk: half-precision safetensors beside a JSON model card, never pickle, checked by SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..cards import Card, read_card, unusable
from ..files import checksum
from . import legacy
from .network import MultiSequenceNet, NetworkConfig


@dataclass(frozen=True, eq=False)
class Weights:
    """A network ready for use, on the CPU, float32, in evaluation mode; and its card."""

    network: MultiSequenceNet
    card: Card


def save(path: Path, network: MultiSequenceNet, card: Mapping[str, Any]) -> None:
    """Write weights (half precision) and their card (same name, ``.json``)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.detach().to(torch.float16).contiguous() for name, value in network.state_dict().items()
    }
    save_file(state, path)
    path.chmod(0o644)  # the library writes files that only their owner can read
    full = {"network": asdict(network.config), **card, "sha256": checksum(path)}
    path.with_suffix(".json").write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> Weights:
    """Read weights and their card.

    Raises
    ------
    EnvironmentFault
        A file is missing or unreadable, or the weights are not those that the card describes.
    """
    card = read_card(path)
    try:
        shape: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in card.record["network"].items()
        }
        network = _built(shape)
        network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise unusable(path, error) from error
    network.eval()
    return Weights(network, card)


def _built(shape: dict[str, Any]) -> MultiSequenceNet:
    if "norm" in shape:
        return legacy.MultiSequenceNet(legacy.NetworkConfig(**shape))  # type: ignore[return-value]
    return MultiSequenceNet(NetworkConfig(**shape))
