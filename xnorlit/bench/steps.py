"""Measure a training step of each arm, from finished runs or with fresh weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from xnorlit.bench.turns import Call, Samples, by_turns
from xnorlit.binarize import Binarizer
from xnorlit.edge.console import progress
from xnorlit.errors import UserError
from xnorlit.runs import Run
from xnorlit.training.bop import Bop
from xnorlit.training.module import Classifier
from xnorlit.training.recorded import images
from xnorlit.training.step import module_step, training_step


@dataclass(frozen=True)
class FreshImages:
    """A stand-in for a data module without images, with only the properties that a network needs.

    Attributes:
        classes: Names of the classes.
        image_size: Side of an image in pixels.
        batch_size: Images of a step.
    """

    classes: Sequence[str]
    image_size: int
    batch_size: int
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


def steps_of_runs(runs: Sequence[Run], device: torch.device) -> dict[str, Call]:
    """A training step of each run, by its arm.

    Args:
        runs: Finished runs of different arms on the same images.
        device: Device to compute on.

    Raises:
        UserError: Two runs belong to the same arm, or a run cannot be rebuilt.
    """
    arms = [run.place.arm for run in runs]
    if len(set(arms)) < len(arms):
        raise UserError(f"the runs belong to the arms {', '.join(arms)}. Expected one run of each arm.")
    data = images(runs[0].config, runs[0].path / "config.yaml")
    data.setup()
    return {run.place.arm: training_step(run, data, device) for run in runs}


def steps_of_network(
    network: str, arms: Mapping[str, Binarizer], *, batch: int, classes: int, precision: str, device: torch.device
) -> dict[str, Call]:
    """A training step of a network with each binarizer: Adam, or Bop where weights are flipped.

    Args:
        network: Its name.
        arms: Binarizers by the name of their arm.
        batch: Images of a step.
        classes: Number of classes.
        precision: A value of `trainer.precision`.
        device: Device to compute on.

    Raises:
        UserError: The network or the precision is unknown.
    """

    def step(binarizer: Binarizer) -> Call:
        optimizer: Any = Bop if binarizer.flips else torch.optim.Adam
        module = Classifier(network, binarizer, optimizer=optimizer)
        made_up = FreshImages([str(number) for number in range(classes)], module.spec.image_size, batch)
        torch.manual_seed(0)
        return module_step(module, made_up, device, precision)

    return {arm: step(binarizer) for arm, binarizer in arms.items()}


def seconds_of(arms: Mapping[str, Call], rounds: int, steps: int) -> Samples:
    """Seconds per step of each arm, one figure per round; shows its progress.

    Args:
        arms: Functions that take one training step.
        rounds: Number of turns of each arm, after one for warming up.
        steps: Number of steps per turn.
    """
    with closing(progress(count(), None, "steps", f"turns of {len(arms)} arms", stderr=True)) as turns:

        def several(step: Call) -> Callable[[], None]:
            def turn() -> None:
                next(turns)
                for _ in range(steps):
                    step()

            return turn

        samples = by_turns({arm: several(step) for arm, step in arms.items()}, rounds).steady
    return {arm: [seconds / steps for seconds in times] for arm, times in samples.items()}
