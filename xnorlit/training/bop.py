"""Bop: an optimizer that flips binary weights; Adam updates all other parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim.optimizer import ParamsT
from typing_extensions import override

from xnorlit.errors import UserError


class Bop(torch.optim.Adam):
    """`m <- (1 - gamma) m + gamma g`, then `w <- -w where w m > threshold`, for weights that are -1 or +1.

    These weights form a group marked `{"flips": True}`. They have no weight decay. Gamma is their learning rate, so a
    schedule scales it. Adam updates all other groups.

    Source: Helwegen et al. 2019, arXiv 1906.02107; larq/larq, larq/optimizers_v2.py.

    Args:
        params: Parameters or groups of them.
        lr: Adam's learning rate.
        betas: Adam's.
        eps: Adam's.
        weight_decay: Adam's.
        gamma: Rate of the moving average m of the gradient, above 0 and up to 1.
        threshold: A weight flips when `w m` exceeds this value; at least 0.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        gamma: float = 1e-4,
        threshold: float = 1e-8,
    ) -> None:
        if not 0 < gamma <= 1 or threshold < 0:
            raise UserError(
                f"Bop's gamma is {gamma} and threshold {threshold}. Expected 0 < gamma <= 1, threshold >= 0."
            )
        super().__init__(params, lr, betas, eps, weight_decay)
        self.defaults |= {"gamma": gamma, "threshold": threshold}
        for group in self._flipped():
            group.update(lr=gamma, threshold=threshold)

    def _flipped(self) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if group.get("flips")]

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups, flipped = self.param_groups, self._flipped()
        for group in flipped:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._flip(weight, group["lr"], group["threshold"])
        self.param_groups = [group for group in groups if not group.get("flips")]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        ours, theirs = (
            sum(len(group["params"]) for group in groups if group.get("flips"))
            for groups in (self.param_groups, state_dict["param_groups"])
        )
        if ours != theirs:
            raise UserError(
                f"Bop flips the weights of {ours} layers of this network, but of {theirs} in the checkpoint. Earlier "
                "versions trained real weights in the first layer of cnv, alexnet-binary and alexnet-binary-wide. "
                "Start such a run again."
            )
        super().load_state_dict(state_dict)

    def _flip(self, weight: torch.Tensor, gamma: float, threshold: float) -> None:
        state = self.state[weight]
        if not state:
            state["m"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # Adam expects it in every state that it loads.
        mean = state["m"].lerp_(weight.grad, gamma)
        agree = weight * mean
        weight.mul_(torch.gt(agree, threshold, out=agree).mul_(-2).add_(1))


def refuse_other_weights(optimizer: torch.optim.Optimizer, flipped: Sequence[torch.Tensor]) -> None:
    """Refuse Bop without binary weights, and any other optimizer with them.

    Args:
        optimizer: The optimizer.
        flipped: The weights of the network that only Bop can update.

    Raises:
        UserError: The optimizer does not fit the network.
    """
    if bool(flipped) == isinstance(optimizer, Bop):
        return
    if flipped:
        raise UserError(
            f"some weights are -1 or +1 and can only be flipped; {type(optimizer).__name__} cannot flip weights. "
            "Give --model.optimizer Bop, or a binarizer with latent weights, such as BNN."
        )
    raise UserError(
        "Bop flips weights that are -1 or +1, and this network has none. Give --model.binarizer "
        "LatentFree, or an optimizer such as Adam."
    )
