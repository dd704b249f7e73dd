"""Nipype's view of the three steps: thin classes that hold no science."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from . import steps


class _OutcomeSpec(TraitedSpec):  # type: ignore[misc]
    outcome = File(exists=True, desc="JSON: the result or the error of the step")


class _FindCordSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    image = File(mandatory=True)
    sequence = traits.Str("", usedefault=True, desc="name in the table of sequences")
    ready = File(desc="mask of the built-in localiser")
    missing = traits.Str("", usedefault=True, desc="why there is no mask")
    use_sct = traits.Bool(mandatory=True)
    use_gpu = traits.Bool(False, usedefault=True, desc="tells Nipype that this is a GPU node", nohash=True)
    device = traits.Str("cpu", usedefault=True, desc="where SCT runs", nohash=True)
    method = traits.Str(desc="method and version: a change redoes the step")
    version = traits.Str(mandatory=True, desc="version of the app: a change redoes the step")


class FindCord(SimpleInterface):  # type: ignore[misc]
    """Cord mask of one image."""

    input_spec, output_spec = _FindCordSpec, _OutcomeSpec

    def _run_interface(self, runtime: Any) -> Any:
        given, folder = self.inputs, Path(runtime.cwd)
        ready = Path(given.ready) if isdefined(given.ready) else None
        outcome = steps.record(
            folder,
            lambda: steps.find_cord(
                Path(given.image), folder, ready, given.missing, given.use_sct, given.device, given.sequence
            ),
        )
        self._results["outcome"] = str(outcome)
        return runtime


class _AlignImageSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    image = File(mandatory=True)
    image_cord = File(mandatory=True, desc="outcome of its cord step")
    reference = File(mandatory=True)
    reference_cord = File(mandatory=True, desc="outcome of its cord step")
    version = traits.Str(mandatory=True)


class AlignImage(SimpleInterface):  # type: ignore[misc]
    """Position of one image on the reference."""

    input_spec, output_spec = _AlignImageSpec, _OutcomeSpec

    def _run_interface(self, runtime: Any) -> Any:
        given = self.inputs
        paths = [Path(p) for p in (given.image, given.image_cord, given.reference, given.reference_cord)]
        outcome = steps.record(Path(runtime.cwd), lambda: steps.align_image(*paths))
        self._results["outcome"] = str(outcome)
        return runtime


class _LabelLevelsSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    image = File(mandatory=True)
    image_cord = File(mandatory=True, desc="outcome of its cord step")
    contrast = traits.Enum("t2", "t1", usedefault=True, desc="whether fluid is bright or dark")
    method = traits.Str(desc="method and version: a change redoes the step")
    version = traits.Str(mandatory=True)


class LabelLevels(SimpleInterface):  # type: ignore[misc]
    """Vertebral levels of one image."""

    input_spec, output_spec = _LabelLevelsSpec, _OutcomeSpec

    def _run_interface(self, runtime: Any) -> Any:
        given, folder = self.inputs, Path(runtime.cwd)
        outcome = steps.record(
            folder,
            lambda: steps.label_levels(Path(given.image), Path(given.image_cord), folder, given.contrast),
        )
        self._results["outcome"] = str(outcome)
        return runtime


class _MakeCropSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    reference = File(mandatory=True)
    reference_cord = File(mandatory=True, desc="outcome of its cord step")
    images = InputMultiObject(File(), desc="inputs of the network less the reference")
    sequences = traits.List(traits.Str(), desc="sequence of the reference and of each of these")
    alignments = InputMultiObject(File(), desc="outcomes of their align steps")
    levels = File(desc="outcome of the step that labels vertebrae")
    version = traits.Str(mandatory=True)


class MakeCrop(SimpleInterface):  # type: ignore[misc]
    """All inputs of the network in the common space."""

    input_spec, output_spec = _MakeCropSpec, _OutcomeSpec

    def _run_interface(self, runtime: Any) -> Any:
        given, folder = self.inputs, Path(runtime.cwd)
        images = [Path(p) for p in given.images] if isdefined(given.images) else []
        aligned = [Path(p) for p in given.alignments] if isdefined(given.alignments) else []
        reference, mask = Path(given.reference), Path(given.reference_cord)
        levels = Path(given.levels) if isdefined(given.levels) else None
        outcome = steps.record(
            folder,
            lambda: steps.crop_unit(reference, mask, images, aligned, folder, levels, given.sequences or ()),
        )
        self._results["outcome"] = str(outcome)
        return runtime
