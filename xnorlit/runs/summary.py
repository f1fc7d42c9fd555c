"""The two small JSON files of a run: its outcome (`summary.json`) and where it ran (`environment.json`)."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from xnorlit.edge.fields import FieldError, Fields, read_json


@dataclass(frozen=True)
class Images:
    """The images of a split: their number, a hash of their names and labels, and one of their files.

    `content` covers the sizes of image files, or the bytes of a .beton; it is empty for built-in sets.
    """

    samples: int
    sha256: str
    content: str


@dataclass(frozen=True)
class Summary:
    """A finished run's results. The file is written last, so a run without it is unfinished.

    Accuracies are fractions on the validation set. Times are in seconds. Sizes cover all weights, in bits:
    `packed_bits` is the packed size, and `binary_packed_bits` the part of layers with one-bit weights. `codes` holds
    the bits of weights and inputs by layer, 32 if real. `cannot_pack` says why there is no packed form, or is empty.
    `images` are those of `train` and `val`. `wandb_id` is W&B's id of the run, or None if it was not logged there. A
    field that an earlier version did not record is None.
    """

    epochs: int
    top1: float
    top5: float
    best_top1: float
    best_epoch: int
    train_seconds: float
    step_seconds: float
    parameters: int
    binary_parameters: int
    float_bits: int
    packed_bits: int
    binary_packed_bits: int | None
    codes: dict[str, tuple[int, int]] | None
    cannot_pack: str | None
    classes: int
    synthetic: bool
    images: dict[str, Images] | None
    wandb_id: str | None

    @property
    def has_codes(self) -> bool:
        """Whether some operand has few bits, so that packing makes sense."""
        if self.codes is not None:
            return any(min(bits) < 32 for bits in self.codes.values())
        return self.packed_bits < self.float_bits

    @property
    def bits_per_binary_weight(self) -> float | None:
        """Bits per packed binary weight, including its share of alpha and thresholds.

        None if there are no binary weights, or if an earlier version did not record them.
        """
        return self.binary_packed_bits / self.binary_parameters if self.binary_packed_bits else None

    @staticmethod
    def load(file: Path) -> "Summary":
        """The summary in `file`.

        Raises:
            UserError: The file is damaged, or contradicts itself.
        """
        return read_json(file, _summary, advice="Train the run again.")


def _summary(fields: Fields) -> Summary:
    status = fields.text("status")
    if status != "finished":
        raise FieldError(f"status: expected 'finished', found {status!r}")
    bits = fields.object("bits")
    summary = fields.record(
        Summary,
        top1=fields.fraction("top1"),
        top5=fields.fraction("top5"),
        best_top1=fields.fraction("best_top1"),
        parameters=fields.integer("parameters", 1),
        float_bits=bits.integer("float", 1),
        packed_bits=bits.integer("packed", 1),
        binary_packed_bits=bits.integer("binary") if bits.has("binary") else None,
        codes=_codes(fields.object("codes")) if fields.has("codes") else None,
        images=_images(fields.object("images")) if fields.has("images") else None,
        wandb_id=fields.object("wandb").text("id") if fields.has("wandb") else None,
    )
    if summary.binary_parameters > summary.parameters:
        raise FieldError(
            f"binary_parameters: expected at most {summary.parameters:,}, found {summary.binary_parameters:,}"
        )
    return summary


def _codes(fields: Fields) -> dict[str, tuple[int, int]]:
    return {name: fields.integers(name, 2) for name in fields.names()}  # type: ignore[misc]


def _images(fields: Fields) -> dict[str, Images]:
    return {split: fields.object(split).record(Images) for split in ("train", "val")}


@dataclass(frozen=True)
class Environment:
    """The machine and software that trained a run; unknown values are None or 0."""

    python: str
    platform: str
    cpu: str
    cores: int
    threads: int
    gpu: str | None
    packages: dict[str, str]
    commit: str | None
    dirty: bool
    command: str
    started: datetime
    backend: str

    @property
    def machine(self) -> tuple[str, int, int, str | None]:
        """(cpu, cores, threads, gpu): times are comparable only if these agree."""
        return self.cpu, self.cores, self.threads, self.gpu

    @staticmethod
    def load(file: Path) -> "Environment":
        """The environment in `file`.

        Raises:
            UserError: The file is damaged.
        """
        return read_json(file, _environment, advice="Train the run again.")


def _environment(fields: Fields) -> Environment:
    packages = fields.object("packages")
    git = fields.object("git") if fields.has("git") else None
    return fields.record(
        Environment,
        packages={name: packages.text(name) for name in packages.names()},
        # Earlier versions recorded `python -m xnorlit` by the file that it runs.
        command=re.sub(r"^__main__\.py ", "xnorlit ", fields.text("command")),
        commit=git.optional_text("commit") if git else None,
        dirty=git.flag("dirty") if git and git.has("dirty") else False,
    )
