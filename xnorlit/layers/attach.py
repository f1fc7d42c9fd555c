"""The hook after each optimizer step, in which binarizers centre and clamp latent weights; a step without it warns."""

import warnings
import weakref
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from xnorlit.binarize import PostLayer
from xnorlit.errors import UserError
from xnorlit.layers.layer import LAYERS, BinaryLayer, expect_module


class Attachment:
    """The hook that `attach` returns; it updates a model's latent weights until it is removed.

    Args:
        layers: The layers whose weights the optimizer steps.
        optimizer: The optimizer.
        post_layers: The modules that binarizers have put into the model, wherever they stand.
    """

    def __init__(
        self, layers: "list[BinaryLayer]", optimizer: Optimizer, post_layers: Sequence[PostLayer] = ()
    ) -> None:
        self.layers = layers
        self._post_layers = post_layers
        self._tended = _TENDED.setdefault(optimizer, weakref.WeakSet())
        self._tended.update(layers)
        self._handle = optimizer.register_step_post_hook(self._tend)

    def _tend(self, *_: Any) -> None:
        for layer in self.layers:
            layer.tend()
        for module in self._post_layers:
            module.after_step()

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Advances the schedules of binarizers such as IRNet, AdaBin and ReCU. Call it at the start of each epoch.

        Do not call it where a run resumes within an epoch: the state dict contains the schedules.

        Args:
            epoch: Number of the epoch, from 0.
            epochs: Number of epochs of the whole training.
        """
        for layer in self.layers:
            layer.binarizer.on_epoch(epoch, epochs)

    def remove(self) -> None:
        """Remove the hook from the optimizer."""
        self._handle.remove()
        self._tended -= set(self.layers)


def attach(optimizer: Optimizer, model: nn.Module) -> Attachment:
    """Centres and clamps latent weights after each optimizer step, as their binarizers require.

    Call it once for each optimizer, before training. An optimizer's first step on binary layers without it warns.

    Args:
        optimizer: One that steps the model's parameters.
        model: A module with binary layers. Attach each of several optimizers; each updates the weights that it steps.

    Raises:
        UserError: The model has no binary layers, the optimizer steps none of them, or the weight of one is computed
            from other parameters.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(8), xl.BinaryLinear(8, 4, binarizer="XNOR"))
        >>> optimizer = torch.optim.Adam(net.parameters())
        >>> tended = xl.attach(optimizer, net)
        >>> net(torch.randn(16, 8)).square().mean().backward()
        >>> optimizer.step()
        >>> bool(net[1].weight.mean(dim=1).abs().max() < 1e-6)  # centred
        True
    """
    expect_module("attach(optimizer, model)", model)
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    if not layers:
        raise UserError(f"attach: {type(model).__name__} has no binary layers. Call binarize_(model, ...) first.")
    for name, layer in model.named_modules():
        if isinstance(layer, BinaryLayer) and layer.binarizer.tends and "weight" not in layer._parameters:
            raise UserError(
                f"attach: the weight of {name or type(layer).__name__} is computed from other parameters (a "
                "parametrisation, weight norm or pruning), so it cannot be centred and clamped. Remove that first "
                "(parametrize.remove_parametrizations, remove_weight_norm, prune.remove)."
            )
    stepped = _stepped(optimizer, layers)
    if not stepped:
        raise UserError(
            f"attach: the optimizer {type(optimizer).__name__} has no weight of the model's {len(layers)} binary "
            "layers. Create it from model.parameters(), after any call that replaces parameters."
        )
    if any(layer in _TENDED.get(optimizer, ()) for layer in stepped):
        raise UserError("attach: this optimizer is already attached to the model. Call attach once for each optimizer.")
    return Attachment(stepped, optimizer, [module for module in model.modules() if isinstance(module, PostLayer)])


_TENDED: "weakref.WeakKeyDictionary[Optimizer, weakref.WeakSet[BinaryLayer]]" = weakref.WeakKeyDictionary()
_SEEN: "weakref.WeakSet[Optimizer]" = weakref.WeakSet()


def _stepped(optimizer: Optimizer, layers: "list[BinaryLayer]") -> "list[BinaryLayer]":
    parameters = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return [layer for layer in layers if id(layer.weight) in parameters]


def _warn_of_untended(optimizer: Optimizer, *_: Any) -> None:
    """Run at the first step of any optimizer, so that a forgotten `attach` is noticed."""
    if optimizer in _SEEN:
        return
    _SEEN.add(optimizer)
    tended = _TENDED.get(optimizer, ())
    forgotten = [
        layer
        for layer in _stepped(optimizer, list(LAYERS))
        if layer.binarizer.tends and layer not in tended and not layer.by_hand
    ]
    if forgotten:
        warnings.warn(
            f"{type(optimizer).__name__} has stepped {len(forgotten)} binary layers, but nothing centres and clamps "
            f"their latent weights, such as {type(forgotten[0]).__name__}({forgotten[0].extra_repr()}) with "
            f"{type(forgotten[0].binarizer).__name__}. Call xnorlit.attach(optimizer, model) once, before training.",
            stacklevel=4,
        )


register_optimizer_step_post_hook(_warn_of_untended)
