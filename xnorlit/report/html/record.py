"""Everything on the page as one JSON record, from which each number on the page is cited."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorlit.comparison.comparison import Comparison
from xnorlit.comparison.difference import NOT_SET
from xnorlit.data.sources import readable
from xnorlit.edge.names import at_home
from xnorlit.report.html import confusion, measured, photographs
from xnorlit.report.html.curves import curves, layer_curves
from xnorlit.runs import Run


def record(comparison: Comparison, *, bench: Path | None = None, data: Path | None = None) -> dict[str, Any]:
    """The page's record.

    Args:
        comparison: The comparison, with its runs.
        bench: Output of `xnorlit bench --json`.
        data: Folder of the images (default: the folder that the runs used).

    Raises:
        UserError: A file is damaged.
    """
    arms = comparison.runs
    first = arms[comparison.reference][0]
    sources = [data or at_home(str(first.config.get("data", {}).get("source")))]
    pictures = photographs.find(first.predictions, sources)
    return {
        "made": {"xnorlit": version("xnorlit"), "at": datetime.now(UTC).isoformat(timespec="seconds")},
        "comparison": _in_words(comparison.to_json()),
        "paper_gap": comparison.published.float_top1 - comparison.published.binary_top1,
        "classes": list(readable(first.predictions.classes)),
        "seeds": {label: len(runs) for label, runs in arms.items()},
        "curves": curves(arms, [(gap.arm, gap.reference) for gap in comparison.gaps]),
        "layers": layer_curves(arms),
        "packed": [
            {"arm": label, **file}
            for label, runs in arms.items()
            for run in runs
            for file in measured.packed_files(run)
        ],
        "bench": measured.read_bench(bench) if bench else None,
        "image_size": _image_size([run for runs in arms.values() for run in runs]),
        "networks": sorted({str(run.config.get("model", {}).get("network")) for runs in arms.values() for run in runs}),
        "confusions": _confusions(arms, comparison),
        "disputed": [
            _disputed(arms[gap.arm], arms[gap.reference], gap.arm, gap.reference, pictures) for gap in comparison.gaps
        ],
        "pictures": {"shown": not isinstance(pictures, str), "why_not": pictures if isinstance(pictures, str) else ""},
        "environments": _environments(arms),
        "runs": [_run(label, run) for label, runs in arms.items() for run in runs],
        "config": _config(arms),
    }


def _in_words(written: dict[str, Any]) -> dict[str, Any]:
    for gap in written["gaps"]:
        for part, name in zip(gap["classes"], readable(part["name"] for part in gap["classes"]), strict=True):
            part["name"] = name
    return written


def _image_size(runs: Sequence[Run]) -> int | None:
    """The image size of all runs; None if it is that of their network, or if they differ."""
    sizes = {run.config.get("data", {}).get("image_size") for run in runs}
    return sizes.pop() if len(sizes) == 1 else None


def _confusions(arms: Mapping[str, Sequence[Run]], comparison: Comparison) -> dict[str, Any]:
    counts = {label: _counts(runs) for label, runs in arms.items()}
    return {
        "of_arms": {label: count.tolist() for label, count in counts.items()}
        if comparison.classes <= confusion.MOST_CLASSES
        else None,
        "changes": [
            {
                "arm": gap.arm,
                "reference": gap.reference,
                "pairs": confusion.largest_changes(
                    counts[gap.arm], _counts(_twins(arms[gap.arm], arms[gap.reference]))
                ),
            }
            for gap in comparison.gaps
        ],
    }


def _counts(runs: Sequence[Run]) -> NDArray[np.int64]:
    return confusion.confusion([run.predictions for run in runs])


def _twins(runs: Sequence[Run], references: Sequence[Run]) -> Sequence[Run]:
    """The reference's runs with the seeds of an arm's runs; it may have more seeds."""
    if len(runs) == len(references):  # The seeds of two given runs may differ.
        return references
    seeds = {run.place.seed for run in runs}
    return [run for run in references if run.place.seed in seeds]


def _disputed(
    runs: Sequence[Run], twins: Sequence[Run], arm: str, reference: str, pictures: photographs.Photographs | str
) -> dict[str, Any]:
    ours, theirs = [run.predictions for run in runs], [run.predictions for run in _twins(runs, twins)]
    sides = []
    for winner, loser, won, lost in ((reference, arm, theirs, ours), (arm, reference, ours, theirs)):
        images = confusion.disputed(won, lost)
        for image in images:
            image["url"] = pictures.as_url(image["index"]) if not isinstance(pictures, str) else None
        sides.append({"winner": winner, "loser": loser, "images": images})
    return {"arm": arm, "reference": reference, "seeds": len(ours), "sides": sides}


def _run(label: str, run: Run) -> dict[str, Any]:
    environment = run.environment
    return {
        "arm": label,
        "seed": run.place.seed,
        "run": str(run.path),
        "command": environment.command,
        "started": environment.started.astimezone(UTC).isoformat(),
        "python": environment.python,
        "platform": environment.platform,
        "cpu": environment.cpu,
        "cores": environment.cores,
        "threads": environment.threads,
        "gpu": environment.gpu,
        "packages": environment.packages,
        "commit": environment.commit,
        "dirty": environment.dirty,
        "backend": environment.backend,
    }


def _environments(arms: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """The machines and code versions of the runs: `[{runs: [xnor/seed-0, ...], values: {title: value}}]`."""
    found: dict[str, dict[str, Any]] = {}
    packages = sorted({name for runs in arms.values() for run in runs for name in run.environment.packages})
    for label, runs in arms.items():
        for run in runs:
            values = _environment(run, packages)
            of = found.setdefault(json.dumps(values), {"runs": [], "values": values})
            of["runs"].append(f"{label}/seed-{run.place.seed}")
    return list(found.values())


def _environment(run: Run, packages: Sequence[str]) -> dict[str, Any]:
    environment = run.environment
    commit = (environment.commit or "none")[:9] + (" changed" if environment.dirty else "")
    return {
        "processor": environment.cpu,
        "GPU": environment.gpu or "none",
        "cores": environment.cores,
        "threads": environment.threads,
        "platform": environment.platform,
        "loader": environment.backend,
        "commit": commit,
        "Python": environment.python,
        **{name: environment.packages.get(name, "none") for name in packages},
    }


def _config(arms: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """Each key of the resolved configurations, with its value in each arm's first seed."""
    flat = {label: runs[0].flat_config for label, runs in arms.items()}
    keys = sorted(set().union(*flat.values()))
    return [{"key": key, "values": [of.get(key, NOT_SET) for of in flat.values()]} for key in keys]
