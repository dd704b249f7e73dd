"""The command line, resolved; it loads nothing, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The command line, resolved. Passed down; there is no global configuration."""

    bids_dir: Path
    output_dir: Path
    level: str = "participant"
    participant_label: tuple[str, ...] = ()
    exclude_participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    run_label: tuple[str, ...] = ()
    acquisition_label: tuple[str, ...] = ()
    chunk_label: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    derivatives: tuple[Path, ...] = ()
    skip_bids_validation: bool = False
    work_dir: Path | None = None
    device: str = "auto"
    cord: str = "auto"
    weights: Path | None = None
    threshold: float | None = None
    nprocs: int = 1
    mem_gb: float = 4.0
    qc: Path | None = None
    force: bool = False
    stop_on_first_crash: bool = False
    dry_run: bool = False
    verbose: int = 0
    quiet: int = 0
