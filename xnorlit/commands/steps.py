"""The command `xnorlit steps`: measure the cost of a training step of each arm."""

import json as json_format
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from rich.table import Table

from xnorlit.bench.figures import Figure, ratio
from xnorlit.bench.one_image import one_image
from xnorlit.bench.steps import seconds_of, steps_of_network, steps_of_runs
from xnorlit.bench.turns import Samples
from xnorlit.commands.arguments import Count, goes_with
from xnorlit.commands.summary import binarizers_of
from xnorlit.edge import atomic
from xnorlit.edge.console import say, terminal
from xnorlit.errors import UserError
from xnorlit.runs import read
from xnorlit.training.environment import environment


def steps(
    runs: Sequence[Path] = (),
    *,
    network: str | None = None,
    binarizers: Sequence[str] = (),
    batch: Count | None = None,
    classes: Count | None = None,
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None,
    rounds: Count = 15,
    steps: Count = 4,
    json: Path | None = None,
) -> None:
    """Measure the time of a training step of each arm, relative to the first arm, and of one image after training.

    A step is forward, losses, backward and optimizer, on random images. The arms take turns, so that other load on the
    machine slows all of them alike. The image is measured for finished runs, on one thread: a float arm in torch, the
    others on the packed engine.

    Args:
        runs: A finished run of each arm on the same images, the float twin first.
        network: Measure this network with fresh weights instead, against its float twin.
        binarizers: With --network, the arms: names, or '{class_path: NAME, init_args: ...}' (default: XNOR).
        batch: With --network, images per step (default: 64).
        classes: With --network, number of classes (default: 10).
        precision: With --network, the precision of the step (default: 32-true).
        rounds: Number of turns of each arm.
        steps: Steps per turn.
        json: Write the figures, the machine and the command to this file.

    Raises:
        UserError: There are no arms, an arm is given twice, or a run cannot be rebuilt.
    """
    if bool(runs) == bool(network):
        raise UserError("expected either finished runs of several arms, or --network NAME for fresh weights.")
    fresh = {"binarizers": binarizers, "batch": batch, "classes": classes, "precision": precision}
    goes_with("--network, whose weights are fresh; a run has its own settings", network, **fresh)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    if network:
        arms = {name: binarizers_of(name, {})[0] for name in ("Float", *(binarizers or ["XNOR"]))}
        batch, classes, precision = batch or 64, classes or 10, precision or "32-true"
        calls = steps_of_network(network, arms, batch=batch, classes=classes, precision=precision, device=device)
        images: dict[str, Figure] = {}
    else:
        known = [read(path) for path in runs]
        calls = steps_of_runs(known, device)
        images = one_image({run.place.arm: run for run in known}, rounds)
    seconds = seconds_of(calls, rounds, steps)
    terminal().print(_table(seconds, images, f"{rounds} rounds of {steps} steps"))
    if json:
        twin = next(iter(seconds.values()))
        content = {
            "machine": environment(backend="random images") | {"device": str(device)},
            "steps_per_round": steps,
            "arms": {
                arm: {"seconds": Figure.of(times).to_json(), "ratio": ratio(times, twin).to_json()}
                | ({"image_seconds": images[arm].to_json()} if arm in images else {})
                for arm, times in seconds.items()
            },
        }
        with atomic.path(json) as scratch:
            scratch.write_text(json_format.dumps(content, indent=1) + "\n", encoding="utf-8")
        say("steps", str(json))


def _table(seconds: Samples, images: Mapping[str, Figure], how: str) -> Table:
    name, twin = next(iter(seconds.items()))
    table = Table(title=f"A training step, relative to {name}: {how}")
    for heading in ("arm", "ms", f"x {name}", "quartiles", *(["ms an image"] if images else [])):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for arm, times in seconds.items():
        cost = ratio(times, twin)
        cells = [
            arm,
            f"{1e3 * Figure.of(times).median:.1f}",
            f"{cost.median:.3f}",
            f"{cost.lower:.3f} - {cost.upper:.3f}",
        ]
        if images:
            cells.append(f"{1e3 * images[arm].median:.3g}" if arm in images else "no packed form")
        table.add_row(*cells)
    return table
