"""The module applies a recipe's settings to the right weights, for any binarizer."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

import xnorlit.training.module
from xnorlit.binarize import Binarizer, binarizers
from xnorlit.binarize.float import Float
from xnorlit.binarize.lsq import LSQ
from xnorlit.binarize.rbnn import RBNN
from xnorlit.binarize.xnor import XNOR
from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d, BatchNorm2d
from xnorlit.training.evaluation import Evaluation
from xnorlit.training.losses import Loss
from xnorlit.training.losses.cross_entropy import CrossEntropy
from xnorlit.training.module import Classifier
from xnorlit.training.own_network import Conversion
from xnorlit.training.position import mark_position
from xnorlit.training.schedule import Schedule, Steps


class _Recorder(Binarizer):
    """A real binarizer that counts the calls of its hooks."""

    weight_bits = 1
    steps, epochs = 0, ()

    def after_step(self, weight):
        assert not torch.is_grad_enabled()
        type(self).steps += 1

    def on_epoch(self, epoch, epochs):
        type(self).epochs += ((epoch, epochs),)


class Half(Schedule):
    def __call__(self, epoch, epochs):
        Half.asked.append((epoch, epochs))
        return 0.5

    asked = []  # noqa: RUF012


class Constant(Loss):
    """A term without gradient that records its calls."""

    def __init__(self, value):
        self.value, self.calls = value, []

    def prepare(self, net, data, run):
        self.calls.append(("prepare", net, data.num_classes, run))

    def on_epoch(self, epoch, epochs):
        self.calls.append(("epoch", epoch, epochs))

    def __call__(self, net, batch, logits):
        self.calls.append(("step", net, batch.images.dtype, logits.dtype))
        return logits.new_tensor(self.value)


def fit(photos, module, epochs=1, ckpt_path=None, **trainer):
    data = ImageData(str(photos), backend="folder", batch_size=8)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"logger": False, **trainer},
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer


def test_it_does_not_depend_on_the_binarizer():
    source = inspect.getsource(xnorlit.training.module)
    assert not [name for name in binarizers() if f"{name}(" in source or f"isinstance(binarizer, {name}" in source]


def test_latent_weights_have_an_eps_and_a_decay_of_their_own(photos):
    module = Classifier(
        "alexnet-small",
        XNOR(),
        optimizer=lambda groups: torch.optim.Adam(groups, lr=1e-3, weight_decay=1e-4),
        latent_eps=1e-20,
        latent_weight_decay=0.0,
    )
    trainer = fit(photos, module, limit_train_batches=1)
    rest, latent = trainer.optimizers[0].param_groups
    assert (latent["eps"], latent["weight_decay"]) == (1e-20, 0.0)
    assert (rest["eps"], rest["weight_decay"]) == (1e-8, 1e-4)
    assert sum(parameter.numel() for parameter in latent["params"]) == 1_458_688
    assert len(rest["params"]) + len(latent["params"]) == len(list(module.parameters()))


def test_binarizer_parameters_have_their_own_rate_and_decay(photos):
    module = Classifier(
        "alexnet-small",
        LSQ(),
        optimizer=lambda groups: torch.optim.Adam(groups, lr=1e-3, weight_decay=1e-4),
        learned_lr=1e-5,
        learned_weight_decay=0.5,
    )
    rest, latent, learned = fit(photos, module, limit_train_batches=1).optimizers[0].param_groups
    assert (learned["initial_lr"], learned["weight_decay"]) == (1e-5, 0.5)
    assert rest["initial_lr"] == latent["initial_lr"] == 1e-3
    assert len(learned["params"]) == 2 * 6  # a step of the weights and one of the inputs for each binary layer
    assert sum(len(group["params"]) for group in (rest, latent, learned)) == len(list(module.parameters()))


def test_the_weights_of_named_layers_alone_are_decayed(photos):
    """tensorpack's DoReFa decays the weights of its dense layers, and nothing else."""
    module = Classifier(
        "alexnet-small",
        XNOR(),
        optimizer=lambda groups: torch.optim.Adam(groups, weight_decay=5e-6),
        decayed_layers=["fc*"],
    )
    trainer = fit(photos, module, limit_train_batches=1)
    decay = {id(p): group["weight_decay"] for group in trainer.optimizers[0].param_groups for p in group["params"]}
    dense = {id(layer.weight) for name, layer in module.net.layers() if name.startswith("fc")}
    assert {key for key, value in decay.items() if value} == dense
    assert {decay[key] for key in dense} == {5e-6}
    assert len(decay) == len(list(module.parameters()))


def test_an_unknown_decayed_layer_is_refused():
    with pytest.raises(UserError, match=r"model\.decayed_layers: no layer of alexnet-small matches 'fc9'"):
        Classifier("alexnet-small", XNOR(), decayed_layers=["fc9"])


def test_an_eps_for_an_optimizer_without_one_is_refused(photos):
    module = Classifier("alexnet-small", XNOR(), optimizer=lambda g: torch.optim.SGD(g, lr=0.1), latent_eps=1e-20)
    with pytest.raises(UserError, match=r"model\.latent_eps was given, but SGD has no eps"):
        fit(photos, module)


def test_hooks_are_called_after_every_step_and_before_every_epoch(photos):
    _Recorder.steps, _Recorder.epochs = 0, ()
    trainer = fit(photos, Classifier("alexnet-small", _Recorder()), epochs=2)
    binary_layers = 6
    assert _Recorder.steps == binary_layers * trainer.global_step
    assert _Recorder.epochs == ((0, 2),) * binary_layers + ((1, 2),) * binary_layers


class _SaveWithin(pl.Callback):
    """Saves after two of the second epoch's four batches, as `Saving` does."""

    def __init__(self, file):
        self.file = file

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 6:
            trainer.save_checkpoint(self.file)

    def on_save_checkpoint(self, trainer, module, checkpoint):
        mark_position(checkpoint, 1, 2, validate=False)


def small_rbnn():
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
    )


def test_a_run_that_resumes_within_an_epoch_follows_the_schedules_of_an_uninterrupted_one(photos, tmp_path):
    """RBNN turns its filters once an epoch; a loss is told the epoch, because it has no state."""

    def made(term):
        torch.manual_seed(0)
        return Classifier(
            small_rbnn,
            RBNN(),
            conversion=Conversion(skip=["0", "6"]),
            losses=[CrossEntropy(), term],
            channels_last=False,
        )

    file, (one, other) = tmp_path / "within.ckpt", (made(Constant(0.0)) for _ in range(2))
    fit(photos, one, epochs=3, callbacks=[_SaveWithin(file)])
    fit(photos, other, epochs=3, ckpt_path=file)
    for key, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    told = [call[1:] for call in other.losses[1].calls if call[0] == "epoch"]
    assert list(dict.fromkeys(told)) == [(1, 3), (2, 3)]


def test_hooks_follow_the_optimizer_and_not_the_batches(photos):
    _Recorder.steps = 0
    trainer = fit(photos, Classifier("alexnet-small", _Recorder()), accumulate_grad_batches=2)
    assert trainer.global_step == 2
    assert _Recorder.steps == 6 * 2


def test_latent_weights_are_clamped_after_a_step(photos):
    module = Classifier("alexnet-small", XNOR(), optimizer=lambda groups: torch.optim.SGD(groups, lr=100.0))
    fit(photos, module, limit_train_batches=2, detect_anomaly=False)
    latent = [layer.weight for _, layer in module.net.layers() if layer.binarizer.weight_bits == 1]
    assert max(weight.abs().max() for weight in latent) <= 1


def test_the_schedule_is_evaluated_in_epochs_at_every_step(photos):
    Half.asked = []
    trainer = fit(photos, Classifier("alexnet-small", XNOR(), schedule=Half()), epochs=2)
    batches = trainer.num_training_batches
    assert sorted({epoch for epoch, _ in Half.asked}) == [step / batches for step in range(2 * batches + 1)]
    assert {epochs for _, epochs in Half.asked} == {2}
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5e-3)


def test_the_weight_decay_follows_its_own_schedule(photos):
    module = Classifier(
        "alexnet-small",
        XNOR(),
        optimizer=lambda groups: torch.optim.Adam(groups, weight_decay=5e-4),
        weight_decay_schedule=Steps({1: 0.0}),
    )
    seen = []
    module.on_train_epoch_end = lambda: seen.append(module.optimizers().param_groups[0]["weight_decay"])
    fit(photos, module, epochs=2)
    assert seen == [5e-4, 0.0]


def test_evaluation_is_fp32_under_mixed_precision(photos):
    module = Classifier("alexnet-small", XNOR())
    trainer = fit(photos, module, limit_train_batches=1, precision="bf16-mixed")
    (first, *_) = trainer.predict(module, trainer.datamodule.val_dataloader())
    module.eval()
    batch = next(iter(trainer.datamodule.val_dataloader()))
    assert first["logits"].dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(first["logits"], module(batch.images))


def test_the_loss_is_the_sum_of_the_listed_terms(photos, tmp_path):
    two, three = Constant(2.0), Constant(3.0)
    module = Classifier("alexnet-small", XNOR(), losses=[two, three, CrossEntropy()])
    trainer = fit(photos, module, limit_train_batches=2, precision="bf16-mixed", default_root_dir=tmp_path)
    metrics = trainer.callback_metrics
    assert metrics["train/loss/0-Constant"].item() == 2
    assert metrics["train/loss_epoch"].item() == pytest.approx(5 + metrics["train/loss/2-CrossEntropy"].item())
    step = ("step", module.net, torch.uint8, torch.float32)
    assert [call for call in two.calls if call[0] != "epoch"] == [("prepare", module.net, 3, tmp_path), step, step]
    assert ("epoch", 0, 1) in two.calls


def test_terms_are_not_prepared_for_a_validation(photos):
    term = Constant(0.0)
    module = Classifier("alexnet-small", XNOR(), losses=[term])
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.validate(module, ImageData(str(photos), backend="folder", batch_size=8), verbose=False)
    assert term.calls == []


@pytest.mark.parametrize("copies", [1, 2])
def test_two_processes_sum_up_an_epoch_as_one_does(copies, photos):
    """Each process has half of a step or, in a last step too small to divide, all of it."""
    data = ImageData(str(photos), backend="folder", batch_size=8)
    data.setup()
    whole = Batch(torch.randint(256, (6, 3, 32, 32), dtype=torch.uint8), torch.arange(6) % 3, torch.arange(6))
    shares = [slice(0, 3), slice(3, 6)] if copies == 1 else [slice(0, 6)] * 2

    def sums(batch, *, first=True):
        torch.manual_seed(0)
        module = Classifier("alexnet-small", Float(), losses=[CrossEntropy(), Constant(2.0)])
        module.build_for(data)
        module.net.eval()  # so that no norm joins the samples
        module._trainer, module.log = SimpleNamespace(is_global_zero=first), lambda *_, **__: None
        loss = module.training_step(batch, 0)
        torch.testing.assert_close(module.training_step(batch._replace(weight=0.25), 0), loss / 4)
        states = {name: metric.metric_state for name, metric in module._sums().items()}
        return {(name, key): value for name, state in states.items() for key, value in state.items()}

    parts = [
        sums(Batch(*(each[share] for each in whole[:3]), copies=copies), first=rank == 0)
        for rank, share in enumerate(shares)
    ]
    for key, expected in sums(whole).items():
        torch.testing.assert_close(
            parts[0][key] + parts[1][key], expected, rtol=1e-5, atol=1e-5, msg=lambda text, key=key: f"{key} {text}"
        )


def loaded(photos, **more):
    """A module with its network, and a list of what it logs."""
    data = ImageData(str(photos), backend="folder", batch_size=8)
    data.setup()
    module, logged = Classifier("alexnet-small", Float(), **more), {}
    module.build_for(data)
    module.log = lambda name, value, **how: logged.update({name: (value, how)})
    return module, logged


def test_a_step_logs_its_loss_and_an_epoch_the_terms_if_there_are_several(photos):
    batch = Batch(torch.randint(256, (6, 3, 32, 32), dtype=torch.uint8), torch.arange(6) % 3, torch.arange(6))
    for count in (1, 2):
        module, logged = loaded(photos, losses=[CrossEntropy() for _ in range(count)])
        module._trainer = SimpleNamespace(is_global_zero=True)
        loss = module.training_step(batch, 0)
        assert torch.equal(logged["train/loss_step"][0], loss)
        assert logged.pop("train/loss_step")[1] == {"prog_bar": True, "on_step": True, "on_epoch": False}
        assert module.train_top1.validate_args is False, "the check would wait for a GPU"
        module.on_train_epoch_end()
        terms = {f"train/loss/{number}-CrossEntropy" for number in range(count)} if count > 1 else set()
        assert logged.keys() == {"train/loss_epoch", "train/top1"} | terms


@pytest.mark.parametrize("seed", [0, 3, 2**32 - 1, 2**63 + 5])
def test_the_initial_weights_are_the_seeds_whatever_was_drawn_before(seed, photos):
    torch.manual_seed(seed)
    first, _ = loaded(photos)
    torch.rand(7)
    state = torch.get_rng_state()
    second, _ = loaded(photos)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(seed)
    expected = first.spec.build(classes=3, image_size=32)
    for name, weight in expected.named_parameters():
        assert torch.equal(weight, first.net.get_parameter(name)), name
        assert torch.equal(weight, second.net.get_parameter(name)), name


@pytest.mark.parametrize(("step", "measured"), [(0, True), (1, False)])
@pytest.mark.parametrize("given", [True, False])
def test_initial_weights_are_measured_before_the_first_step_alone(step, measured, given, photos, monkeypatch):
    module, _ = loaded(photos, init_from=Path("float.ckpt") if given else None)
    begun = []
    module._trainer = SimpleNamespace(global_step=step, default_root_dir="runs/e/p/xnor/seed-0")
    monkeypatch.setattr(module, "_begin_epoch", lambda: begun.append(True))
    monkeypatch.setattr(xnorlit.training.module, "accuracy", lambda *given: {"top1": 0.5, "file": given[2]})
    module.on_train_start()
    expected = {"from": "float.ckpt", "top1": 0.5, "file": Path("float.ckpt")}
    assert module.before_training == (expected if measured and given else None)
    assert begun == [True]


@pytest.mark.parametrize(("size", "norms", "refused"), [(1, True, True), (1, False, False), (2, True, False)])
def test_a_batch_norm_needs_two_samples(size, norms, refused):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), *[torch.nn.BatchNorm1d(2)] * norms)
    check = xnorlit.training.module._refuse_single_samples
    if not refused:
        check(net, SimpleNamespace(batch_size=size))
        return
    with pytest.raises(UserError, match=r"data\.batch_size is 1, .* Expected 2 or more, or a network without"):
        check(net, SimpleNamespace(batch_size=size))


@pytest.mark.parametrize(("world", "copies"), [(1, 1), (2, 2)])
def test_norms_know_of_copies_where_there_are_several_processes(world, copies, photos):
    module, _ = loaded(photos)
    module._trainer = SimpleNamespace(world_size=world)
    module.on_train_batch_start(Batch(None, None, None, copies=copies), 0)
    norms = [part.copies for part in module.net.modules() if isinstance(part, BatchNorm1d | BatchNorm2d)]
    assert set(norms) == {copies}


def test_a_checkpoint_of_another_network_names_five_of_its_tensors(photos):
    data = ImageData(str(photos), backend="folder", batch_size=8)
    data.setup()
    module = Classifier("alexnet-small", XNOR())
    module.build_for(data)
    fits = dict(module.state_dict())
    module.on_load_checkpoint({"state_dict": fits})
    wrong = {f"net.z{number}": torch.ones(number) for number in range(6)}
    content = {"state_dict": fits | wrong, "xnorlit": {"network": "resnet20"}}
    with pytest.raises(
        UserError, match=r"contains resnet20 and does not fit alexnet-small \(6 tensors differ\)"
    ) as refusal:
        module.on_load_checkpoint(content)
    lines = [line for line in str(refusal.value).splitlines() if line.startswith("  ")]
    assert lines == [f"  net.z{number}: checkpoint ({number},), network absent" for number in range(5)]
    with pytest.raises(UserError, match="another program"):
        module.on_load_checkpoint({"state_dict": wrong})


def test_top_five_of_ten_classes_is_what_the_logits_give():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 10, generator=generator), torch.randint(10, (200,), generator=generator)
    measured = Evaluation()
    measured.count_right(10)
    measured.top1(logits, labels)
    measured.top5(logits, labels)
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert measured.top1.compute() == (ranks < 1).float().mean()
    assert measured.top5.compute() == (ranks < 5).float().mean()
