"""From a unit in the common space to its lesions: the network, the threshold, the instances."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from . import quarters, space, support, vertebrae
from .cards import SHIPPED
from .cutting import Crop, cut_windows, read_crop
from .errors import EnvironmentFault, UnitError
from .files import writing
from .model import checkpoint
from .model.predict import Predictor, Variant
from .operating import Operating
from .records import Lesion, Prepared, Segmented
from .sequences import SLOTS
from .space import CONNECTED, FloatArray

log = logging.getLogger(__name__)


def choose_device(wanted: str) -> torch.device:
    """Return the device: ``auto`` takes a GPU where there is one.

    Raises
    ------
    EnvironmentFault
        A GPU was asked for and cannot be had.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise EnvironmentFault(
            f"--device {wanted} was asked for, but this machine offers no CUDA device to torch {torch.__version__}.",
            "Use --device auto or cpu, or start the container with --gpus all (--nv under Apptainer).",
        )
    device = torch.device("cuda" if wanted == "auto" else wanted)
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise EnvironmentFault(
            f"--device {wanted} was asked for, but there are only {torch.cuda.device_count()} CUDA devices."
        )
    return device


class Segmenter:
    """Holds the lesion model; loaded once per run.

    Parameters
    ----------
    device : torch.device
    weights : Path or None
        None takes the weights that ship.
    threshold : float or None
        Lowest probability of a lesion voxel; None takes the model card's.
    """

    def __init__(
        self, device: torch.device, weights: Path | None = None, threshold: float | None = None
    ) -> None:
        self.device = device
        self.weights = checkpoint.load(weights or SHIPPED / "lesion.safetensors")
        config = self.weights.network.config
        #: The sequences that the weights know: the first of the table, all of it or what it was when they learned.
        self.sequences = SLOTS[: config.slots]
        if config.outputs[0] != "lesion" or config.slots > len(SLOTS):
            raise EnvironmentFault(
                f"The weights {self.weights.card.name} are not a lesion model for the sequences {', '.join(SLOTS)}."
            )
        self.predictor = Predictor(self.weights.network, device)
        self.operating = self.weights.card.operating(threshold)
        #: What `look_ahead` has found, by the path of the crop.
        self.ahead: dict[Path, NDArray[np.float32]] = {}

    @property
    def takes_many(self) -> bool:
        """Whether several units at once are quicker than one after the other: on a GPU, which one unit does not fill."""
        return self.predictor.device.type == "cuda"

    def look_ahead(self, units: Sequence[Prepared]) -> None:
        """Run the network over several units together; `segment` then only has to cut their maps into lesions.

        A unit that cannot be read is left to fail in its own turn, and so are all where memory is short.
        """
        crops: dict[Path, Crop] = {}
        for unit in units:
            if unit.crop not in self.ahead:
                with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):
                    crops[unit.crop] = read_crop(unit)
        with suppress(UnitError):
            self.ahead |= zip(crops, self.probabilities(list(crops.values())), strict=True)

    def segment(self, prepared: Prepared, folder: Path, first_index: int = 1) -> Segmented:
        """Find the lesions of a unit.

        Parameters
        ----------
        prepared : Prepared
        folder : Path
            Where ``lesions.npz`` goes.
        first_index : int
            Number of the first lesion.
        """
        began = time.perf_counter()
        crop = read_crop(prepared)
        probability, instances, lesions = self.find(crop, first_index, self.ahead.pop(prepared.crop, None))
        lesions = self.supported(crop, instances, lesions)
        unread = self._unread(prepared)
        maps = folder / "lesions.npz"
        part = folder / "lesions.part.npz"
        with writing(maps):
            folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(part, probability=probability, instances=instances)
            part.replace(maps)
        return Segmented(
            prepared=replace(prepared, doubts={**prepared.doubts, **unread}) if unread else prepared,
            maps=maps,
            lesions=lesions,
            operating=self.operating,
            weights=self.weights.card.describe(),
            cord_mm=length_mm(crop.cord >= 0.5),
            image_mm=length_mm(crop.coverage[0]),
            seconds={**prepared.seconds, "segment": time.perf_counter() - began},
        )

    def find(
        self, crop: Crop, first_index: int = 1, probability: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], tuple[Lesion, ...]]:
        """Return probability within the cord's zone and lesion numbers, both (48, 48, N), and the lesions.

        Give the ``probability`` of the crop where it is known already.
        """
        if probability is None:
            probability = self.probability(crop)
        crop = self._known(crop)
        probability = probability * cord_zone(crop.cord)
        return probability, *find_lesions(probability, crop, self.operating, first_index)

    def probability(self, crop: Crop) -> NDArray[np.float32]:
        """Return lesion probability, shape (48, 48, N); 0 where no sequence has data.

        Windows without any cord are not looked at; a sequence takes part in the windows where it shows some of the cord.
        Its signal is taken relative to the cord of the window, as in training.
        """
        return self.probabilities([crop])[0]

    def probabilities(self, crops: Sequence[Crop]) -> list[NDArray[np.float32]]:
        """Return the `probability` of several crops, whose windows a GPU takes together."""
        crops = [self._known(crop) for crop in crops]
        cuts = [cut_windows(crop, self.weights.network.config.intensity) for crop in crops]
        samples = [sample for cut in cuts for sample in cut.samples if sample is not None]
        found = iter(self.predictor(samples))
        return [
            cut.blend([None if sample is None else next(found) for sample in cut.samples])
            * crop.coverage.any(axis=0)
            for cut, crop in zip(cuts, crops, strict=True)
        ]

    def _known(self, crop: Crop) -> Crop:
        """Return a crop without the sequences that the weights do not know.

        Raises
        ------
        UnitError
            None is left.
        """
        rows = [row for row, name in enumerate(crop.sequences) if name in self.sequences]
        if len(rows) == len(crop.sequences):
            return crop
        if not rows:
            raise UnitError(
                f"The weights know no {' and no '.join(crop.sequences)}.",
                f"They know {', '.join(self.sequences)}: choose others with --weights.",
            )
        return replace(
            crop,
            images=crop.images[rows],
            coverage=crop.coverage[rows],
            sequences=tuple(crop.sequences[row] for row in rows),
        )

    def _unread(self, prepared: Prepared) -> dict[Path, str]:
        """Return why the network did not read some of a unit's images, though they went into its crop."""
        found = {}
        for image in prepared.unit.inputs:
            if image.path in prepared.alignments and image.sequence not in self.sequences:
                found[image.path] = f"The weights know no {image.sequence}: the network did not read it"
                log.warning("%s: %s.", image.path.name, found[image.path])
        return found

    def supported(
        self, crop: Crop, instances: NDArray[np.int32], lesions: Sequence[Lesion]
    ) -> tuple[Lesion, ...]:
        """Return lesions with the sequences that they rest on, their steadiness and their calibrated probability.

        Only windows with a lesion are looked at again; their encoders run once, whatever is left out.
        """
        if not lesions:
            return ()
        crop = self._known(crop)
        variants = support.variants_of(crop.sequences)
        values = self._means(crop, instances, lesions, variants)
        calibration = self.weights.card.calibration
        return tuple(support.told(lesion, values[lesion.index], calibration) for lesion in lesions)

    def spread(
        self, crop: Crop, instances: NDArray[np.int32], lesions: Sequence[Lesion], noise: float
    ) -> dict[int, float]:
        """Return the standard deviation of the mean probability of each lesion under noise at the bottleneck.

        ``noise`` is a share of the standard deviation of the features there.
        """
        values = self._means(crop, instances, lesions, support.noisy(noise))
        return {number: float(np.std(list(own.values()))) for number, own in values.items()}

    def _means(
        self,
        crop: Crop,
        instances: NDArray[np.int32],
        lesions: Sequence[Lesion],
        variants: Mapping[str, Variant],
    ) -> dict[int, dict[str, float]]:
        """Return the mean probability inside each lesion by variant."""
        cut = cut_windows(crop, self.weights.network.config.intensity)
        marked = cut.pad(instances > 0)
        decoded: list[list[NDArray[np.float32] | None]] = [
            self.predictor.variants(sample, list(variants.values()))
            if sample is not None and marked[place].any()
            else [None] * len(variants)
            for sample, place in zip(cut.samples, cut.places, strict=True)
        ]
        maps = {}
        for row, (name, variant) in enumerate(variants.items()):
            kept = [SLOTS.index(sequence) not in variant.without for sequence in crop.sequences]
            maps[name] = cut.blend([one[row] for one in decoded]) * crop.coverage[kept].any(axis=0)
        return support.means(instances, maps, [lesion.index for lesion in lesions])


def length_mm(mask: NDArray[np.bool_]) -> float:
    """Return along how much of a crop there is anything of a mask, shape (48, 48, N)."""
    return float(mask.any(axis=(0, 1)).sum() * space.SPACING_MM)


def cord_zone(cord: FloatArray) -> NDArray[np.bool_]:
    """Return the cord dilated by 2 mm, shape of the crop: no lesion is marked outside."""
    inside = cord >= 0.5
    if not inside.any():
        raise UnitError("the cord mask is empty in the common space.")
    # The distance is taken within the crop, whose slices may be shifted by a voxel against each other: good to about 0.5 mm.
    distance = ndimage.distance_transform_edt(~inside, sampling=space.SPACING_MM)
    return np.asarray(distance <= space.CORD_MARGIN_MM)


def find_lesions(
    probability: FloatArray, crop: Crop, operating: Operating, first_index: int
) -> tuple[NDArray[np.int32], tuple[Lesion, ...]]:
    """Cut a probability map into lesions.

    Parameters
    ----------
    probability : array, shape (48, 48, N)
    first_index : int
        Number of the first lesion; they are numbered from the top of the cord down.

    Returns
    -------
    instances : array, shape (48, 48, N), int32
    lesions : tuple of Lesion
    """
    box = space.uncrop((probability >= operating.threshold).astype(np.uint8), crop.starts, crop.grid)
    labels_box, count = ndimage.label(box.array, CONNECTED)
    index = space.crop_index(crop.starts)
    low = np.append(crop.starts.min(axis=0), 0)
    labels = labels_box[tuple(np.moveaxis(index - low, -1, 0))]
    voxel_mm3 = space.SPACING_MM**3
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    means = ndimage.mean(probability, labels, np.arange(count + 1))
    large = sizes * voxel_mm3 >= operating.minimum_volume_mm3
    # Most pieces are too weak for any number of sequences: what covers them need not be known.
    weakest = min(operating.least(1), operating.least(2))
    kept = [
        n
        for n in range(1, count + 1)
        if large[n] and means[n] >= weakest and means[n] >= operating.least(len(_covering(crop, labels == n)))
    ]
    points = crop.grid.to_mm(index.astype(float))
    found = []
    for n in kept:
        inside = labels == n
        centre = points[inside].mean(axis=0)
        found.append((float(centre[2]), n, inside, centre))
    found.sort(key=lambda item: (-item[0], item[1]))
    instances = np.zeros(probability.shape, np.int32)
    lesions = []
    for number, (_, _, inside, centre) in enumerate(found, start=first_index):
        instances[inside] = number
        slices = np.flatnonzero(inside.any(axis=(0, 1)))
        values = probability[inside]
        side, column = quarters.of_lesion(inside, crop.cord)
        lesions.append(
            Lesion(
                index=number,
                volume_mm3=float(inside.sum() * voxel_mm3),
                length_mm=float((slices[-1] - slices[0] + 1) * space.SPACING_MM),
                position_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
                probability=float(values.max()),
                mean_probability=float(values.mean()),
                sequences=_covering(crop, inside),
                side=side,
                column=column,
                from_top_mm=quarters.from_top_mm(inside, crop.cord, crop.starts),
                vertebral_level="" if crop.levels is None else vertebrae.of_lesion(inside, crop.levels),
            )
        )
    return instances, tuple(lesions)


def _covering(crop: Crop, inside: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return the sequences that cover most of a lesion."""
    return tuple(name for row, name in enumerate(crop.sequences) if crop.coverage[row][inside].mean() >= 0.5)
