"""The loss over the steps of a run, as a picture."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

log = logging.getLogger("bids_app")
#: The line is the mean over this many steps.
WINDOW = 50


def plot_losses(table: Path, picture: Path) -> None:
    """Draw a run's log; where matplotlib is missing, say so and draw nothing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.warning("No loss plot: matplotlib is not installed.")
        return
    rows = np.genfromtxt(table, delimiter="\t", names=True, missing_values="n/a", ndmin=1)
    if not rows.size:
        return
    window = min(WINDOW, rows.size)
    smooth = np.convolve(rows["loss"], np.ones(window) / window, mode="valid")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rows["step"], rows["loss"], color="0.8", linewidth=0.5, label="each step")
    axes.plot(rows["step"][window - 1 :], smooth, color="#0072B2", label=f"mean of {window} steps")
    axes.set(xlabel="step", ylabel="loss")
    scored = np.isfinite(rows["validation"])
    if scored.any():
        right = axes.twinx()
        right.plot(
            rows["step"][scored], rows["validation"][scored], "o-", color="#D55E00", label="validation"
        )
        right.set_ylabel("validation Dice")
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=120)
