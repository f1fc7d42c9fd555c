"""The command `xnorlit zoo`: list the trained networks, or add one from a run."""

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from xnorlit.commands.arguments import goes_with
from xnorlit.commands.classify import Failure, classified
from xnorlit.commands.pack import answers_of_module
from xnorlit.comparison.statistics import wilson_interval
from xnorlit.data import ImageData
from xnorlit.data.sources import NAMED
from xnorlit.edge.console import progress, say
from xnorlit.edge.names import printable
from xnorlit.edge.processes import cores
from xnorlit.errors import UserError
from xnorlit.export.cards import machine, publish, sha256, times
from xnorlit.export.measure import answers
from xnorlit.export.pack import Packed, write
from xnorlit.export.rebuild import Ends, Rebuilt, packed_of, rebuild
from xnorlit.export.validation import on_engine
from xnorlit.packed.engine import PackedNetwork
from xnorlit.packed.trained import FOLDER, Card, card, list_trained
from xnorlit.runs import Run, read
from xnorlit.runs.lock import state_of
from xnorlit.runs.place import Place, is_aside, recipe_and_images
from xnorlit.runs.recipes import TWIN, Recipe
from xnorlit.runs.settings import config_files, values
from xnorlit.training.environment import processor

_PLAIN = {"--seed", "--seed_everything", "--data", "--data.source", "--data.root", "--experiment", "--experiments"}
_PLAIN |= {f"--run.{key}" for key in ("root", "experiment", "pair", "resume", "fresh", "wandb", "checkpoint_minutes")}
"""Options that a card states by itself, or that change nothing of what is learned."""

LARGEST = 4_000_000
"""Largest file whose first and last layer stay in fp32, bytes."""


def zoo(
    run: Path | None = None,
    *,
    name: str | None = None,
    ends: Ends | None = None,
    licence: str | None = None,
    into: Path | None = None,
) -> None:
    """List the trained networks that come with xnorlit, or add one from a run: pack it, measure it, write its card.

    Args:
        run: Folder of a finished run of a binary arm (default: list the networks).
        name: Name of the network (default: experiment and arm).
        ends: First and last layer in fp32 or in 8 bits (default: fp32 if the file is under 4 MB).
        licence: Licence of the images (default: that of the named set, if known).
        into: Folder of trained networks (default: xnorlit/zoo of the package).

    Raises:
        UserError: The run has not finished, another run of its arm has a lower seed, or its network cannot be packed.
    """
    goes_with("RUN, from which a network is made", run, name=name, ends=ends, licence=licence, into=into)
    if run is None:
        names = list_trained()
        wide = max(map(len, names), default=0)
        sys.stdout.writelines(f"{each:<{wide}}  {printable(card(each).line)}\n" for each in names)
        return
    if name and name != Path(name).name:
        raise UserError(f"--name is {name}. Expected a name without folders; --into gives the folder.")
    chosen = read(run)
    experiment, siblings = _experiment(chosen), _siblings(chosen)
    _refuse_picked(chosen, siblings[chosen.place.arm])
    licence = licence or (NAMED[experiment].licence if experiment in NAMED else None)
    if not licence:
        raise UserError(f"the licence of the images of {chosen.place.experiment} is unknown. Give it: --licence TEXT.")
    _make(chosen, siblings, name or f"{experiment}-{chosen.place.arm}", ends, licence, into or FOLDER)


def _experiment(run: Run) -> str:
    """The run's experiment without the name of its images."""
    return recipe_and_images(run.place.experiment)[0]


def _refuse_picked(run: Run, of_arm: Sequence[Run]) -> None:
    """A card packs the lowest seed, so that nobody picks a network by its accuracy."""
    lowest = next(iter(of_arm), run)  # A copied run has no siblings.
    if lowest.place.seed != run.place.seed:
        raise UserError(
            f"{run.path} has seed {run.place.seed}, but seed {lowest.place.seed} of the same arm has finished too. A "
            f"card packs the lowest seed, so that nothing is picked by its accuracy: give {lowest.path}."
        )


def _make(
    run: Run, siblings: Mapping[str, Sequence[Run]], name: str, ends: Ends | None, licence: str, into: Path
) -> None:
    rebuilt = rebuild(run, run.checkpoint("last"))
    packed, chosen = _fitting(run, rebuilt, ends)
    engine = PackedNetwork(*packed)
    found = answers(partial(on_engine, engine), rebuilt.data, "accuracy on the engine")
    on_files = _top1_of_files(engine, rebuilt.data)
    module, _ = answers_of_module(run, rebuilt)
    accuracy = found.accuracy(rebuilt.data)
    interval = wilson_interval(round(accuracy.top1 * accuracy.images), accuracy.images)
    environment, recipe = run.environment, _recipe(run)
    threads = f"{environment.threads} thread{'s' if environment.threads > 1 else ''}"
    where = f"{environment.gpu or environment.cpu}, {environment.cores} cores, {threads}"
    classes = ", ".join(packed.graph.classes)
    trained = rebuilt.data.count("train")
    with TemporaryDirectory() as scratch:  # Measured before anything is in the folder of trained networks.
        file = Path(scratch) / f"{name}.safetensors"
        write(file, replace(packed.graph, accuracy=accuracy), packed.tensors)
        milliseconds, load_milliseconds = times(file)
        card = Card(
            network=packed.graph.network,
            method=_method(run),
            image_size=packed.graph.image_size,
            data=accuracy.data,
            train_images=trained,
            val_images=accuracy.images,
            listing_sha256=accuracy.listing_sha256,
            licence=licence,
            recipe=f"experiments/{recipe.name}/{run.place.arm}.yaml" if recipe else "the settings of that command",
            remark=recipe.remark(run.place.arm) if recipe else "",
            command=_command(run, recipe),
            commit=environment.commit or "",
            changed=environment.dirty,
            epochs=run.summary.epochs,
            train_seconds=round(run.summary.train_seconds, 1),
            trained_on=where,
            seeds={str(each.place.seed): _percent(each.summary.top1) for each in siblings[run.place.arm]},
            seed=run.place.seed,
            twin=next((_percent(r.summary.top1) for r in siblings[TWIN] if r.place.seed == run.place.seed), None),
            top1=_percent(accuracy.top1),
            top5=_percent(accuracy.top5),
            interval=(_percent(interval.low), _percent(interval.high)),
            differ=int((found.top5 != module.top5).any(axis=1).sum()),
            ends=chosen,
            bytes=file.stat().st_size,
            float_bytes=run.summary.float_bits // 8,
            sha256=sha256(file),
            milliseconds=milliseconds,
            load_milliseconds=load_milliseconds,
            measured_on=machine(processor(), engine.isa),
            limits=(
                f"It knows {len(packed.graph.classes)} classes ({classes}). It assigns one of them to any other "
                "picture too, often with a high probability.",
                f"A picture is cropped to its central square and resized to {packed.graph.image_size} pixels a side.",
                f"{trained:,} training images from one collection are few: expect lower accuracy on other photographs.",
                "It demonstrates the method. It was not tested for uses in which an error matters.",
            ),
            top1_of_files=None if on_files is None else _percent(on_files),
        )
        publish(file, card, name, into)
    file = into / file.name
    say("done", f"{file}: {packed}\n{file.with_suffix('.md')}\ntop-1 {100 * accuracy.top1:.2f} %")


def _fitting(run: Run, rebuilt: Rebuilt, ends: Ends | None) -> tuple[Packed, Ends]:
    if ends:
        return packed_of(run, rebuilt, ends), ends
    packed = packed_of(run, rebuilt, "float")
    return (packed, "float") if packed.bytes <= LARGEST else (packed_of(run, rebuilt, "int8"), "int8")


def _top1_of_files(network: PackedNetwork, data: ImageData) -> float | None:
    """Share of the validation images that `xnorlit classify` gets right from their files; None if there are none.

    Training may read smaller copies, decoded by another library.

    Raises:
        UserError: A file cannot be classified.
    """
    files = data.files("val")
    if files is None:
        return None
    labels = files.listing.labels
    found = classified(network, [files.path(index) for index in range(len(labels))], 1, cores())
    right = 0
    for answer, label in zip(progress(found, len(labels), "pack", "accuracy on the files"), labels, strict=True):
        if isinstance(answer, Failure):
            raise UserError(f"{answer.picture} cannot be classified: {answer.reason}.")
        right += int(answer.top[0] == label)
    return right / len(labels)


def _siblings(run: Run) -> dict[str, list[Run]]:
    """The finished runs of the run's arm and of the float twin in the same pair, by seed; none of a copied run."""
    found, place = {}, Place.of(run.path)
    for arm in (run.place.arm, TWIN):
        folders = (place.pair_path / arm).glob("seed-*") if place else ()
        runs = [read(folder) for folder in folders if state_of(folder) == "finished" and not is_aside(folder)]
        found[arm] = sorted(runs, key=lambda each: each.place.seed)
    return found


def _method(run: Run) -> str:
    """`BiReal, 1-bit weights and 1-bit inputs`: what most of its few-bit layers have."""
    method = str(run.config["model"]["binarizer"]["class_path"]).rpartition(".")[2]
    codes = Counter(bits for bits in (run.summary.codes or {}).values() if min(bits) < 32)
    if not codes:
        return method
    weights, inputs = codes.most_common(1)[0][0]
    return (
        f"{method}, {weights}-bit weights and {inputs}-bit inputs"
        if inputs < 32
        else f"{method}, {weights}-bit weights"
    )


def _recipe(run: Run) -> Recipe | None:
    """The recipe that has the run's arm. A variant such as base-224.yaml names an experiment that is none."""
    try:
        recipe = Recipe.find(_experiment(run))
        recipe.overlay(run.place.arm)
    except UserError:
        return None
    return recipe


def _command(run: Run, recipe: Recipe | None) -> str:
    """The command that trains the run again, with DIR for a folder of images.

    The short form if the recipe and the arm determine everything that the run's own command sets, otherwise that one.
    """
    source = "DIR" if recipe_and_images(run.place.experiment)[1] else run.config["data"]["source"]
    words = shlex.split(run.environment.command)
    if recipe and _determined(words, recipe, run.place.arm):
        return f"xnorlit train {run.place.arm} --experiment {recipe.name} --data {source} --seed {run.place.seed}"
    for index, option, _ in values(words, ("--data", "--data.source")):
        words[index] = f"{option}{source}"
    return shlex.join(words)


def _determined(words: Sequence[str], recipe: Recipe, arm: str) -> bool:
    """Whether a recipe, an arm and what a card states by itself determine all arguments of `train` or `fit`."""
    options = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--config"}
    files = {file.parts[-2:] for file in config_files(words)}
    return options <= _PLAIN and files <= {file.parts[-2:] for file in (recipe.base, recipe.overlays[arm])}


def _percent(share: float) -> float:
    return round(100 * share, 2)
