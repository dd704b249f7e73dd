"""The command line of ``mscord``. Nothing heavy is imported before it is parsed."""

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
from pathlib import Path

from . import __version__
from .errors import ExitCode, MscordError
from .machine import available_cores, available_memory_gb
from .options import Options

log = logging.getLogger("bids_app")

_EPILOG = """exit status: 0 all chosen participants done; 2 usage; 3 some unit or participant failed; 4 nothing to work on;
5 the machine cannot do what was asked for; 1 anything unforeseen.
Research use only, not for diagnosis: the weights were trained on simulated spinal cords."""


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord``."""
    result = argparse.ArgumentParser(
        prog="mscord",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Find multiple sclerosis lesions in spinal cord MRI from whichever sequences each participant has.",
    )
    result.add_argument("bids_dir", type=Path, help="the BIDS dataset; never written to")
    result.add_argument("output_dir", type=Path, help="where the derivatives go")
    result.add_argument(
        "analysis_level", choices=("participant", "group"), help="participant first, then group"
    )
    result.add_argument("--version", action="version", version=f"mscord {__version__}")
    choose = result.add_argument_group("what to work on")
    choose.add_argument(
        "--participant-label",
        nargs="+",
        action="extend",
        default=[],
        metavar="LABEL",
        help="with or without sub-; default: all",
    )
    choose.add_argument(
        "--session-label",
        nargs="+",
        action="extend",
        default=[],
        metavar="LABEL",
        help="with or without ses-; default: all",
    )
    choose.add_argument(
        "--run-label",
        nargs="+",
        action="extend",
        default=[],
        metavar="LABEL",
        help="of images with a run-, use only these",
    )
    choose.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help='JSON that chooses images by sequence, such as {"T2Sag": {"acquisition": "sag"}}',
    )
    how = result.add_argument_group("how")
    how.add_argument(
        "--cord",
        choices=("auto", "sct", "builtin"),
        default="auto",
        help="who finds the cord; auto: SCT where it is installed (default)",
    )
    how.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="lesion model (.safetensors with its .json card); default: the one that ships",
    )
    how.add_argument(
        "--threshold",
        type=_probability,
        metavar="P",
        help="lowest probability of a lesion voxel; default: the model card's",
    )
    how.add_argument(
        "--device",
        type=_device,
        default="auto",
        metavar="auto|cpu|cuda[:N]",
        help="where the networks run (default: auto)",
    )
    machine = result.add_argument_group("machine")
    machine.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="intermediate files; kept, and used again by the next run; default: a temporary folder",
    )
    machine.add_argument(
        "--nprocs",
        type=_positive,
        default=available_cores(),
        metavar="N",
        help="processes (default: %(default)s)",
    )
    machine.add_argument(
        "--mem-gb",
        type=_memory,
        default=round(available_memory_gb(), 1),
        metavar="G",
        help="memory to use (default: %(default)s)",
    )
    machine.add_argument("--force", action="store_true", help="redo also what is finished and still stands")
    machine.add_argument(
        "--dry-run", action="store_true", help="say what each image would be used for, and stop"
    )
    machine.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: everything")
    return result


def main(argv: list[str] | None = None) -> int:
    """Run ``mscord``; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    line = parser()
    options = options_from(line.parse_args(arguments))
    if options.dry_run and options.level == "group":
        line.error("--dry-run is of the participant level")
    _set_up_log(options.verbose)
    # A container that is stopped, or a job whose time is over, sends SIGTERM: end in order, and say so.
    signal.signal(signal.SIGTERM, _end)
    from .pipeline import run

    try:
        return int(run(options, ["mscord", *arguments]))
    except MscordError as error:
        log.error("%s", error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        log.error("Interrupted.")
        return 130
    except Exception:
        log.exception("Unforeseen failure: this is a defect of mscord %s.", __version__)
        return int(ExitCode.UNFORESEEN)


def options_from(arguments: argparse.Namespace) -> Options:
    """Turn a parsed command line into options; paths become absolute."""
    return Options(
        bids_dir=arguments.bids_dir.absolute(),
        output_dir=arguments.output_dir.absolute(),
        level=arguments.analysis_level,
        participant_label=_labels(arguments.participant_label, "sub-"),
        session_label=_labels(arguments.session_label, "ses-"),
        run_label=_labels(arguments.run_label, "run-"),
        bids_filter_file=arguments.bids_filter_file,
        work_dir=arguments.work_dir.absolute() if arguments.work_dir else None,
        device=arguments.device,
        cord=arguments.cord,
        weights=arguments.weights,
        threshold=arguments.threshold,
        nprocs=arguments.nprocs,
        mem_gb=arguments.mem_gb,
        force=arguments.force,
        dry_run=arguments.dry_run,
        verbose=arguments.verbose,
    )


def _labels(values: list[str], prefix: str) -> tuple[str, ...]:
    return tuple(value.removeprefix(prefix) for value in values)


def _probability(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _memory(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, cpu, cuda, cuda:N")
    return text


def _end(number: int, frame: object) -> None:
    del frame
    raise SystemExit(128 + number)


def _set_up_log(verbose: int) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    log.setLevel([logging.INFO, logging.DEBUG][min(verbose, 1)])
