"""The trained networks that come with xnorlit: packed files in `xnorlit/zoo/`, each with a card."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from xnorlit.edge.fields import Fields, read_json
from xnorlit.errors import UserError, did_you_mean

FOLDER = Path(__file__).parents[1] / "zoo"
_AGAIN = "Install xnorlit again."


@dataclass(frozen=True)
class Card:
    """What a trained network is, where it comes from, and what it reached; written by `xnorlit zoo RUN`.

    Attributes:
        network: Name of the architecture.
        method: The binarizer, with the bits of weights and inputs.
        image_size: Side of its pictures, pixels.
        data: Name of the image set.
        train_images: How many it was trained on.
        val_images: How many it was measured on; they were in no training and chose nothing.
        listing_sha256: Hash of their names and labels.
        licence: Of the images.
        recipe: Recipe and arm.
        remark: What the recipe says about the arm, such as that it begins from another one's weights.
        command: Trains it again.
        commit: Git commit of the code that trained it.
        changed: Whether that code had uncommitted changes.
        epochs: Of training.
        train_seconds: Of training.
        trained_on: Processor and threads.
        seeds: Top-1 in percent of each finished seed of the arm, by seed: training's own evaluation.
        seed: The one that is packed; the lowest, whatever it reached.
        twin: Top-1 in percent of the float twin of that seed; None without one.
        top1: In percent, of the packed network on its engine.
        top5: Likewise.
        interval: Wilson's 95 % interval of top1 over other images.
        differ: Of how many images the five likeliest differ from training's evaluation.
        ends: First and last layer in fp32 or in 8 bits.
        bytes: Of the file.
        float_bytes: Of the same parameters in fp32.
        sha256: Of the file.
        milliseconds: One picture on one thread, without reading it: median.
        load_milliseconds: From the file to a network: median.
        measured_on: Processor, kernels, and how busy it was.
        limits: What it is not good for.
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

    @property
    def line(self) -> str:
        """The card in one line."""
        return (
            f"{self.network}, {self.method}: {self.top1:.2f} % top-1 [{self.interval[0]:.2f}, {self.interval[1]:.2f}] "
            f"of {self.val_images:,} images of {self.data}, {self.image_size} pixels; {self.bytes / 1e6:.2f} MB"
        )


def list_trained() -> list[str]:
    """Names of the trained networks that come with xnorlit, sorted; `xnorlit.load` takes each.

    Examples:
        >>> import xnorlit as xl
        >>> for name in xl.list_trained():
        ...     network = xl.load(name)
    """
    return sorted(file.stem for file in FOLDER.glob("*.safetensors"))


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
    """The file of a packed network that is given by its path, or by the name of a trained one.

    A file that exists is meant before a trained network of that name.

    Args:
        file: A path, or one of `list_trained`.

    Raises:
        UserError: It looks like a name, and there is neither a file nor a trained network of that name; or the file
            that came with xnorlit is damaged.
    """
    path = Path(file)
    if path.exists() or path.suffix or str(path) != path.name:
        return path
    _known(path.name)
    found = FOLDER / f"{path.name}.safetensors"
    stated = card(path.name)
    if hashlib.sha256(found.read_bytes()).hexdigest() != stated.sha256:
        raise UserError(f"the trained network {path.name} is damaged: {found} is not the file of its card. {_AGAIN}")
    return found


def _known(name: str) -> None:
    known = list_trained()
    if name not in known:
        raise UserError(
            f"there is no file {name}, and no trained network of that name.{did_you_mean(name, known)} "
            f"Trained networks: {', '.join(known) or 'none'}."
        )


def _card(fields: Fields) -> Card:
    seeds = fields.object("seeds")
    found = Card(
        network=fields.text("network"),
        method=fields.text("method"),
        image_size=fields.integer("image_size", 1),
        data=fields.text("data"),
        train_images=fields.integer("train_images", 1),
        val_images=fields.integer("val_images", 1),
        listing_sha256=fields.text("listing_sha256"),
        licence=fields.text("licence"),
        recipe=fields.text("recipe"),
        remark=fields.text("remark"),
        command=fields.text("command"),
        commit=fields.text("commit"),
        changed=fields.flag("changed"),
        epochs=fields.integer("epochs"),
        train_seconds=fields.number("train_seconds", 0),
        trained_on=fields.text("trained_on"),
        seeds={seed: seeds.number(seed, 0, 100) for seed in seeds.names()},
        seed=fields.integer("seed"),
        twin=fields.number("twin", 0, 100) if fields.has("twin") else fields.take("twin"),
        top1=fields.number("top1", 0, 100),
        top5=fields.number("top5", 0, 100),
        interval=fields.numbers("interval", 2, 0, 100),  # type: ignore[arg-type]
        differ=fields.integer("differ"),
        ends=fields.choice("ends", ("float", "int8")),
        bytes=fields.integer("bytes", 1),
        float_bytes=fields.integer("float_bytes", 1),
        sha256=fields.text("sha256"),
        milliseconds=fields.number("milliseconds", 0),
        load_milliseconds=fields.number("load_milliseconds", 0),
        measured_on=fields.text("measured_on"),
        limits=fields.texts("limits"),
    )
    fields.done()
    return found
