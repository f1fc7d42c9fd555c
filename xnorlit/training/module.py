"""The one LightningModule that trains every arm."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.cli import OptimizerCallable
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy
from typing_extensions import override

from xnorlit.binarize import Binarizer
from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.layers import attach
from xnorlit.models import BuiltNetwork, NetworkSpec, Summary, matching, network_named
from xnorlit.models.summary import summary
from xnorlit.training.evaluation import Evaluation
from xnorlit.training.groups import grouped
from xnorlit.training.losses import Loss
from xnorlit.training.losses.base import refuse_other_teachers
from xnorlit.training.losses.cross_entropy import CrossEntropy
from xnorlit.training.means import SampleMean
from xnorlit.training.own_network import BODY, Conversion, OwnNetwork, OwnSpec
from xnorlit.training.place import checkpoint_of
from xnorlit.training.pretrained import accuracy, inherit
from xnorlit.training.schedule import Constant, Schedule, steps_per_epoch
from xnorlit.training.sync import set_copies
from xnorlit.training.trained_on import images_of, refuse_other_classes, refuse_other_images


class Classifier(Evaluation):
    """Train a network with any binarizer. Evaluate it in fp32, in which binary sums are exact.

    The data module supplies the number of classes, the image size, mean and standard deviation.

    Args:
        network: Name of a network, such as alexnet-xnor or resnet18-bireal; or your own: class_path and init_args
            of any torch.nn.Module that maps normalised images (N, 3, S, S) to logits (N, classes).
        binarizer: The binarizer of the network's binary blocks: a class name (XNOR, BWN, Float) or class_path with
            init_args. Float makes the float twin.
        layers: Other binarizers for single layers, by name or pattern: {conv2: Float, fc*: BWN}.
        conversion: How to binarise the layers of your own network.
        init_from: Initial weights, measured before training. Give an arm of the same pair, such as float (its last
            checkpoint of the same seed), a checkpoint of a run of the same network, or the weights of torchvision's
            AlexNet.
        losses: Terms of the training loss, to be summed; default: [CrossEntropy].
        optimizer: Optimizer class with its settings.
        schedule: Factor on the learning rate at each step.
        weight_decay_schedule: Factor on the weight decay of every group, updated at the start of each epoch.
        latent_eps: The optimizer's eps for latent weights only. About 1e-20 has the same effect as the factor 1e9 by
            which public releases multiply their gradients.
        latent_weight_decay: The optimizer's weight decay for latent weights only.
        learned_lr: The optimizer's learning rate for the parameters of binarizers, such as step sizes, clipping values
            and shifts. It may have to be far below the weights' learning rate.
        learned_weight_decay: The optimizer's weight decay for the parameters of binarizers.
        decayed_layers: Apply weight decay only to the weights of these layers, by name or pattern (fc*); default: to
            all parameters.
        channels_last: Keep feature maps in channels-last memory format.
        compile: Compile the network with torch.compile.
    """

    def __init__(
        self,
        network: str | Callable[[], nn.Module],
        binarizer: Binarizer,
        layers: dict[str, Binarizer] | None = None,
        conversion: Conversion | None = None,
        init_from: Path | None = None,
        losses: list[Loss] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        schedule: Schedule | None = None,
        weight_decay_schedule: Schedule | None = None,
        latent_eps: float | None = None,
        latent_weight_decay: float | None = None,
        learned_lr: float | None = None,
        learned_weight_decay: float | None = None,
        decayed_layers: list[str] | None = None,
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        # Refuse unknown layer names here, before any image is read.
        self.spec: NetworkSpec | OwnSpec
        if isinstance(network, str):
            if "." in network:
                raise UserError(
                    f"model.network is {network}, the form of a class path. Give one as --model.network.class_path "
                    f"{network}, or the name of a network."
                )
            self.spec = NetworkSpec(network_named(network), binarizer, layers or {})
        else:
            self.spec = OwnSpec(network, binarizer, layers or {}, conversion or Conversion())
        self.init_from = init_from
        self.before_training: dict[str, Any] | None = None
        self.images: dict[str, Any] = {}
        self.losses = losses or [CrossEntropy()]
        self.make_optimizer = optimizer
        self.schedule = schedule or Constant()
        self.weight_decay_schedule = weight_decay_schedule or Constant()
        self.own_settings = {
            "latent": {"eps": latent_eps, "weight_decay": latent_weight_decay},
            "learned": {"lr": learned_lr, "weight_decay": learned_weight_decay},
        }
        self.decayed_layers = decayed_layers or []
        if isinstance(self.spec, NetworkSpec):
            self._decayed(self.spec.layer_names, self.spec.table.name)
        self.channels_last = channels_last
        self.compiled = compile
        self.net: BuiltNetwork | OwnNetwork | None = None

    def _decayed(self, names: list[str], network: str) -> set[str]:
        """Names of the layers whose weights are decayed, if not all are."""
        patterns = self.decayed_layers
        return {name for each in patterns for name in matching(names, network, each, "model.decayed_layers")}

    @override
    def configure_model(self) -> None:
        if self.net is not None:
            return
        data = self.trainer.datamodule
        self.build_for(data)
        if self.trainer.state.fn == TrainerFn.FITTING:
            self.images = images_of(data)
            _refuse_single_samples(self.net, data)
            # Before the fit starts, so that an error leaves no run directory.
            if self.init_from:
                inherit(self.net, self._initial_checkpoint(), data.classes)
            for loss in self.losses:
                loss.prepare(self.net, data, Path(self.trainer.default_root_dir))
        if self.compiled:
            self.net.compile()

    def _initial_checkpoint(self) -> Path:
        """The checkpoint that `init_from` names."""
        return checkpoint_of(str(self.init_from), Path(self.trainer.default_root_dir), role="model.init_from")

    def build_for(self, data: ImageData) -> None:
        """Build the network for a data set's classes, image size, mean and standard deviation.

        Args:
            data: The data module, set up.
        """
        # Only the seed determines the initial weights, even if loading data advanced a generator. Both arms therefore
        # start alike.
        with torch.random.fork_rng():
            torch.manual_seed(torch.initial_seed())
            self.net = self.spec.build(
                classes=data.num_classes, image_size=data.image_size, mean=data.mean, std=data.std
            )
        if isinstance(self.net, OwnNetwork):
            self.net.check(data.num_classes, data.image_size)
        if self.channels_last:
            self.net.to(memory_format=torch.channels_last)
        self.classes = data.classes
        self.count_right(data.num_classes)
        self.train_top1 = MulticlassAccuracy(data.num_classes, average="micro", validate_args=False)
        self.train_loss = SampleMean()
        self.train_terms = torch.nn.ModuleList(SampleMean() for _ in self.losses)

    def summary(self) -> Summary:
        """Bits, multiply-adds and memory of the network for one image of the data."""
        size = self.trainer.datamodule.image_size
        found = summary(self.net, (3, size, size))
        # Use the names that `layers` gives, without the prefix of a user's module.
        layers = (replace(layer, name=layer.name.removeprefix(f"{BODY}.")) for layer in found.layers)
        return replace(found, layers=tuple(layers))

    @override
    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    @override
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.trainer.world_size > 1:
            set_copies(self.net, batch.copies)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch.images).float()
        terms = [term(self.net, batch, logits) for term in self.losses]
        loss = torch.stack(terms).sum()
        # These sums are saved in the checkpoint; Lightning's own means would start again in a resumed run.
        size = len(batch.labels) / batch.copies
        for metric, value in zip(self.train_terms, terms, strict=True):
            metric.update(value.detach(), size)
        self.train_loss.update(loss.detach(), size)
        if batch.copies == 1 or self.trainer.is_global_zero:
            self.train_top1.update(logits, batch.labels)
        self.log("train/loss_step", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss if batch.weight == 1 else batch.weight * loss

    @override
    def on_train_epoch_end(self) -> None:
        # Not in each step: a run resumed at the end of an epoch takes no further step in it.
        if len(self.losses) > 1:
            for number, (term, metric) in enumerate(zip(self.losses, self.train_terms, strict=True)):
                self.log(f"train/loss/{number}-{type(term).__name__}", metric)
        self.log("train/loss_epoch", self.train_loss)
        self.log("train/top1", self.train_top1)

    def _sums(self) -> dict[str, Metric]:
        """Metrics of the current epoch, by name."""
        terms = {f"term-{number}": metric for number, metric in enumerate(self.train_terms)}
        return {"loss": self.train_loss, "top1": self.train_top1, **terms}  # type: ignore[dict-item]

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, with separate groups for latent weights and for the parameters of binarizers.

        Raises:
            UserError: The optimizer lacks one of the given settings.
        """
        decayed = None
        if self.decayed_layers:
            by_name = dict(self.net.layers())
            decayed = [by_name[name].weight for name in self._decayed(list(by_name), self.net.name)]
        layers = [layer for _, layer in self.net.layers()]
        return grouped(self.make_optimizer, self.parameters(), layers, self.own_settings, decayed)

    @override
    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer()
        attach(optimizer, self.net)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def _rate(self, step: int) -> float:
        """Factor on the learning rate at an optimizer step.

        The number of steps is read here. Reading it when the optimizer is created would make Lightning set up the
        loaders before their position is loaded from the checkpoint. Until then the number is infinite and the step is
        0.
        """
        return self.schedule(step / steps_per_epoch(self.trainer), self.trainer.max_epochs)

    @override
    def on_train_start(self) -> None:
        if self.init_from and self.trainer.global_step == 0:
            beginning = self._initial_checkpoint()
            self.before_training = {"from": str(beginning), **accuracy(self.trainer, self, beginning)}
        self._begin_epoch()  # Lightning starts no epoch when it resumes in the middle of one.

    @override
    def on_train_epoch_start(self) -> None:
        for _, layer in self.net.layers():  # Only here: a checkpoint contains the schedules of the epoch it is from.
            layer.binarizer.on_epoch(self.current_epoch, self.trainer.max_epochs)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        for loss in self.losses:
            loss.on_epoch(self.current_epoch, self.trainer.max_epochs)
        decay = self.weight_decay_schedule(self.current_epoch, self.trainer.max_epochs)
        for group in self.optimizers().param_groups:
            group["weight_decay"] = decay * group["initial_weight_decay"]

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = self.trainer.datamodule
        checkpoint["xnorlit"] = {
            "network": self.net.name,
            "image_size": data.image_size,
            "classes": list(data.classes),
            "images": self.images,
            "teachers": [loss.learnt_from for loss in self.losses],
            "before_training": self.before_training,
        }
        reduce = self.trainer.strategy.reduce  # Each process has summed its own batches.
        checkpoint["train_sums"] = {
            name: {key: reduce(state.clone(), reduce_op="sum") for key, state in metric.metric_state.items()}
            for name, metric in self._sums().items()
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another network with a short message; torch's would list every key."""
        made = checkpoint.get("xnorlit", {})
        self.before_training = made.get("before_training")
        if "classes" in made:
            refuse_other_classes(made["classes"], self.classes, "the checkpoint", "Use the images it was trained on.")
        self._restore_sums(checkpoint.get("train_sums", {}))
        if self._trainer and self.trainer.state.fn == TrainerFn.FITTING:
            refuse_other_images(made.get("images", {}), self.trainer.datamodule)
            refuse_other_teachers(made.get("teachers", []), self.losses)
            self.trainer.datamodule.recount(checkpoint)
        ours, theirs = self.state_dict(), checkpoint["state_dict"]
        wrong = [key for key in sorted(ours.keys() | theirs.keys()) if _shape(ours, key) != _shape(theirs, key)]
        if wrong:
            made_by = checkpoint.get("xnorlit", {"network": "another program"})
            lines = [f"  {key}: checkpoint {_shape(theirs, key)}, network {_shape(ours, key)}" for key in wrong[:5]]
            raise UserError(
                f"the checkpoint contains {made_by['network']} and does not fit {self.net.name} "
                f"({len(wrong)} tensors differ):\n" + "\n".join(lines) + "\nGive the configuration that it was trained "
                "with, RUN/config.yaml."
            )

    def _restore_sums(self, sums: dict[str, dict[str, Tensor]]) -> None:
        """Restore the metrics of the current epoch; the first process holds the sums of all."""
        for name, metric in self._sums().items() if self._trainer and self.trainer.is_global_zero else ():
            for key, value in sums.get(name, {}).items():
                setattr(metric, key, value.clone().to(metric.device))
                metric._update_count = 1  # An earlier process updated it.


def _refuse_single_samples(net: nn.Module, data: ImageData) -> None:
    if data.batch_size == 1 and any(isinstance(module, _BatchNorm) for module in net.modules()):
        raise UserError(
            "data.batch_size is 1, but a batch norm cannot compute a variance from one sample. Expected 2 or more, or "
            "a network without batch norms."
        )


def _shape(state: dict[str, Tensor], key: str) -> str:
    return str(tuple(state[key].shape)) if key in state else "absent"
