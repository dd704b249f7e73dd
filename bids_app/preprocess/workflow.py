"""One Nipype graph per unit: a cord node per image, an align node per further image, and one crop node."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nipype
from nipype.pipeline import engine
from nipype.pipeline.plugins import MultiProcPlugin

from .. import __version__
from ..errors import EnvironmentFault, MscordError, UnitError
from ..images import common_grid, read_grid
from ..leading import without
from ..processes import process_pool
from ..records import Alignment, Image, Prepared, Unit
from . import align, steps
from .interfaces import AlignImage, FindCord, LabelLevels, MakeCrop
from .request import PrepareRequest

_NAME = "preprocess"
#: Why the built-in localiser gives no vertebral levels.
NO_LEVELS = "Only the Spinal Cord Toolbox labels vertebrae, and the cord was found without it."


def run_unit(request: PrepareRequest) -> Prepared:
    """Do what `bids_app.preprocess.prepare` promises."""
    folder = request.folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _quiet_nipype()
        done = _run(request, folder)
    except MscordError:
        raise
    except Exception as error:
        known = _foreseen(error, folder, request.unit.name)
        if known is None:
            raise
        raise known from error
    prepared = _collect(done, folder / _NAME)
    return replace(prepared, dropped={**prepared.dropped, **_left(request.unit, done.unit)})


def _run(request: PrepareRequest, folder: Path) -> PrepareRequest:
    """Run the graph of a unit; where what leads it or feeds the network is of no use, once more with what takes its place.

    Returns the request that was fulfilled.
    """
    asked = request
    while True:
        _build(asked, folder).run(plugin=_plugin(request.nprocs))
        failed = _of_no_use(asked, folder / _NAME)
        left = [image for image in asked.unit.inputs if image.path not in failed]
        if len(left) == len(asked.unit.inputs):
            return asked
        unit = without(request.unit, failed, request.taken)
        nothing_new = (
            unit is not None and unit.reference is asked.unit.reference and list(unit.inputs) == left
        )
        if unit is None or nothing_new:
            return asked
        asked = replace(request, unit=unit)


def _of_no_use(request: PrepareRequest, base: Path) -> frozenset[Path]:
    """Return the images whose cord step met an error that lies in the image."""
    return frozenset(
        image.path for image in request.unit.images if isinstance(_cord_error(image, base), steps.LASTING)
    )


def _cord_error(image: Image, base: Path) -> MscordError | None:
    return steps.error_of(steps.read_outcome(base / _node_name("cord", image) / steps.OUTCOME))


def _left(planned: Unit, made: Unit) -> dict[Path, str]:
    """Say of the images that a new reference shares nothing with that they left the unit."""
    words = f"it does not overlap {made.reference.path.name}, which leads in place of {planned.reference.path.name}"
    return {image.path: words for image in planned.images if image not in made.images}


class _MultiProc(MultiProcPlugin):  # type: ignore[misc]
    """Nipype's own waits for ever for a worker that was killed; here its task fails. Workers are quiet."""

    def __init__(self, nprocs: int) -> None:
        # One SCT on the GPU at a time: Nipype cannot count the cards by itself.
        super().__init__(plugin_args={"n_procs": nprocs, "n_gpu_procs": 1})
        self.pool.shutdown()
        # spawn: a fork of a process with threads may hang, and a fork server keeps an old environment.
        self.pool: Any = process_pool(nprocs, _quiet_nipype)

    def _async_callback(self, args: Any) -> None:
        if args.exception() is None:
            super()._async_callback(args)

    def _get_result(self, taskid: int) -> Any:
        task = self._task_obj.get(taskid)
        if task is not None and task.done() and task.exception() is not None:
            return {"taskid": taskid, "result": None, "traceback": [f"{task.exception()}\n"]}
        return super()._get_result(taskid)


def _plugin(nprocs: int) -> Any:
    if nprocs <= 1:
        return "Linear"
    return _MultiProc(nprocs)


def _quiet_nipype() -> None:
    """Keep Nipype from the terminal: what fails is said in words, and its crash files lie in the work folder."""
    levels = dict.fromkeys(("workflow_level", "utils_level", "interface_level"), "ERROR")
    nipype.config.update_config({"logging": {**levels, "log_to_file": "false"}})
    nipype.logging.update_logging(nipype.config)
    own = logging.getLogger("nipype")
    own.handlers[:] = [logging.NullHandler()]
    own.propagate = False


def _settings(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        "logging": {"log_directory": str(folder), "log_to_file": False},
        "execution": {
            "crashdump_dir": str(folder / "crash"),
            "crashfile_format": "txt",
            "hash_method": "content",
            "remove_unnecessary_outputs": False,
            "create_report": False,
            "check_version": False,
            "poll_sleep_duration": 0.01,
            "job_finished_timeout": 15,
        },
    }


def _node_name(step: str, image: Image) -> str:
    return f"{step}-{re.sub(r'[^A-Za-z0-9_-]', '_', image.stem)}"


def _on_reference(name: str, unit: Unit) -> str:
    """Return the name of a node that depends on the reference: another reference, another node, so that a rerun finds both."""
    return _node_name(f"{name}-on", unit.reference) if unit.instead_of else name


def _build(request: PrepareRequest, folder: Path) -> Any:
    """Return the graph of a unit."""
    workflow = engine.Workflow(name=_NAME, base_dir=str(folder))
    workflow.config = _settings(folder)
    unit = request.unit
    reference = str(unit.reference.path.absolute())
    cords = {
        image.path: engine.Node(_cord_interface(request, image), _node_name("cord", image))
        for image in unit.images
    }
    reference_cord = cords[unit.reference.path]
    workflow.add_nodes(list(cords.values()))
    fed = _network_inputs(request)
    sequences = [image.sequence for image in (unit.reference, *fed)]
    cropping = MakeCrop(reference=reference, sequences=sequences, version=__version__)
    made = engine.Node(cropping, _on_reference("crop", unit))
    workflow.connect(reference_cord, "outcome", made, "reference_cord")
    if request.cord == "sct":
        labelled = engine.Node(_levels_interface(request), _on_reference("levels", unit))
        workflow.connect(reference_cord, "outcome", labelled, "image_cord")
        workflow.connect(labelled, "outcome", made, "levels")
    merged = engine.Node(nipype.Merge(max(1, len(unit.inputs) - 1)), "inputs")
    place = 0
    for image in unit.images:
        if image.path == unit.reference.path:
            continue
        interface = AlignImage(image=str(image.path.absolute()), reference=reference, version=__version__)
        node = engine.Node(interface, _on_reference(_node_name("align", image), unit))
        workflow.connect(cords[image.path], "outcome", node, "image_cord")
        workflow.connect(reference_cord, "outcome", node, "reference_cord")
        if image in unit.inputs:
            place += 1
            workflow.connect(node, "outcome", merged, f"in{place}")
    if place:
        made.inputs.images = [str(image.path.absolute()) for image in fed]
        workflow.connect(merged, "out", made, "alignments")
    return workflow


def _network_inputs(request: PrepareRequest) -> list[Image]:
    """Return the inputs of the network less the reference."""
    unit = request.unit
    return [image for image in unit.inputs if image.path != unit.reference.path]


def _cord_interface(request: PrepareRequest, image: Image) -> FindCord:
    with_sct = request.cord == "sct" and image.path not in request.cord_masks
    interface = FindCord(
        image=str(image.path.absolute()),
        sequence=image.sequence,
        use_sct=with_sct,
        use_gpu=with_sct and request.sct_device != "cpu",
        device=request.sct_device,
        method=request.cord_method,
        version=__version__,
    )
    if not with_sct:
        if image.path in request.cord_masks:
            interface.inputs.ready = str(request.cord_masks[image.path].absolute())
        else:
            interface.inputs.missing = request.cord_missing.get(
                image.path, f"No spinal cord was found in {image.path.name}."
            )
    return interface


def _levels_interface(request: PrepareRequest) -> LabelLevels:
    reference = request.unit.reference
    return LabelLevels(
        image=str(reference.path.absolute()),
        contrast="t1" if reference.sequence in ("T1", "MP2RAGE") else "t2",
        method=request.cord_method,
        version=__version__,
    )


def _foreseen(error: BaseException, folder: Path, name: str) -> MscordError | None:
    """Return the sentence for what may go wrong around the steps, or None for a defect."""
    text = f"{error} {error.__cause__ or ''}"
    if "Errno 28" in text or "Errno 122" in text:
        return EnvironmentFault(
            f"The work folder {folder} is full.", "Free some space or choose another --work-dir."
        )
    if "Errno 13" in text or "Errno 30" in text:
        return EnvironmentFault(
            f"The work folder {folder} cannot be written to.", "Choose another --work-dir."
        )
    if "terminated abruptly" in text or "BrokenProcessPool" in text or "process pool is not usable" in text:
        return UnitError(
            f"A process that prepared {name} was killed, most likely for lack of memory.",
            "Use fewer --nprocs or give more memory.",
        )
    return None


def _collect(request: PrepareRequest, base: Path) -> Prepared:
    """Read the outcomes of a finished graph."""
    unit = request.unit
    cords = {image.path: base / _node_name("cord", image) / steps.OUTCOME for image in unit.images}
    aligned = {
        image.path: base / _on_reference(_node_name("align", image), unit) / steps.OUTCOME
        for image in unit.images
        if image.path != unit.reference.path
    }
    crop = base / _on_reference("crop", unit) / steps.OUTCOME
    levels = [base / _on_reference("levels", unit) / steps.OUTCOME] if request.cord == "sct" else []
    outcomes = {
        path: steps.read_outcome(path) for path in (*cords.values(), *aligned.values(), crop, *levels)
    }
    _forget_passing_failures(outcomes)
    for path in cords.values():
        error = steps.error_of(outcomes[path])
        if isinstance(error, EnvironmentFault):
            raise error
    for path in (cords[unit.reference.path], crop):
        error = steps.error_of(outcomes[path])
        if error is not None:
            raise _of_all(unit, outcomes, cords, error)
    seconds: dict[str, float] = {"cord": request.cord_seconds}
    peak_mb = 0.0
    for path in outcomes:
        spent, held = steps.cost_of(path)
        step = path.parent.name.partition("-")[0]
        seconds[step] = seconds.get(step, 0.0) + spent
        peak_mb = max(peak_mb, held)
    masks = {unit.reference.path: steps.mask_of(cords[unit.reference.path])}
    alignments = {unit.reference.path: align.identity(unit.reference.path)}
    dropped = {
        _network_inputs(request)[int(place)].path: str(reason)
        for place, reason in outcomes[crop]["dropped"].items()
    }
    for image, outcome in aligned.items():
        found = steps.alignment_of(outcomes[outcome], image)
        if not isinstance(found, Alignment):
            dropped[image] = found.message
        elif image not in dropped:
            alignments[image], masks[image] = found, steps.mask_of(cords[image])
    doubts = {path: str(outcomes[cords[path]]["doubt"]) for path in alignments}
    kept = [_network_inputs(request)[place].sequence for place in outcomes[crop]["kept"]]
    version = outcomes[cords[unit.reference.path]]["version"]
    return Prepared(
        unit=unit,
        crop=crop.parent / outcomes[crop]["crop"],
        sequences=tuple(dict.fromkeys((unit.reference.sequence, *kept))),
        grid=common_grid(read_grid(unit.reference.path)),
        cord_masks=masks,
        alignments=alignments,
        dropped=dropped,
        doubts={path: text for path, text in doubts.items() if text},
        no_levels=_why_no_levels(outcomes[levels[0]]) if levels else NO_LEVELS,
        cord_method=request.cord_method or f"{request.cord} {version}".strip(),
        seconds=seconds,
        peak_mb=peak_mb,
    )


def _of_all(
    unit: Unit, outcomes: dict[Path, dict[str, Any]], cords: dict[Path, Path], error: MscordError
) -> MscordError:
    """Return the error of a unit that no image can lead: it says of each what is wrong with it."""
    errors = [steps.error_of(outcomes[cords[image.path]]) for image in unit.images]
    told = dict.fromkeys(one.message for one in errors if one is not None)
    if len(told) < 2 or not all(isinstance(one, steps.LASTING) for one in errors):
        return error
    return type(error)(f"No image of {unit.planned} can be used: {' '.join(told)}", error.next_step)


def _why_no_levels(outcome: dict[str, Any]) -> str:
    """Return why no vertebral level is known, or an empty string where levels are."""
    error = steps.error_of(outcome)
    return error.message if error else str(outcome["reason"])


def _forget_passing_failures(outcomes: dict[Path, dict[str, Any]]) -> None:
    """Remove the nodes whose failure may pass, so that the next run tries them again."""
    for path, outcome in outcomes.items():
        if outcome.get("retry"):
            shutil.rmtree(path.parent, ignore_errors=True)
