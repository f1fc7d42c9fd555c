"""Per-layer curves that show whether a few-bit network learns."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer


def saturated(x: Tensor) -> Tensor:
    """Share of `|x| > 1`, where a clipped straight-through estimator passes no gradient."""
    return (x.abs() > 1).float().mean()


def dead(codes: Tensor) -> Tensor:
    """Share of the channels of `(N, C, ...)` whose code is the same at every position of every sample.

    Args:
        codes: What a binarizer makes of a layer's input, such as signs.
    """
    by_channel = codes.transpose(0, 1).flatten(1)
    return (by_channel == by_channel[:, :1]).all(1).float().mean()


def signs(weight: Tensor) -> Tensor:
    """`1[W >= 0]`, packed into bytes on the CPU. `flips` compares two of these."""
    return torch.from_numpy(np.packbits((weight.detach() >= 0).flatten().cpu().numpy()))


def flips(before: Tensor, after: Tensor, count: int) -> float:
    """Share of `count` signs that differ between two results of `signs`."""
    return np.unpackbits((before ^ after).numpy()).sum().item() / count


class LayerCurves(pl.Callback):
    """Logs `layer/NAME/WHAT` for one training step in `every`, or for the last step of each epoch.

    - `gradient`: L2 norm of the weights' gradient, of every layer;
    - `alpha`: mean scale of the weight codes, and `flips`: share of the weights whose sign changed since the last
      report (or the start), of layers with few-bit weights;
    - `saturated`: share of the inputs beyond [-1, 1], and `dead`: share of the input channels whose code is constant,
      over the step's batch, of layers with few-bit inputs. A compiled network (model.compile) hides its inputs, so
      these two are not logged.

    With several processes, the values are those of the first process's batch. Other steps cost nothing.

    Args:
        every: Optimizer steps between two reports; default: one report at the end of each epoch.
    """

    def __init__(self, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise UserError(f"LayerCurves.every is {every}. Expected a number of steps, 1 or more, or null.")
        self.every = every
        self._signs: dict[str, Tensor] = {}
        self._values: dict[str, Tensor | float] = {}
        self._handles: list[Any] = []
        self._reported = 0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._reported = trainer.global_step
        if not self._signs:
            self._signs = {name: signs(layer.weight) for name, layer in _few_bit_weights(pl_module)}

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._values = {}
        if self._due(trainer):
            for name, layer in pl_module.net.layers():
                if layer.binarizer.input_bits < 32:
                    self._handles.append(layer.register_forward_pre_hook(self._watch(name)))

    @override
    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self._due(trainer):
            for name, layer in pl_module.net.layers():
                if layer.weight.grad is not None:
                    self._values[f"layer/{name}/gradient"] = layer.weight.grad.norm()

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        while self._handles:
            self._handles.pop().remove()
        if not self._values or trainer.global_step == self._reported:  # Gradients are still being accumulated.
            return
        for name, layer in _few_bit_weights(pl_module):
            now = signs(layer.weight)
            self._values[f"layer/{name}/flips"] = flips(self._signs[name], now, layer.weight.numel())
            self._values[f"layer/{name}/alpha"] = layer.binarizer.weight_codes(layer.weight.detach()).scale.mean()
            self._signs[name] = now
        self._reported = trainer.global_step
        values = {name: float(value) for name, value in self._values.items()}
        for logger in trainer.loggers:
            # Lightning counts the steps of its own rows from 0.
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=trainer.global_step - 1)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"signs": self._signs}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._signs = dict(state_dict["signs"])

    def _due(self, trainer: pl.Trainer) -> bool:
        """Whether to report the current step, before Lightning counts it."""
        return trainer.is_last_batch if self.every is None else (trainer.global_step + 1) % self.every == 0

    def _watch(self, name: str) -> Any:
        @torch.no_grad()
        def note(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, BinaryLayer)
            (x,) = arguments
            self._values[f"layer/{name}/saturated"] = saturated(x)
            self._values[f"layer/{name}/dead"] = dead(layer.binarizer.input_codes(x).values)

        return note


def _few_bit_weights(pl_module: pl.LightningModule) -> list[tuple[str, BinaryLayer]]:
    return [(name, layer) for name, layer in pl_module.net.layers() if layer.binarizer.weight_bits < 32]
