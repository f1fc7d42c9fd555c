"""Time taken by turns: whatever else the machine does falls on every side alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any

Call = Callable[[], Any]
Samples = dict[str, list[float]]

# A turn of a quick call is this long, so that the clock's and the first call's share is small.
TURN_SECONDS = 2e-3
# A call this long need not be run once unmeasured at the beginning of its turn.
LONG = 2e-2
# The threads of OpenMP and of onnxruntime go on spinning for milliseconds after a call: a turn waits until the side
# before it is silent. With one thread there is nobody to wait for.
SETTLE_SECONDS = 2e-2


def by_turns(calls: Mapping[str, Call], rounds: int, *, settle: bool = False) -> Samples:
    """Seconds of one call of each side in each round; the order rotates from round to round.

    A turn repeats a quick call until `TURN_SECONDS` are over and divides; the first call of a turn, which finds the
    caches full of the other sides' data, is left out. So every side is measured as it runs by itself.

    Args:
        calls: The sides by name.
        rounds: Rounds, each a turn of every side.
        settle: Whether other threads may still spin when a turn begins.
    """
    names = list(calls)
    repeats = {name: _repeats(calls[name]) for name in names}
    seconds: Samples = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if settle:
                time.sleep(SETTLE_SECONDS)
            seconds[name].append(_turn(calls[name], repeats[name]))
    return seconds


def _repeats(call: Call) -> int:
    """Calls in a turn; 0 for one without an unmeasured call before it."""
    call()
    took = _turn(call, 0)
    return 0 if took > LONG else max(1, round(TURN_SECONDS / max(took, 1e-9)))


def _turn(call: Call, repeats: int) -> float:
    if repeats:
        call()
    start = time.perf_counter()
    for _ in range(max(1, repeats)):
        call()
    return (time.perf_counter() - start) / max(1, repeats)
