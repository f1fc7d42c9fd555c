"""Learning-rate schedules as pure functions of the epoch."""

import math
from abc import ABC, abstractmethod

import pytorch_lightning as pl
from typing_extensions import override

from xnorlit.errors import UserError


def steps_per_epoch(trainer: pl.Trainer) -> float:
    """`ceil(batches / accumulate_grad_batches)`, the optimizer steps of an epoch; infinite until loaders are set up.

    Args:
        trainer: The trainer. The last batch of an epoch always ends with a step.
    """
    batches = trainer.num_training_batches
    return batches if math.isinf(batches) else math.ceil(batches / trainer.accumulate_grad_batches)


class Schedule(ABC):
    """`rate = base * schedule(epoch, epochs)`, evaluated before every optimizer step."""

    @abstractmethod
    def __call__(self, epoch: float, epochs: int) -> float:
        """The factor on the optimizer's own rate.

        Args:
            epoch: Finished epochs, as a fraction: 0 at the first step.
            epochs: Epochs of the run.
        """


class Constant(Schedule):
    """`1` at every step."""

    @override
    def __call__(self, epoch: float, epochs: int) -> float:
        return 1.0


class Steps(Schedule):
    """`factors[e]` from epoch `e` on, 1 before the first: a table, as in the Torch 7 recipes.

    Args:
        factors: `{first epoch, counted from 0: factor on the base rate}`.
    """

    def __init__(self, factors: dict[int, float]) -> None:
        self.factors = dict(sorted(factors.items()))

    @override
    def __call__(self, epoch: float, epochs: int) -> float:
        begun = [factor for start, factor in self.factors.items() if start <= epoch]
        return begun[-1] if begun else 1.0


class Staircase(Schedule):
    """`factor ** floor(epoch / every)`: the rate is multiplied by `factor` every `every` epochs.

    Args:
        every: Epochs between two changes.
        factor: Factor on the rate at each change.
    """

    def __init__(self, every: int, factor: float) -> None:
        if every < 1:
            raise UserError(f"Staircase.every is {every}. Expected a number of epochs, 1 or more.")
        self.every = every
        self.factor = factor

    @override
    def __call__(self, epoch: float, epochs: int) -> float:
        return self.factor ** (epoch // self.every)


class Linear(Schedule):
    """`1 - (1 - end) * (epoch - warmup) / (epochs - warmup)`, after a linear warm-up from 0 to 1.

    Args:
        end: Factor at the end of the run.
        warmup: Epochs of warm-up; may be a fraction.
    """

    def __init__(self, end: float = 0.0, warmup: float = 0.0) -> None:
        self.end = end
        self.warmup = warmup

    @override
    def __call__(self, epoch: float, epochs: int) -> float:
        if epoch < self.warmup:
            return epoch / self.warmup
        done = (epoch - self.warmup) / max(epochs - self.warmup, 1e-9)
        return 1 - (1 - self.end) * min(done, 1.0)


class WarmupCosine(Schedule):
    """`(1 + cos(pi * (epoch - warmup) / (epochs - warmup))) / 2`, after a linear warm-up from 0 to 1.

    Args:
        warmup: Epochs of warm-up; may be a fraction.
    """

    def __init__(self, warmup: float = 1.0) -> None:
        self.warmup = warmup

    @override
    def __call__(self, epoch: float, epochs: int) -> float:
        if epoch < self.warmup:
            return epoch / self.warmup
        done = (epoch - self.warmup) / max(epochs - self.warmup, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
