"""Several processes on one machine (gloo) compute the same results as one; a test's fork computes at all."""

import copy
import signal
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.processes import found_by, status_of
from xnorlit.binarize.low_precision import LowPrecision
from xnorlit.binarize.lsq import LSQ
from xnorlit.errors import Stopped
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d
from xnorlit.training.saving import Saving
from xnorlit.training.sync import SteadySync, set_copies

WORLD = 2
CUTS = {"even": [4, 4], "uneven": [3, 5], "one": [1, 7]}
NORMS = {BatchNorm1d: (8, 3), BatchNorm2d: (8, 3, 4, 4)}


def norm_of(kind):
    torch.manual_seed(1)
    norm = kind(3).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def batch(shape):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 1
    x[:, 0] = 0  # a channel that a ReLU has left dead
    return x


def trained(norm, x, outer):
    """Output, gradients and running statistics after a step, where `outer` is the gradient of a sum of losses."""
    x = x.clone().requires_grad_()
    y = norm.train()(x)
    y.backward(outer)
    return {"y": y.detach(), "x": x.grad, "mean": norm.running_mean, "var": norm.running_var, "beta": norm.bias.grad,
            "gamma": norm.weight.grad, "steps": norm.num_batches_tracked}  # fmt: skip


def layer(binarizer):
    torch.manual_seed(3)
    return BinaryConv2d(3, 5, 3, binarizer=binarizer).train()


def states(binarizer, x, steps=3):
    conv = layer(binarizer)
    for number in range(steps):
        conv(x * 2.0**number).sum().backward()
        conv.after_step()
    return {key: value.clone() for key, value in conv.binarizer.state_dict().items()}


def images(rank):
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(rank)) * (1 + 40 * rank)


class Net(nn.Linear):
    device = torch.device("cpu")


def left(rank, folder):
    """How a process leaves at the start of an epoch when the second one received a signal in the validation before."""

    def reduce(value, *, reduce_op):
        dist.all_reduce(value, {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}[reduce_op])
        return value

    trainer = SimpleNamespace(
        world_size=WORLD, is_global_zero=not rank, fast_dev_run=False, global_step=0, current_epoch=1, max_epochs=3,
        strategy=SimpleNamespace(reduce=reduce),
    )  # fmt: skip
    guard = Saving(SimpleNamespace(folder=folder), minutes=15)
    guard._signal = signal.SIGTERM if rank else None
    try:
        guard.on_train_epoch_start(trainer, Net(1, 1))
    except Stopped as end:
        return str(end)
    return "stayed"


def work(rank, folder):
    """Save the results of one process for the tests below."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    found = {}
    for kind, shape in NORMS.items():
        for cut, sizes in CUTS.items():
            x, norm = batch(shape).split(sizes)[rank], SteadySync().apply(norm_of(kind))
            outer = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).split(sizes)
            found[f"{kind.__name__} {cut}"] = trained(norm, x, outer[rank])
    for kind, shape in NORMS.items():
        norm = SteadySync().apply(norm_of(kind))
        set_copies(norm, WORLD)
        found[f"{kind.__name__} copied"] = trained(norm, batch(shape), torch.zeros(shape, dtype=torch.float64))
    found["LSQ"] = states(LSQ(4, 4), images(rank))
    found["LowPrecision"] = states(LowPrecision(every=1000), images(rank))
    found["left"] = left(rank, folder)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return found_by(work, WORLD, tmp_path_factory.mktemp("processes"))


@pytest.mark.slow
def test_a_signal_to_one_process_in_a_validation_ends_both(found):
    assert [each["left"].partition(":")[0] for each in found] == ["SIGTERM", "SIGTERM"]


@pytest.mark.slow
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", NORMS, ids=lambda kind: kind.__name__)
def test_a_synced_norm_is_that_of_one_process_over_all_samples(found, kind, cut):
    shape = NORMS[kind]
    outer = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    expected = trained(norm_of(kind), batch(shape), outer)
    parts = [one[f"{kind.__name__} {cut}"] for one in found]
    for key in ("y", "x"):
        torch.testing.assert_close(torch.cat([part[key] for part in parts]), expected[key])
    for key in ("beta", "gamma"):
        torch.testing.assert_close(sum(part[key] for part in parts), expected[key])
    for key in ("mean", "var", "steps"):
        for part in parts:
            torch.testing.assert_close(part[key], expected[key])
    for part in parts:  # a constant channel gives beta itself, whose sign must not depend on rounding
        assert (part["y"][:, 0] == norm_of(kind).bias[0]).all()


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=repr
)
def test_a_synced_norm_of_one_process_is_torchs_own(alone, settings):
    x = batch((8, 3, 4, 4))
    outer = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    ours, theirs = SteadySync().apply(BatchNorm2d(3, **settings)).double(), nn.BatchNorm2d(3, **settings).double()
    for step in range(3):
        left, right = (x * (step + 1)).requires_grad_(), (x * (step + 1)).requires_grad_()
        y, z = ours(left), theirs(right)
        y.backward(outer)
        z.backward(outer)
        torch.testing.assert_close(y, z)
        torch.testing.assert_close(left.grad, right.grad)
    assert ours.synced
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NORMS, ids=lambda kind: kind.__name__)
def test_samples_that_all_processes_hold_count_once(found, kind):
    expected = trained(norm_of(kind), batch(NORMS[kind]), torch.zeros(NORMS[kind], dtype=torch.float64))
    for one in found:
        for key in ("y", "mean", "var"):
            torch.testing.assert_close(one[f"{kind.__name__} copied"][key], expected[key])


@pytest.mark.slow
def test_a_step_that_is_started_from_the_first_batch_is_the_same_on_all_processes(found):
    first = [layer(LSQ(4, 4)).binarizer._first_input_step(images(rank)) for rank in range(WORLD)]
    assert first[0] != first[1]
    for one in found:
        torch.testing.assert_close(one["LSQ"]["input_step"], torch.stack(first).mean())


@pytest.mark.slow
def test_ranges_and_overflow_rates_are_the_same_on_all_processes(found):
    left, right = (one["LowPrecision"] for one in found)
    alone = [states(LowPrecision(every=1000), images(rank)) for rank in range(WORLD)]
    assert not torch.equal(alone[0]["ranges"], alone[1]["ranges"])
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert torch.equal(left["ranges"], torch.maximum(alone[0]["ranges"], alone[1]["ranges"]))
    assert left["rates"][:2].sum() > 0


def test_only_steady_norms_are_left_to_be_steady_and_the_others_are_torchs():
    model = nn.Sequential(BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)), BatchNorm1d(3))
    before = copy.deepcopy(model.state_dict())
    model = SteadySync().apply(model)
    assert [type(model[0]), type(model[1][0]), type(model[2])] == [BatchNorm2d, nn.SyncBatchNorm, BatchNorm1d]
    assert model[0].synced
    assert model[2].synced
    assert model.state_dict().keys() == before.keys()
    torch.testing.assert_close(model[0](batch((8, 3, 4, 4)).float()), BatchNorm2d(3)(batch((8, 3, 4, 4)).float()))


def test_a_fork_computes_although_its_parent_has_computed_with_several_threads():
    x = torch.randn(1000, 1000)

    def work():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # Not the test's own handler: a fork that waits runs no Python.
        signal.alarm(30)
        x.exp().sum()

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        x.exp().sum()
        assert status_of(work) == 0
    finally:
        torch.set_num_threads(before)
