"""The trained networks that come with xnorlit: packed files in `xnorlit/zoo/`, each with a card."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from xnorlit.edge.fields import Fields, read_json
from xnorlit.edge.names import is_file
from xnorlit.errors import UserError, did_you_mean

FOLDER = Path(__file__).parents[1] / "zoo"
_AGAIN = "Install xnorlit again."


@dataclass(frozen=True)
class Card:
    """A trained network's origin and measured accuracy; written by `xnorlit zoo RUN`.

    Attributes:
        network: Name of the architecture.
        method: The binarizer, with the bits of weights and inputs.
        image_size: Side of its images, pixels.
        data: Name of the image set.
        train_images: Number of training images.
        val_images: Number of images for measuring; none was used for training or for selection.
        listing_sha256: Hash of the names and labels of those images.
        licence: Licence of the images.
        recipe: Recipe and arm.
        remark: The recipe's remark about the arm, for example that it starts from another arm's weights.
        command: Command that trains it again.
        commit: Git commit of the code that trained it.
        changed: Whether that code had uncommitted changes.
        epochs: Number of training epochs.
        train_seconds: Duration of the training in seconds.
        trained_on: Processor and threads.
        seeds: Top-1 in percent of each finished seed of the arm, from training's own evaluation.
        seed: The packed seed, the lowest of these.
        twin: Top-1 in percent of the float twin of that seed, if there is one.
        top1: Top-1 in percent of the packed network on its engine.
        top5: Top-5, likewise.
        interval: Wilson's 95 % interval of top1, over other images.
        differ: Number of images whose five likeliest classes differ from training's evaluation.
        ends: First and last layer in fp32 or in 8 bits.
        bytes: Size of the file.
        float_bytes: Size of the same parameters in fp32.
        sha256: Hash of the file.
        milliseconds: Median time for one picture on one thread, without reading it.
        load_milliseconds: Median time for loading the file.
        measured_on: Processor, kernels, and how busy the machine was.
        limits: What the network is unsuitable for.
        top1_of_files: Top-1 in percent on the same images as `xnorlit classify` reads their files; None if they are not
            in files. Training may read smaller copies.
    """

    network: str
    method: str
    image_size: int
    data: str
    train_images: int
    val_images: int
    listing_sha256: str
    licence: str
    recipe: str
    remark: str
    command: str
    commit: str
    changed: bool
    epochs: int
    train_seconds: float
    trained_on: str
    seeds: dict[str, float]
    seed: int
    twin: float | None
    top1: float
    top5: float
    interval: tuple[float, float]
    differ: int
    ends: str
    bytes: int
    float_bytes: int
    sha256: str
    milliseconds: float
    load_milliseconds: float
    measured_on: str
    limits: tuple[str, ...]
    top1_of_files: float | None = None

    @property
    def line(self) -> str:
        """The card in one line."""
        return (
            f"{self.network}, {self.method}: {self.top1:.2f} % top-1 [{self.interval[0]:.2f}, {self.interval[1]:.2f}] "
            f"of {self.val_images:,} images of {self.data}, {self.image_size} pixels; {self.bytes / 1e6:.2f} MB"
        )


def list_trained() -> list[str]:
    """Names of the trained networks that come with xnorlit, sorted; `xnorlit.load` takes each.

    A network without a card is not listed.

    Examples:
        >>> import xnorlit as xl
        >>> for name in xl.list_trained():
        ...     network = xl.load(name)
    """
    return sorted(_stems(".safetensors") & _stems(".json"))


def _stems(suffix: str) -> set[str]:
    return {file.stem for file in FOLDER.glob(f"*{suffix}")}


def card(name: str) -> Card:
    """The card of a trained network.

    Args:
        name: One of `list_trained`.

    Raises:
        UserError: There is no such network, or its card is damaged.
    """
    _known(name)
    return read_json(FOLDER / f"{name}.json", _card, advice=_AGAIN)


def located(file: Path | str) -> Path:
    """The file of a packed network, from its path or from the name of a trained network.

    An existing file takes precedence over a trained network of the same name; a folder does not.

    Args:
        file: A path, or one of `list_trained`.

    Raises:
        UserError: There is neither a file nor a trained network of that name, or the trained network's file is damaged.
    """
    path = Path(file)
    named = str(path) == path.name and (path.name in list_trained() or not path.suffix)
    if is_file(path) or not named:
        return path
    _known(path.name)
    found = FOLDER / f"{path.name}.safetensors"
    stated = card(path.name)
    if hashlib.sha256(found.read_bytes()).hexdigest() != stated.sha256:
        raise UserError(f"the trained network {path.name} is damaged: {found} does not match its card. {_AGAIN}")
    return found


def _known(name: str) -> None:
    if name not in _stems(".safetensors"):
        known = list_trained()
        raise UserError(
            f"there is no file {name} and no trained network of that name.{did_you_mean(name, known)} "
            f"Trained networks: {', '.join(known) or 'none'}."
        )


def _card(fields: Fields) -> Card:
    seeds = fields.object("seeds")
    found = fields.record(
        Card,
        image_size=fields.integer("image_size", 1),
        train_images=fields.integer("train_images", 1),
        val_images=fields.integer("val_images", 1),
        seeds={seed: seeds.number(seed, 0, 100) for seed in seeds.names()},
        twin=fields.number("twin", 0, 100) if fields.has("twin") else fields.take("twin"),
        top1=fields.number("top1", 0, 100),
        top5=fields.number("top5", 0, 100),
        interval=fields.numbers("interval", 2, 0, 100),
        ends=fields.choice("ends", ("float", "int8")),
        bytes=fields.integer("bytes", 1),
        float_bytes=fields.integer("float_bytes", 1),
        limits=fields.texts("limits"),
        top1_of_files=fields.number("top1_of_files", 0, 100) if fields.has("top1_of_files") else None,
    )
    fields.done()
    return found
