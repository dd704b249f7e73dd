"""Figures as SVG: FROC, agreement of volumes, recall by size."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .assess import Assessed
from .detection import FALSE_PER_IMAGE
from .summary import Summary

#: Colours of the first and the second method (Okabe and Ito: told apart by everyone).
COLOURS = ("#0072B2", "#D55E00")


def figures(methods: Mapping[str, tuple[Sequence[Assessed], Summary]]) -> dict[str, str]:
    """Return SVG texts by name: ``froc`` (where there are probabilities), ``volumes``, ``sizes``."""
    result = {}
    curves = {name: summary.curve for name, (_, summary) in methods.items() if summary.curve}
    if curves:
        figure, axes = _axes("false lesions per image", "sensitivity (IoU of at least 0.2)")
        for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
            axes.step(curve.false_per_image, curve.sensitivity, where="post", color=colour, label=name)
        for rate in FALSE_PER_IMAGE:
            axes.axvline(rate, color="0.85", linewidth=0.8, zorder=0)
        axes.set_xlim(0, max(FALSE_PER_IMAGE) * 1.1)
        axes.set_ylim(0, 1)
        result["froc"] = _svg(figure, axes, len(curves) > 1)
    figure, axes = _axes("mean of reference and prediction (mm³)", "prediction less reference (mm³)")
    for colour, (name, (assessed, _)) in zip(COLOURS, methods.items(), strict=False):
        _bland_altman(axes, assessed, colour, name)
    result["volumes"] = _svg(figure, axes, len(methods) > 1)
    figure, axes = _axes("volume of the reference lesion", "share found (IoU of at least 0.2)")
    width = 0.8 / len(methods)
    for place, (colour, (name, (_, summary))) in enumerate(zip(COLOURS, methods.items(), strict=False)):
        x = np.arange(len(summary.sizes)) + (place - (len(methods) - 1) / 2) * width
        share = [found / count if count else 0 for _, count, found in summary.sizes]
        axes.bar(x, share, width * 0.92, color=colour, label=name)
        for at, (_, count, found), high in zip(x, summary.sizes, share, strict=True):
            axes.annotate(f"{found}/{count}", (at, high), ha="center", va="bottom", fontsize=8)
    first = next(iter(methods.values()))[1]
    axes.set_xticks(range(len(first.sizes)), [title.replace(" mm3", "\nmm³") for title, _, _ in first.sizes])
    axes.set_ylim(0, 1.08)
    result["sizes"] = _svg(figure, axes, len(methods) > 1)
    return result


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _bland_altman(axes: Axes, assessed: Sequence[Assessed], colour: str, name: str) -> None:
    """Draw each image's difference over its mean, with the mean difference and the limits of agreement (1.96 SD)."""
    reference = np.array([one.metrics["volume_reference_mm3"] for one in assessed])
    prediction = np.array([one.metrics["volume_prediction_mm3"] for one in assessed])
    gap = prediction - reference
    axes.scatter((prediction + reference) / 2, gap, s=14, color=colour, alpha=0.7, label=name)
    axes.axhline(gap.mean(), color=colour, linewidth=1)
    if len(gap) > 1:
        for side in (-1, 1):
            axes.axhline(
                gap.mean() + side * 1.96 * gap.std(ddof=1), color=colour, linewidth=1, linestyle="--"
            )


def _svg(figure: Figure, axes: Axes, legend: bool) -> str:
    if legend:
        axes.legend(frameon=False)
    stream = io.StringIO()
    # No date, and ids that do not change: the same numbers give the same file. Text stays text.
    with rc_context({"svg.hashsalt": "mscord", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    return text[text.index("<svg") :]
