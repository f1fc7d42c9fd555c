"""LatentAdam: Adam for latent weights, SGD for everything else."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import ParamsT
from typing_extensions import override

from xnorlit.errors import UserError


class LatentAdam(torch.optim.SGD):
    """Adam for the latent weights of binary layers, with its own learning rate; SGD for all other parameters.

    Latent weights are the parameters of a group marked `{"latent": True}`; training marks it. A schedule scales both
    learning rates. Without binary layers this is plain SGD.

    Source: larq/zoo, larq_zoo/training/sota_experiments.py, which also uses one optimizer for binary weights and
    another for the rest.

    Args:
        params: Parameters or groups of them.
        lr: SGD's learning rate.
        momentum: SGD's.
        weight_decay: L2 penalty: this factor times the parameter is added to its gradient, for both.
        nesterov: SGD's.
        latent_lr: Adam's learning rate.
        betas: Adam's.
        eps: Adam's; the default is that of Keras.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        latent_lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
    ) -> None:
        if not latent_lr > 0 or not all(0 <= beta < 1 for beta in betas) or not eps > 0:
            raise UserError(
                f"LatentAdam's latent_lr is {latent_lr}, betas {tuple(betas)} and eps {eps}. Expected latent_lr and "
                "eps above 0, betas from 0 and below 1."
            )
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
        self.defaults |= {"eps": eps}
        for group in self._latent():
            group.update(lr=latent_lr, betas=tuple(betas), eps=group.get("eps", eps))

    def _latent(self) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if group.get("latent")]

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in self._latent():
            for weight in group["params"]:
                if weight.grad is not None:
                    self._adapt(weight, group)
        self.param_groups = [group for group in groups if not group.get("latent")]
        try:
            if self.param_groups:
                super().step()
        finally:
            self.param_groups = groups
        return loss

    def _adapt(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        """Kingma and Ba 2015, arXiv 1412.6980, algorithm 1."""
        state, (first, second) = self.state[weight], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        gradient = weight.grad
        assert gradient is not None
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        state["step"] += 1
        steps = state["step"].item()
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (state["square"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        weight.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - first**steps))
