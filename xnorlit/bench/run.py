"""A complete bench: the subject, all measurements, the document."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from xnorlit.bench.cold_start import measure_cold_start
from xnorlit.bench.document import document
from xnorlit.bench.layers import measure_layers
from xnorlit.bench.limits import measure_limits
from xnorlit.bench.machine import busiest, load_average, machine, processor_seconds
from xnorlit.bench.measured import Measured
from xnorlit.bench.memory import measure_memory
from xnorlit.bench.network import measure_network
from xnorlit.bench.settings import Settings
from xnorlit.bench.subject import Subject, of_file, of_random_weights
from xnorlit.edge.console import parts, say
from xnorlit.runs.place import is_aside

DEFAULT_NETWORK = "alexnet-xnor"
SPINS_PER_ROUND = 20
COLD_ROUNDS = 9


def measure(
    *,
    file: Path | None,
    network: str | None,
    root: Path,
    batches: Sequence[int],
    threads: Sequence[int],
    rounds: int,
    quick: bool = False,
) -> dict[str, Any]:
    """Measures, and returns the document; restores torch's settings.

    Args:
        file: A packed network; None for the newest under `root`.
        network: Random weights of this network, whatever `root` contains.
        root: Folder of runs.
        batches: Batch sizes.
        threads: Numbers of threads.
        rounds: Number of turns of each side.
        quick: Whether to omit the slow parts.

    Raises:
        UserError: The file is not a packed network, or there is no network of that name.
    """
    where, settings = machine(), Settings.of(batches, threads, rounds, quick=quick)
    busy, threads_before = [load_average() or 0.0], torch.get_num_threads()
    computed, started = processor_seconds(), time.monotonic()
    subject = _subject(file, network, root)
    say("subject", f"{subject.graph.network}, {subject.weights}")
    try:
        with torch.no_grad(), parts(_number_of_parts(subject, settings), "bench") as done:
            done("limits of the machine")
            limits = measure_limits(list(settings.isas), (SPINS_PER_ROUND if not quick else 1) * rounds)
            rows = [*measure_layers(subject, settings, done), *measure_network(subject, settings, done)]
            done("memory")
            memory = measure_memory(subject, settings.isas[0])
            done("cold start")
            measured = Measured(limits, rows, memory, measure_cold_start(subject, min(rounds, COLD_ROUNDS)))
    finally:
        torch.set_num_threads(threads_before)
    busy.append(load_average() or 0.0)
    others = busiest(computed, processor_seconds(), time.monotonic() - started)
    where |= {"load_average": busy, "threads": list(settings.threads), "others": others}
    return document(subject, measured, where, list(settings.isas))


def _subject(file: Path | None, network: str | None, root: Path) -> Subject:
    if file is None and network is None:
        file = _newest_packed(root)
    return of_random_weights(network or DEFAULT_NETWORK) if file is None else of_file(file)


def _newest_packed(root: Path) -> Path | None:
    found = (file for file in root.glob("*/*/*/seed-*/packed*.safetensors") if not is_aside(file))
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _number_of_parts(subject: Subject, settings: Settings) -> int:
    """The rows of layers and of the network, and the limits, memory and cold start."""
    return (len(list(subject.binary_layers())) + 1) * len(settings.batches) * len(settings.threads) + 3
