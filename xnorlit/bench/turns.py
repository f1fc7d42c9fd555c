"""Time taken by turns: whatever else the machine does falls on every side alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Call = Callable[[], Any]
Samples = dict[str, list[float]]


class Turns(NamedTuple):
    """Seconds of one call, one per round, by side.

    Attributes:
        steady: As the side runs by itself, again and again.
        first: Of the first call of each turn, which finds the caches full of the other sides' data and threads asleep.
    """

    steady: Samples
    first: Samples


# A turn of a quick call is this long, so that the clock's and the first call's share is small.
TURN_SECONDS = 2e-3
# The first call of a turn is not slower than others, in proportion, where calls are this long.
LONG = 2e-2
# The threads of OpenMP and of onnxruntime go on spinning for milliseconds after a call: a turn waits until the side
# before it is silent. With one thread there is nobody to wait for.
SETTLE_SECONDS = 2e-2


def by_turns(calls: Mapping[str, Call], rounds: int, *, settle: bool = False) -> Turns:
    """Seconds of one call of each side in each round; the order rotates from round to round.

    A turn repeats a quick call for twice `TURN_SECONDS` and divides the second half by its calls; the very first call
    is kept apart. The only call of a long one is both.

    Args:
        calls: The sides by name.
        rounds: Rounds, each a turn of every side.
        settle: Whether other threads may still spin when a turn begins.
    """
    names = list(calls)
    repeats = {name: _repeats(calls[name]) for name in names}
    turns = Turns({name: [] for name in names}, {name: [] for name in names})
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if settle:
                time.sleep(SETTLE_SECONDS)
            first_call, steady = _turn(calls[name], repeats[name])
            turns.first[name].append(first_call)
            turns.steady[name].append(steady)
    return turns


def _repeats(call: Call) -> int:
    """Calls in a turn that are measured, behind as many that are not; 0 for a long call."""
    call()
    took, _ = _turn(call, 0)
    return 0 if took > LONG else max(1, round(TURN_SECONDS / max(took, 1e-9)))


def _turn(call: Call, repeats: int) -> tuple[float, float]:
    """Seconds of the first call, and of one of the second half of those behind it."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    for _ in range(repeats):  # until threads are awake and where they belong
        call()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return first, (time.perf_counter() - start) / repeats if repeats else first
