"""The command `xnorlit pack`: pack a run into one file, and measure the file's accuracy."""

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path

from xnorlit.commands.arguments import goes_with
from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.export.measure import Answers, answers
from xnorlit.export.pack import write
from xnorlit.export.random_weights import random_network
from xnorlit.export.rebuild import Ends, Rebuilt, packed_of, rebuild
from xnorlit.export.validation import on_engine
from xnorlit.packed.engine import PackedNetwork
from xnorlit.packed.graph import Graph
from xnorlit.runs import Run, find, newest, read


def pack(
    run: Path | None = None,
    *,
    out: Path | None = None,
    checkpoint: str | None = None,
    ends: Ends = "float",
    root: Path = Path("runs"),
    random_weights: bool = False,
    or_random_weights: bool = False,
    network: str | None = None,
) -> None:
    """Pack a trained network into bits: one file that `xnorlit classify` runs without torch.

    The packed network is evaluated on the run's validation images. The file records its accuracy and its origin.

    Args:
        run: Folder of a finished run (default: the newest one with binary layers).
        out: Output file (default: RUN/packed.safetensors or RUN/packed-int8.safetensors).
        checkpoint: last, best, or a file of the run (default: last, whose accuracy the run reports).
        ends: First and last layer in fp32, or in 8 bits (smaller, but not exact).
        root: Folder to search for the newest run.
        random_weights: Pack a network with random weights instead of a run, to measure speed and size.
        or_random_weights: Do so only if there is no finished run with binary layers.
        network: Name of the network with random weights (default: alexnet-xnor).

    Raises:
        UserError: There is nothing to pack, or it cannot be packed.
    """
    if random_weights and run is not None:
        raise UserError(f"RUN ({run}) and --random-weights were both given. Expected one of them.")
    goes_with("--random-weights or --or-random-weights", random_weights or or_random_weights, network=network)
    goes_with("a run; --random-weights has none", not random_weights, checkpoint=checkpoint)
    if random_weights or (or_random_weights and run is None and not _has_binary_run(root)):
        if not random_weights:
            say("pack", f"{root} has no finished run with binary layers")
        network = network or "alexnet-xnor"
        _pack_random(network, ends, out or root / "random-weights" / f"{network}{_suffix(ends)}.safetensors")
        return
    chosen = newest(root, with_codes=True) if run is None else read(run)
    if not chosen.summary.has_codes:
        raise UserError(
            f"{chosen.path} has no binary layer, so there is nothing to pack into bits. Give a run of a binary arm "
            "(xnorlit train xnor)."
        )
    file = out or chosen.path / f"packed{_suffix(ends)}.safetensors"
    _pack_run(chosen, checkpoint or "last", ends, file, given=run is not None)


def _pack_run(run: Run, which: str, ends: Ends, out: Path, *, given: bool) -> None:
    file = run.checkpoint(which)
    say(
        "pack", f"{run.path}{'' if given else ', the newest finished run with binary layers'}: {file.name}, {ends} ends"
    )
    rebuilt = rebuild(run, file)
    packed = packed_of(run, rebuilt, ends)
    engine = PackedNetwork(*packed)
    found = answers(partial(on_engine, engine), rebuilt.data, "accuracy on the engine")
    packed = packed._replace(graph=replace(packed.graph, accuracy=found.accuracy(rebuilt.data)))
    write(out, *packed)
    say("done", f"{out}: {packed}\n{_accuracy(packed.graph, engine)}")
    if ends == "int8":
        exact = PackedNetwork(*packed_of(run, rebuilt, "float"))
        float_ends = answers(partial(on_engine, exact), rebuilt.data, "accuracy with float ends")
        say("", difference(found, float_ends, "with float ends"))
    module, name = answers_of_module(run, rebuilt)
    say("", difference(found, module, name))
    _say_next(out)


def answers_of_module(run: Run, rebuilt: Rebuilt) -> tuple[Answers, str]:
    """The predictions of the torch module, and their description. Stored ones serve if weights and images are the same.

    Args:
        run: The run.
        rebuilt: The run's network and data.
    """
    stored, data = run.predictions, rebuilt.data
    whole = stored.listing_sha256 == data.listing_hash("val") and len(stored.label) == data.count("val")
    if rebuilt.epochs == run.summary.epochs and whole:
        return Answers(stored.label, stored.top5), "training's own evaluation"
    name = f"the module's evaluation of epoch {rebuilt.epochs}, in torch"
    return answers(rebuilt.network, rebuilt.data, "accuracy in torch"), name


def _pack_random(network: str, ends: Ends, out: Path) -> None:
    say("pack", f"RANDOM WEIGHTS: {network} is untrained. Use the file only to measure speed and size.")
    packed = random_network(network, ends)
    write(out, *packed)
    say("done", f"{out}: {packed}\nRANDOM WEIGHTS: its answers mean nothing")
    _say_next(out)


def _has_binary_run(root: Path) -> bool:
    return root.is_dir() and any(isinstance(run, Run) and run.summary.has_codes for run in find(root))


def _suffix(ends: Ends) -> str:
    return "" if ends == "float" else f"-{ends}"


def _accuracy(graph: Graph, engine: PackedNetwork) -> str:
    assert graph.accuracy is not None
    found = graph.accuracy
    return (
        f"top-1 {100 * found.top1:.2f} %, top-5 {100 * found.top5:.2f} % of {found.images:,} validation images, "
        f"measured on the packed network ({engine.isa})"
    )


def difference(ours: Answers, theirs: Answers, name: str) -> str:
    """One line: the accuracy of `theirs`, and the number of images whose five likeliest classes differ.

    Args:
        ours: Answers for some images.
        theirs: Other answers for the same images.
        name: Name of the other answers.
    """
    differ = int((ours.top5 != theirs.top5).any(axis=1).sum())
    points = 100 * (ours.share(1) - theirs.share(1))
    return (
        f"top-1 {100 * theirs.share(1):.2f} %, top-5 {100 * theirs.share(5):.2f} %: {name} ({points:+.2f} points); "
        f"the five likeliest, in order, differ for {differ:,} of {len(ours.labels):,} images"
    )


def _say_next(file: Path) -> None:
    given = shlex.quote(str(file))
    say("next", f"xnorlit classify {given} PHOTO.jpg\nxnorlit bench {given}")
