"""Knowledge distillation: from a teacher and the labels, or from a teacher alone."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.autocast import without_autocast
from xnorlit.data import Batch, ImageData
from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.models import BuiltNetwork
from xnorlit.training.losses.base import Loss
from xnorlit.training.place import checkpoint_of
from xnorlit.training.teacher import trained_network


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`T^2 * mean_n KL(softmax(teacher_n / T) || softmax(student_n / T))`: 0 if both agree up to a constant.

    The gradient with respect to the student is `T (softmax(student / T) - softmax(teacher / T)) / N` for each image.
    The factor `T^2` keeps its magnitude independent of the temperature.

    Args:
        student: Logits `(N, classes)`.
        teacher: Logits `(N, classes)`.
        temperature: T, above 0.
    """
    scaled, wanted = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(scaled, wanted, reduction="batchmean", log_target=True)


class _Taught(Loss):
    """A term with a teacher network, which computes logits for the student's augmented batch.

    The teacher computes in the precision of the student's training, so both round their logits alike. On a CPU, bf16
    takes half the time of fp32.
    """

    def __init__(self, teacher: str) -> None:
        self.teacher = teacher
        self._network: BuiltNetwork | None = None

    @override
    def prepare(self, net: BuiltNetwork, data: ImageData, run: Path) -> None:
        checkpoint = checkpoint_of(self.teacher, run, role="the teacher")
        self._network = trained_network(checkpoint, data)
        self.learnt_from = _hash(self._network)
        say("teacher", f"{self._network.name}, {checkpoint}")

    def taught(self, images: Tensor) -> Tensor:
        """Logits of the teacher, without gradients."""
        assert self._network is not None, "call prepare first"
        device = images.device.type
        network = self._network.to(images.device)
        if torch.is_autocast_enabled(device):
            for _, layer in network.layers():  # Norms stay in fp32, because running means need it.
                layer.to(torch.get_autocast_dtype(device))
        with torch.no_grad(), without_autocast(images.device):
            return network(images).float()


def _hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class Distillation(_Taught):
    """`(1 - w) * cross_entropy(logits, labels) + w * T^2 * mean_n KL(softmax(teacher / T) || softmax(logits / T))`.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2.

    Args:
        teacher: An arm of the same pair with a finished run of the same seed, such as float; or the path of a
            checkpoint. Classes and image size must match this run.
        temperature: T, above 0.
        weight: w, from 0 (labels alone) to 1 (the teacher alone).
    """

    def __init__(self, teacher: str, temperature: float = 2.0, weight: float = 0.9) -> None:
        if not 0 < temperature < float("inf"):
            raise UserError(f"Distillation.temperature is {temperature}. Expected a number above 0, such as 2.")
        if not 0 <= weight <= 1:
            raise UserError(f"Distillation.weight is {weight}. Expected 0 (labels alone) to 1 (the teacher alone).")
        super().__init__(teacher)
        self.temperature = temperature
        self.weight = weight

    @override
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        soft = distillation(logits, self.taught(batch.images), self.temperature)
        return (1 - self.weight) * F.cross_entropy(logits, batch.labels) + self.weight * soft


class TeacherCrossEntropy(_Taught):
    """`-mean_n sum_c softmax(teacher_n)_c * log softmax(logits_n)_c`: ReActNet's distributional loss, without labels.

    Source: Liu et al. 2020, arXiv 2003.03488, section 4; liuzechun/ReActNet, utils/KD_loss.py.

    Args:
        teacher: See `Distillation`.
    """

    def __init__(self, teacher: str) -> None:
        super().__init__(teacher)

    @override
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, self.taught(batch.images).softmax(dim=1))
