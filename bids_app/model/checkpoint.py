"""Weights on disk: half-precision safetensors beside a JSON model card, never pickle, checked by SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import EnvironmentFault
from .network import MultiSequenceNet, NetworkConfig

#: Where the weights that ship lie.
SHIPPED = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True, eq=False)
class Weights:
    """A network ready for use.

    Attributes
    ----------
    network : MultiSequenceNet
        On the CPU, float32, in evaluation mode.
    card : mapping
        The model card.
    sha256 : str
        Of the safetensors file.
    name : str
        File name.
    """

    network: MultiSequenceNet
    card: Mapping[str, Any]
    sha256: str
    name: str


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
    card_path = path.with_suffix(".json")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        digest = checksum(path)
        shape: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in card["network"].items()
        }
        config = NetworkConfig(**shape)
        if digest != card["sha256"]:
            raise EnvironmentFault(
                f"The weights {path.name} are not those that {card_path.name} describes: their SHA-256 differs."
            )
        network = MultiSequenceNet(config)
        network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EnvironmentFault(
            f"The weights {path.name} cannot be used ({reason}).",
            "A .safetensors file with its .json card beside it is needed.",
        ) from error
    network.eval()
    return Weights(network, card, digest, path.name)
