"""The callback that writes the files of a run: configuration, environment, predictions and summary."""

import json
import statistics
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn
from typing_extensions import override

from xnorlit.edge import atomic
from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork, Summary
from xnorlit.training.environment import environment
from xnorlit.training.place import refuse_vanished
from xnorlit.training.predictions import Predictions, write

MIB = 8 * 2**20


class RunRecord(pl.Callback):
    """Write the files that `xnorlit.runs` reads; print the network and its accuracy.

    The results of a validation are saved before the next checkpoint. A run that is killed after its last checkpoint can
    therefore finish without further training or validation.

    Args:
        folder: The run's folder, claimed by this process.
        config: The resolved configuration as YAML, for config.yaml.
        wandb: `{id, offline}` of the W&B run, or None; a resumed run keeps its id.
        resumed: Whether an unfinished run continues; its recorded configuration and environment then stay unchanged.
    """

    def __init__(self, folder: Path, config: str, wandb: dict[str, Any] | None, resumed: bool) -> None:
        self.folder = folder
        self.config = config
        self.wandb = wandb
        self.resumed = resumed
        self.seconds = 0.0
        self.step_seconds: deque[float] = deque(maxlen=1000)
        self.best = {"top1": -1.0, "epoch": 0}
        self.measured: dict[str, float] = {}
        """Top-1, top-5 and epoch of the last validation."""
        self.ended = False
        """Whether training has ended."""
        self._predictions = Predictions()
        self._clock: float | None = None

    # --- before -----------------------------------------------------------------------------------------------------
    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # --trainer.fast_dev_run writes no run.
        if trainer.is_global_zero and not self.resumed and not trainer.fast_dev_run:
            surroundings = environment(trainer.datamodule.used_backend)
            _write_text(self.folder / "environment.json", json.dumps(surroundings, indent=2))
            _write_text(self.folder / "config.yaml", self.config)  # Last, because it marks the run as started.
        size = pl_module.summary()
        say("arm", describe(size, self.folder.parent.name))

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._clock = time.perf_counter()  # Lightning starts no epoch when it resumes in the middle of one.

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._clock = time.perf_counter()

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._batch_clock = time.perf_counter()

    # --- during -----------------------------------------------------------------------------------------------------
    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.step_seconds.append(time.perf_counter() - self._batch_clock)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds, self._clock = self._seconds(), None

    @override
    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._predictions = Predictions()

    @override
    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self._predictions.add(**outputs)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        epoch = trainer.current_epoch + 1
        found = {key: trainer.callback_metrics[f"val/{key}"].item() for key in ("top1", "top5")}
        self.measured = {**found, "epoch": epoch}
        if found["top1"] > self.best["top1"]:
            self.best = {"top1": found["top1"], "epoch": epoch}
        gathered, data = self._predictions.gathered(), trainer.datamodule
        if trainer.is_global_zero and not trainer.fast_dev_run:
            refuse_vanished(self.folder)
            write(
                gathered,
                self.folder / "predictions.safetensors",
                classes=data.classes,
                listing_sha256=data.listing_hash("val"),
                split="val",
                source=data.source,
                epoch=epoch,
            )

    # --- after ------------------------------------------------------------------------------------------------------
    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if self.measured.get("epoch") != trainer.current_epoch:
            raise UserError(
                f"an earlier version trained {self.folder} to its last epoch but stopped before measuring it. "
                "Measure its last checkpoint with xnorlit validate, or train it again with --run.fresh true."
            )
        data = trainer.datamodule
        size = pl_module.summary()
        found = {
            "status": "finished",
            "epochs": trainer.current_epoch,
            "top1": self.measured["top1"],
            "top5": self.measured["top5"],
            "best_top1": self.best["top1"],
            "best_epoch": self.best["epoch"],
            "train_seconds": self.seconds,
            "step_seconds": statistics.median(self.step_seconds),
            "parameters": size.parameters,
            "binary_parameters": size.binary_weights,
            "bits": {"float": size.float_bits, "packed": size.packed_bits, "binary": size.binary_packed_bits},
            "codes": {layer.name: [layer.weight_bits, layer.input_bits] for layer in size.layers},
            "cannot_pack": _cannot_pack(pl_module.net),
            "classes": data.num_classes,
            "synthetic": data.source == "synthetic",
            "images": pl_module.images,
            "init": pl_module.before_training,
            "wandb": self.wandb,
        }
        if trainer.fast_dev_run:
            say("done", "fast_dev_run: nothing was saved")
            return
        refuse_vanished(self.folder)
        _write_text(self.folder / "summary.json", json.dumps(found, indent=2))
        self._tell(found, size, pl_module.net)

    def _tell(self, found: dict[str, Any], size: Summary, net: nn.Module) -> None:
        best = f"best {100 * found['best_top1']:.2f} at epoch {found['best_epoch']}"
        say(
            "done",
            f"top-1 {100 * found['top1']:.2f} %, top-5 {100 * found['top5']:.2f} % ({best}), "
            f"{found['train_seconds']:.0f} s of training{', synthetic images' if found['synthetic'] else ''}\n"
            f"weights: {weigh(size)}\n"
            f"run: {self.folder}",
        )
        wandb = found["wandb"]
        if wandb:
            say(
                "",
                "W&B: offline; upload with xnorlit sync (log in first: wandb login)"
                if wandb["offline"]
                else f"W&B: run {wandb['id']}",
            )
        pair = self.folder.parents[1]
        arms = sorted(other.parents[0].name for other in pair.glob(f"*/{self.folder.name}/summary.json"))
        if len(arms) > 1:
            say("next", f"xnorlit compare --experiment {pair.parent.name} --pair {pair.name}")
        else:
            say("next", f"{_other_arm(size, own=not isinstance(net, BuiltNetwork))}, then xnorlit compare")
        if found["bits"]["packed"] < found["bits"]["float"]:
            say("", f"xnorlit pack {self.folder}")

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "seconds": self._seconds(),
            "step_seconds": list(self.step_seconds),
            "best": self.best,
            "measured": self.measured,
            "ended": self.ended,
            "wandb_id": self.wandb and self.wandb["id"],
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self.step_seconds.extend(state_dict["step_seconds"])
        self.best = dict(state_dict["best"])
        self.measured = dict(state_dict.get("measured", {}))  # Earlier versions had neither.
        self.ended = state_dict.get("ended", False)

    def _seconds(self) -> float:
        """Seconds of training until now, including those of earlier processes."""
        return self.seconds + (0.0 if self._clock is None else time.perf_counter() - self._clock)


def _other_arm(size: Summary, *, own: bool) -> str:
    """How to train the pair's other arm; no recipe names a user's own network."""
    other = ("Float", "float") if size.binary_weights else ("XNOR", "xnor")
    if own:
        return f"the same command with --model.binarizer {other[0]} --run.arm {other[1]}   (the pair's other arm)"
    return f"xnorlit train {other[1]}   (the pair's other arm, with the same options)"


def describe(size: Summary, arm: str) -> str:
    """One line that describes the network: `xnor: 6 binary layers, 2 float; ...`."""
    bits = Counter(layer.weight_bits for layer in size.layers)
    few = [f"{count} of {width} bits" for width, count in sorted(bits.items()) if width not in (1, 32)]
    kinds = ", ".join([f"{bits[1]} binary layer{'s' if bits[1] != 1 else ''}", *few, f"{bits[32]} float"])
    return f"{arm}: {kinds}; {size.parameters:,} parameters, {weigh(size)}"


def weigh(size: Summary) -> str:
    """`238 MiB latent fp32 -> 22.8 MiB packed (float fc8: 15.6 MiB)`, with the largest float layer."""
    before = f"{size.float_bits / MIB:.3g} MiB"
    if size.packed_bits == size.float_bits:
        return f"{before} fp32"
    real = [layer for layer in size.layers if layer.weight_bits == 32]
    heaviest = max(real, key=lambda layer: layer.weights, default=None)
    share = f" (float {heaviest.name}: {32 * heaviest.weights / MIB:.3g} MiB)" if heaviest else ""
    return f"{before} latent fp32 -> {size.packed_bits / MIB:.3g} MiB packed{share}"


def _cannot_pack(net: BuiltNetwork) -> str:
    """Why the network has no packed form: the reason of the first layer without one; empty if it has one."""
    for name, layer in net.layers():
        if layer.binarizer.cannot_pack:
            return f"{name}: {layer.binarizer.cannot_pack}"
    return ""


def _write_text(file: Path, text: str) -> None:
    with atomic.path(file) as scratch:
        scratch.write_text(text)
