"""The time of one image on one thread: few-bit networks on the engine, their float network in torch."""

from collections.abc import Mapping

import torch

from xnorlit.bench.figures import Figure
from xnorlit.bench.opponents.fp32 import fp32_networks
from xnorlit.bench.subject import pixels
from xnorlit.bench.turns import Call, by_turns
from xnorlit.errors import UserError
from xnorlit.export.pack import pack
from xnorlit.models.plain import plain
from xnorlit.packed import PackedNetwork
from xnorlit.runs import Run
from xnorlit.training.recorded import untrained


def one_image(runs: Mapping[str, Run], rounds: int = 15) -> dict[str, Figure]:
    """Seconds for one image on one thread, from pixels to logits, measured in turns.

    As in practice, a network with few-bit layers runs on the engine and the float twin in torch's faster memory format.
    Weights are random, because the time does not depend on them. A network without a packed form is omitted.

    Args:
        runs: Runs by the names of the times.
        rounds: Number of turns of each network.
    """
    calls: dict[str, dict[str, Call]] = {}
    for name, run in runs.items():
        try:
            calls[name] = _calls(run)
        except UserError:  # It has no packed form; the run's summary says why.
            continue
    flat = {(name, side): call for name, sides in calls.items() for side, call in sides.items()}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            turns = by_turns(flat, rounds).steady  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(before)
    figures = {name: [Figure.of(turns[name, side]) for side in sides] for name, sides in calls.items()}  # type: ignore[index]
    return {name: min(of_sides, key=lambda figure: figure.median) for name, of_sides in figures.items()}


def _calls(run: Run) -> dict[str, Call]:
    """The engine, or the float network in each memory format.

    Raises:
        UserError: The network has no packed form.
    """
    classes = run.summary.classes
    network, size = untrained(run.config, run.path / "config.yaml", classes=classes)
    images = pixels(1, size)
    planar = torch.from_numpy(images).permute(0, 3, 1, 2)
    if all(layer.binarizer.real for _, layer in network.layers()):
        return fp32_networks(plain(network), planar)
    engine = PackedNetwork(*pack(network, image_size=size, classes=[str(number) for number in range(classes)]))
    return {"": lambda: engine(images, threads=1)}
