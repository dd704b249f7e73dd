"""The command line of ``mscord``. Nothing heavy is imported before it is parsed."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

import configargparse

from . import __version__
from .config import PREFIX, SECTION, check_variables, hyphened
from .errors import ExitCode, MscordError, UsageError
from .machine import available_cores, available_memory_gb, prepare_process
from .options import Options

log = logging.getLogger("bids_app")

_EPILOG = """exit status: 0 all chosen participants done; 2 usage; 3 some unit or participant failed; 4 nothing to work on;
5 the machine cannot do what was asked for; 1 anything unforeseen.
Research use only, not for diagnosis: the weights that ship know simulated lesions alone."""


class _Toml(configargparse.TomlConfigParser):  # type: ignore[misc]
    """Reads the section of mscord, and does not pass over a file without one."""

    def parse(self, stream: TextIO) -> Mapping[str, object]:
        """Return the options in an open file."""
        found: Mapping[str, object] = super().parse(stream)
        if not found:
            raise configargparse.ConfigFileParserException(f"the file has no options under [{SECTION}]")
        spelled = {name.replace("_", "-"): value for name, value in found.items()}
        if len(spelled) < len(found):
            raise configargparse.ConfigFileParserException("an option stands there twice, with - and with _")
        return spelled


class _Line(configargparse.ArgumentParser):  # type: ignore[misc]
    """Takes underscores in the names of options for hyphens, on the command line as in the file."""

    def parse_known_args(self, args: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        """Return the options and what is none, as argparse does."""
        known = [name for action in self._actions for name in action.option_strings]
        return super().parse_known_args(
            hyphened(sys.argv[1:] if args is None else args, known), *more, **named
        )


def parser() -> configargparse.ArgumentParser:
    """Return the command line of ``mscord``."""
    result = _Line(
        prog="mscord",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Find multiple sclerosis lesions in spinal cord MRI from whichever sequences each participant has.",
        auto_env_var_prefix=PREFIX,
        config_file_parser_class=_Toml([SECTION]),
        add_config_file_help=False,
        add_env_var_help=False,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("bids_dir", type=Path, help="the BIDS dataset; never written to")
    add("output_dir", type=Path, help="where the derivatives go")
    add("analysis_level", choices=("participant", "group"), help="participant first, then group")
    add("--version", action="version", version=f"mscord {__version__}")
    add("--self-test", action="store_true", default=argparse.SUPPRESS,
        help="segment a phantom that ships, check the answer, and stop")  # fmt: skip
    _add_choice(result.add_argument_group("what to work on").add_argument)
    _add_method(result.add_argument_group("how").add_argument)
    _add_machine(result.add_argument_group("machine").add_argument)
    return result


def _add_choice(add: Callable[..., object]) -> None:
    labels = {
        "participant": "with or without sub-; default: all",
        "exclude-participant": "with or without sub-: all but these",
        "session": "with or without ses-; default: all",
        "run": "of images with a run-, use only these",
        "acquisition": "of images with an acq-, use only these",
        "chunk": "of images with a chunk- (station), use only these",
    }
    for name, text in labels.items():
        add(f"--{name}-label", nargs="+", action="extend", default=[], metavar="LABEL", help=text)
    add("--bids-filter-file", type=Path, metavar="FILE",
        help='JSON that chooses images by sequence, such as {"T2Sag": {"acquisition": "sag"}}')  # fmt: skip
    add("--bids-database-dir", type=Path, metavar="DIR",
        help="keeps pybids' index of the whole dataset for other runs; without it each run indexes what it needs")  # fmt: skip
    add("--qc", type=Path, metavar="FILE",
        help="group level: decisions that group.html saved; what they exclude does not count")  # fmt: skip
    add("--skip-bids-validation", action="store_true",
        help="do not ask bids-validator-deno, which is asked about whole datasets where it is installed")  # fmt: skip


def _add_method(add: Callable[..., object]) -> None:
    add("--cord", choices=("auto", "sct", "builtin"), default="auto",
        help="who finds the cord; auto: SCT where it is installed (default)")  # fmt: skip
    add("-d", "--derivatives", type=Path, nargs="+", action="extend", default=[], metavar="DIR",
        help="datasets of other tools with cord masks: an image that has one there is not searched for its cord")  # fmt: skip
    add("--weights", type=Path, metavar="FILE",
        help="lesion model (.safetensors with its .json card); default: the one that ships")  # fmt: skip
    add("--threshold", type=_probability, metavar="P",
        help="lowest probability of a lesion voxel; default: the model card's")  # fmt: skip
    add("--device", type=_device, default="auto", metavar="auto|cpu|cuda[:N]",
        help="where the networks run (default: auto)")  # fmt: skip


def _add_machine(add: Callable[..., object]) -> None:
    add("--config", is_config_file=True, metavar="FILE",
        help="TOML file of options, such as logs/run-*_options.toml of an earlier run; the command line counts before MSCORD_*"
        " variables (MSCORD_MEM_GB=8), and these before the file")  # fmt: skip
    add("-w", "--work-dir", type=Path, metavar="DIR",
        help="intermediate files; kept, and used again by the next run; default: a temporary folder")  # fmt: skip
    add(
        "--nprocs",
        type=_positive,
        default=available_cores(),
        metavar="N",
        help="processes (default: %(default)s)",
    )
    add("--mem-gb", type=_memory, default=round(available_memory_gb(), 1), metavar="G",
        help="memory to use (default: %(default)s)")  # fmt: skip
    add("--force", action="store_true", help="redo also what is finished and still stands")
    add("--stop-on-first-crash", action="store_true", help="end the run at the first unit that fails")
    add("--dry-run", action="store_true", help="say what each image would be used for, and stop")
    add("-v", "--verbose", action="count", default=0, help="say more; twice: everything")
    add("-q", "--quiet", action="count", default=0, help="say only warnings; twice: only errors")


def main(argv: list[str] | None = None) -> int:
    """Run ``mscord``; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--self-test" in hyphened(arguments, ["--self-test"]):
        from .selftest.command import main as self_test

        return self_test(arguments)
    line = parser()
    try:
        check_variables(os.environ, [field.name for field in fields(Options)])
        options = options_from(line.parse_args(arguments))
    except UsageError as error:
        line.error(str(error))
    if options.dry_run and options.level == "group":
        line.error("--dry-run is of the participant level")
    if options.qc and options.level == "participant":
        line.error("--qc is of the group level")
    _set_up_log(options.verbose - options.quiet)
    # A container that is stopped, or a job whose time is over, sends SIGTERM: end in order, and say so.
    signal.signal(signal.SIGTERM, _end)
    try:
        prepare_process()
        from .pipeline import run

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


def options_from(arguments: configargparse.Namespace) -> Options:
    """Turn a parsed command line into options; paths become absolute."""
    return Options(
        bids_dir=arguments.bids_dir.absolute(),
        output_dir=arguments.output_dir.absolute(),
        level=arguments.analysis_level,
        participant_label=_labels(arguments.participant_label, "sub-"),
        exclude_participant_label=_labels(arguments.exclude_participant_label, "sub-"),
        session_label=_labels(arguments.session_label, "ses-"),
        run_label=_labels(arguments.run_label, "run-"),
        acquisition_label=_labels(arguments.acquisition_label, "acq-"),
        chunk_label=_labels(arguments.chunk_label, "chunk-"),
        bids_filter_file=_absolute(arguments.bids_filter_file),
        bids_database_dir=_absolute(arguments.bids_database_dir),
        skip_bids_validation=arguments.skip_bids_validation,
        derivatives=tuple(path.absolute() for path in arguments.derivatives),
        work_dir=_absolute(arguments.work_dir),
        device=arguments.device,
        cord=arguments.cord,
        weights=_absolute(arguments.weights),
        threshold=arguments.threshold,
        nprocs=arguments.nprocs,
        mem_gb=arguments.mem_gb,
        qc=_absolute(arguments.qc),
        force=arguments.force,
        stop_on_first_crash=arguments.stop_on_first_crash,
        dry_run=arguments.dry_run,
        verbose=arguments.verbose,
        quiet=arguments.quiet,
    )


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


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


class _Screen(logging.StreamHandler[TextIO]):
    """Writes to whatever is the error output at the time: a progress bar puts itself before it, and the lines above itself."""

    @property
    def stream(self) -> TextIO:
        """The error output."""
        return sys.stderr

    @stream.setter
    def stream(self, value: object) -> None:
        """Pass over what the constructor sets."""


def _set_up_log(loudness: int) -> None:
    """Say on the terminal what was asked for; the log file of the run gets everything."""
    lowest = min(logging.ERROR, max(logging.DEBUG, logging.INFO - 10 * loudness))
    screen = _Screen()
    screen.setLevel(lowest)
    # Others speak when something is wrong.
    logging.basicConfig(
        handlers=[screen],
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    log.setLevel(logging.DEBUG)
