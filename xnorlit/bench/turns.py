"""Timing in turns, so that other load on the machine affects every side equally."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Call = Callable[[], Any]
Samples = dict[str, list[float]]


class Turns(NamedTuple):
    """Seconds of one call, one per round, by side.

    Attributes:
        steady: When the side runs repeatedly.
        first: The first call of each turn, which finds other data in the caches and sleeping threads.
    """

    steady: Samples
    first: Samples


# Length of a turn of a quick call, long enough for the clock and the first call to hardly matter.
TURN_SECONDS = 2e-3
# Calls this long are hardly slower in the first call of a turn.
LONG = 2e-2
# The threads of OpenMP and onnxruntime keep spinning for milliseconds after a call, so a turn waits until they stop.
# With one thread there is nothing to wait for.
SETTLE_SECONDS = 2e-2


def by_turns(calls: Mapping[str, Call], rounds: int, *, settle: bool = False) -> Turns:
    """Seconds of one call of each side in each round; the order rotates from round to round.

    A turn repeats a quick call for twice `TURN_SECONDS` and averages over the second half; the first call is recorded
    separately. A long call runs once and counts as both.

    Args:
        calls: The sides by name.
        rounds: Rounds, each a turn of every side.
        settle: Whether other threads may still be spinning when a turn starts.
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
    """Number of measured calls in a turn, after as many unmeasured ones; 0 for a long call."""
    call()
    took, _ = _turn(call, 0)
    return 0 if took > LONG else max(1, round(TURN_SECONDS / max(took, 1e-9)))


def _turn(call: Call, repeats: int) -> tuple[float, float]:
    """Seconds of the first call, and of a call in the second half of the rest."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    for _ in range(repeats):  # until the threads are awake and on their processors
        call()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return first, (time.perf_counter() - start) / repeats if repeats else first
