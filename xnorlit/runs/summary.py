"""The two small JSON files of a run: what came out (`summary.json`) and where it ran (`environment.json`)."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from xnorlit.errors import UserError
from xnorlit.runs.document import Document


@dataclass(frozen=True)
class Summary:
    """What a finished run reports about itself; the file is written last, so a run without it is unfinished.

    Accuracies are fractions on the validation set; times are in seconds; sizes are of all weights, in bits:
    `packed_bits` as a packed file holds them, `binary_packed_bits` the layers with one-bit weights in it. `codes` are
    the bits of weights and inputs by layer, 32 for real ones; `cannot_pack` is why there is no packed file, or empty.
    `wandb_id` is W&B's id of the run, None where it was not logged there.
    What a run of an earlier version did not record is None.
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
    wandb_id: str | None

    @property
    def has_codes(self) -> bool:
        """Whether some operand has few bits, so that there is something to pack; a float network has none."""
        if self.codes is not None:
            return any(min(bits) < 32 for bits in self.codes.values())
        return self.packed_bits < self.float_bits

    @property
    def bits_per_binary_weight(self) -> float | None:
        """Bits that a binary weight takes when packed, its share of alpha and thresholds included.

        None where there is none, or where the run was recorded before this was counted.
        """
        return self.binary_packed_bits / self.binary_parameters if self.binary_packed_bits else None

    @staticmethod
    def load(file: Path) -> "Summary":
        """The summary in `file`.

        Raises:
            UserError: The file is damaged, or contradicts itself.
        """
        document = Document.load(file)
        status = document.text("status")
        if status != "finished":
            raise UserError(
                f"{file}: status is {status!r}, but 'finished' was expected. Resume or train the run again."
            )
        bits = document.inside("bits")
        summary = Summary(
            epochs=document.count("epochs"),
            top1=document.fraction("top1"),
            top5=document.fraction("top5"),
            best_top1=document.fraction("best_top1"),
            best_epoch=document.count("best_epoch"),
            train_seconds=document.seconds("train_seconds"),
            step_seconds=document.seconds("step_seconds"),
            parameters=document.count("parameters"),
            binary_parameters=document.count("binary_parameters"),
            float_bits=bits.count("float"),
            packed_bits=bits.count("packed"),
            binary_packed_bits=bits.count("binary") if bits.has("binary") else None,
            codes=_codes(document.inside("codes")) if document.has("codes") else None,
            cannot_pack=document.text("cannot_pack") if document.has("cannot_pack") else None,
            classes=document.count("classes"),
            synthetic=document.flag("synthetic"),
            wandb_id=document.inside("wandb").text("id") if document.has("wandb") else None,
        )
        if not 0 <= summary.binary_parameters <= summary.parameters or summary.parameters == 0:
            raise UserError(
                f"{file}: {summary.binary_parameters:,} binary parameters of {summary.parameters:,} cannot be. "
                "Train the run again."
            )
        if summary.packed_bits == 0 or summary.float_bits == 0:
            raise UserError(f"{file}: weights of 0 bits cannot be. Train the run again.")
        return summary


def _codes(document: Document) -> dict[str, tuple[int, int]]:
    return {name: document.counts(name, 2) for name in document.fields}  # type: ignore[misc]


@dataclass(frozen=True)
class Environment:
    """Where and on what a run was trained. What is not known is None or 0."""

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
        """What must agree before times may be divided: (cpu, cores, threads, gpu)."""
        return self.cpu, self.cores, self.threads, self.gpu

    @staticmethod
    def load(file: Path) -> "Environment":
        """The environment in `file`.

        Raises:
            UserError: The file is damaged.
        """
        document = Document.load(file)
        packages = document.inside("packages")
        git = document.inside("git") if document.has("git") else None
        return Environment(
            python=document.text("python"),
            platform=document.text("platform"),
            cpu=document.text("cpu"),
            cores=document.count("cores"),
            threads=document.count("threads"),
            gpu=document.text("gpu") if document.has("gpu") else None,
            packages={name: packages.text(name) for name in packages.fields},
            commit=git.text("commit") if git and git.has("commit") else None,
            dirty=git.flag("dirty") if git and git.has("dirty") else False,
            command=document.text("command"),
            started=document.moment("started"),
            backend=document.text("backend"),
        )
