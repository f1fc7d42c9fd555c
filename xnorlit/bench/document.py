"""The JSON of a bench: the figures, the machine, and the keys with their verdicts."""

from dataclasses import asdict
from typing import Any

from xnorlit.bench.figures import WIDE, Figure
from xnorlit.bench.judge import judged
from xnorlit.bench.layers import macs_of
from xnorlit.bench.measured import Measured
from xnorlit.bench.subject import Subject

FORMAT = 1


def document(subject: Subject, measured: Measured, machine: dict[str, Any], isas: list[str]) -> dict[str, Any]:
    """Everything as JSON; each figure is `{median, lower, upper, least, rounds}` with the quartiles lower and upper.

    Args:
        subject: What was measured.
        measured: The figures.
        machine: The machine that measured.
        isas: The measured kernels, fastest first.
    """
    graph, limits = subject.graph, measured.limits
    return {
        "format": FORMAT,
        "machine": machine,
        "subject": {
            "weights": subject.weights,
            "network": graph.network,
            "classes": len(graph.classes),
            "image_size": graph.image_size,
            "binary_macs": {layer.name: macs_of(layer, at) for layer, at in subject.binary_layers()},
        },
        "limits_path": isas[0],
        "limits": {
            "fp32_peak": limits.fp32,
            **{name: getattr(limits, name) for name in ("floats", "bits", "tile")},
            "tile_over_fp32_peak": {isa: figure.to_json() for isa, figure in limits.tile_over_floats.items()},
        },
        "rows": [row.to_json() for row in measured.rows],
        "memory": asdict(measured.memory),
        "cold_start": asdict(measured.cold_start),
        "keys": judged(measured, isas, graph.network, len(graph.classes)),
        "warnings": _warnings(measured, machine),
    }


def _warnings(measured: Measured, machine: dict[str, Any]) -> list[str]:
    """Warnings about the reliability of the figures."""
    found = []
    busy, cores = max(machine["load_average"]), machine["usable_cores"]
    others = ", ".join(machine.get("others", ()))
    if busy > cores:
        named = f" (processors that others took: {others})" if others else ""
        found.append(
            f"load average {busy:.1f} on {cores} processors: the machine was busy{named}, "
            "so trust ratios more than times"
        )
    if (most := max(machine.get("threads", [1]))) > cores:
        found.append(f"{most} threads on {cores} processors: these rows measure how threads wait for each other")
    wide = [
        f"{row.part}, batch {row.batch}, {row.threads} threads: {side}"
        for row in measured.rows
        for side in row.samples
        if _is_wide(row.figure(side))
    ]
    if wide:
        named = "; ".join(wide[:4]) + ("; ..." if len(wide) > 4 else "")
        found.append(f"quartiles more than {WIDE:.0%} of the median apart in {len(wide)} times ({named})")
    return found


def _is_wide(figure: Figure) -> bool:
    return figure.spread > WIDE
