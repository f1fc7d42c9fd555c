"""`trainer.sync_batchnorm` finds every norm of a network, however deep it lies, and changes only its statistics."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from xnorlit.layers import BatchNorm1d, BatchNorm2d
from xnorlit.training.sync import SteadySync, set_copies


def network():
    inner = nn.Sequential(BatchNorm2d(3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    return nn.Sequential(inner, BatchNorm1d(5), nn.BatchNorm1d(6))


def test_steady_norms_stay_and_count_all_processes_and_others_become_torchs():
    net = network()
    (steady, plain, conv), norm, flat = net[0], net[1], net[2]
    plain.running_mean.fill_(7)
    found = SteadySync().apply(net)
    assert found is net
    assert (found[0][0], found[0][2], found[1]) == (steady, conv, norm)
    assert steady.synced is True
    assert norm.synced is True
    assert [type(found[0][1]), type(found[2])] == [nn.SyncBatchNorm] * 2
    assert (found[0][1].running_mean == 7).all()
    assert found[2].num_features == flat.num_features
    assert SteadySync().revert(found) is found


def test_only_steady_norms_know_of_copies_of_samples():
    net = network()
    set_copies(net, 4)
    assert [net[0][0].copies, net[1].copies] == [4, 4]
    assert not hasattr(net[0][1], "copies")


@pytest.fixture
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("without", [(), ("weight",), ("bias",), ("weight", "bias")], ids="-".join)
@pytest.mark.parametrize(("kind", "shape"), [(BatchNorm1d, (8, 3)), (BatchNorm2d, (4, 3, 5, 2))])
def test_a_synced_norm_of_one_process_is_torchs_with_or_without_gamma_and_beta(one_process, kind, shape, without):
    torch.manual_seed(0)
    norm, x = kind(3), torch.randn(shape)
    for name in ("weight", "bias"):
        setattr(norm, name, None if name in without else nn.Parameter(torch.randn(3)))
    plain = copy.deepcopy(norm)
    y, expected = SteadySync().apply(norm)(x), plain(x)
    torch.testing.assert_close(y, expected)
    assert y.requires_grad == expected.requires_grad
    if y.requires_grad:
        y.pow(3).sum().backward()
        expected.pow(3).sum().backward()
    for ours, theirs in zip(norm.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, theirs in zip(norm.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
