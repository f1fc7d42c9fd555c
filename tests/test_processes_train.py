"""Each binarizer under DDP, with other images in each process: all parameters take part and stay equal."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.binarize.test_every_binarizer import optimizer_of
from tests.processes import found_by
from xnorlit.binarize import binarizers
from xnorlit.layers import BatchNorm2d, BinaryConv2d, BinaryLinear, attach
from xnorlit.training.sync import SteadySync

ALL = binarizers()
WORLD, STEPS = 2, 4


def network(name):
    """Two binary layers with the modules that the method adds."""
    torch.manual_seed(0)
    extent = {"extent": (6, 6)}
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        BatchNorm2d(4),
        BinaryConv2d(4, 4, 3, padding=1, binarizer=ALL[name](), rectify=True, **extent),
        BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        BinaryLinear(16, 5, binarizer=ALL[name](), rectify=True),
    )


def trained(name, rank):
    """The state after some steps, where no process is given another's buffers."""
    net = SteadySync().apply(network(name)).train()
    model = DistributedDataParallel(net, broadcast_buffers=False)
    optimizer = optimizer_of(model, ALL[name](), 0.01)
    attach(optimizer, net)
    images = torch.Generator().manual_seed(rank)
    for _ in range(STEPS):  # A parameter that a step did not use is an error in the next step.
        x = torch.randn(4, 3, 6, 6, generator=images) * (1 + rank)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(4)).backward()
        optimizer.step()
    return {key: value.clone() for key, value in net.state_dict().items()}


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    found = {}
    for name in ALL:
        if name == "WeightsOnly":  # of another method, which stands for itself
            continue
        try:
            found[name] = trained(name, rank)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
        dist.barrier()
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return found_by(work, WORLD, tmp_path_factory.mktemp("processes"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if name != "WeightsOnly"])
def test_all_processes_stay_equal_after_steps_on_different_images(found, name):
    left, right = (each[name] for each in found)
    assert isinstance(left, dict), left
    assert isinstance(right, dict), right
    torch.manual_seed(0)
    start = network(name).state_dict()
    differ = [key for key in left if not torch.equal(left[key], right[key])]
    assert differ == []
    assert any(not torch.equal(left[key], start[key]) for key in left), "nothing was learnt"
