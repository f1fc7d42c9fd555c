"""The command `xnorlit steps`: what a training step of each arm costs."""

import json as json_format
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from rich.progress import Progress
from rich.table import Table

from xnorlit.bench.figures import Figure, ratio
from xnorlit.bench.turns import Call, Samples, by_turns
from xnorlit.commands.arguments import Count
from xnorlit.edge import atomic
from xnorlit.edge.console import say, terminal
from xnorlit.errors import UserError
from xnorlit.runs import read
from xnorlit.training.environment import environment
from xnorlit.training.recorded import images
from xnorlit.training.step import training_step


def steps(runs: Sequence[Path], *, rounds: Count = 15, steps: Count = 4, json: Path | None = None) -> None:
    """Measures what a training step of finished runs costs, relative to the first run's.

    A step is forward, losses, backward and optimizer, on made-up images. The arms take turns, so that other load on the
    machine slows all of them alike.

    Args:
        runs: A finished run of each arm on the same images, the float twin first.
        rounds: How often each arm has its turn.
        steps: Steps that an arm takes in a turn.
        json: Write the figures to this file, with the machine and the command.

    Raises:
        UserError: An arm is given twice, or a run cannot be rebuilt.
    """
    found = [read(path) for path in runs]
    arms = [run.place.arm for run in found]
    if len(set(arms)) < len(arms):
        raise UserError(f"the runs are of the arms {', '.join(arms)}. Expected one run of each arm.")
    data = images(found[0].config, found[0].path / "config.yaml")
    data.setup()
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    seconds = seconds_of({run.place.arm: training_step(run, data, device) for run in found}, rounds, steps)
    terminal().print(_table(seconds, f"{rounds} rounds of {steps} steps"))
    if json:
        twin = next(iter(seconds.values()))
        content = {
            "machine": environment(backend="made-up images") | {"device": str(device)},
            "steps_per_round": steps,
            "arms": {
                arm: {"seconds": Figure.of(times).to_json(), "ratio": ratio(times, twin).to_json()}
                for arm, times in seconds.items()
            },
        }
        with atomic.path(json) as scratch:
            scratch.write_text(json_format.dumps(content, indent=1) + "\n", encoding="utf-8")
        say("steps", str(json))


def seconds_of(arms: Mapping[str, Call], rounds: int, steps: int) -> Samples:
    """Seconds of a step of each arm, one for each round; shows how far it is.

    Args:
        arms: Functions that take one training step.
        rounds: How often each arm has its turn, besides what readies caches and buffers.
        steps: Steps in a turn.
    """
    with Progress(console=terminal(), transient=True) as progress:
        task = progress.add_task(f"{len(arms)} arms by turns", total=None)

        def several(step: Call) -> Callable[[], None]:
            def turn() -> None:
                for _ in range(steps):
                    step()
                progress.advance(task)

            return turn

        samples = by_turns({arm: several(step) for arm, step in arms.items()}, rounds).steady
    return {arm: [seconds / steps for seconds in times] for arm, times in samples.items()}


def _table(seconds: Samples, how: str) -> Table:
    name, twin = next(iter(seconds.items()))
    table = Table(title=f"A training step, over that of {name}: {how}")
    for heading in ("arm", "ms", f"x {name}", "quartiles"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for arm, times in seconds.items():
        cost = ratio(times, twin)
        milliseconds = f"{1e3 * Figure.of(times).median:.1f}"
        table.add_row(arm, milliseconds, f"{cost.median:.3f}", f"{cost.lower:.3f} - {cost.upper:.3f}")
    return table
