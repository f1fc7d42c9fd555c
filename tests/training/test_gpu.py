"""Training on a GPU. Run `pytest -m gpu` on a machine that has one."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from xnorlit.binarize import binarizers
from xnorlit.models import build, network_named

ARMS = ("Float", "BWN", "XNOR", "DoReFa", "LSQ")
CUDA = "cuda"


def network(name="XNOR", device=CUDA):
    torch.manual_seed(0)
    built = build(network_named("alexnet-small"), binarizers()[name](), classes=10, image_size=32)
    return built.to(device)


def images(count=8, device=CUDA):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator).to(device)


def step(net, x, **autocast):
    """Logits and the largest gradient of each parameter after a step."""
    net.train()
    with torch.autocast(x.device.type, **autocast):
        logits = net(x)
    nn.functional.cross_entropy(logits.float(), torch.arange(len(x), device=x.device)).backward()
    return logits.detach().float(), {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.gpu
@pytest.mark.parametrize("name", ARMS)
def test_a_step_in_bf16_is_finite_and_its_latent_weights_are_fp32(name):
    net = network(name)
    logits, gradients = step(net, images(), dtype=torch.bfloat16)
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("name", ARMS)
def test_evaluation_on_the_gpu_is_that_of_the_cpu(name):
    on_cpu = network(name, "cpu")
    step(on_cpu, images(device="cpu"), enabled=False)
    on_gpu = copy.deepcopy(on_cpu).cuda()
    with torch.no_grad():
        expected, found = on_cpu.eval()(images(device="cpu")), on_gpu.eval()(images())
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ARMS)
def test_channels_last_changes_the_layout_and_not_the_numbers(name):
    plain, last = network(name).eval(), network(name).eval().to(memory_format=torch.channels_last)
    x = images()
    with torch.no_grad():
        expected, found = plain(x), last(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ARMS)
def test_a_compiled_step_equals_that_of_the_plain_network(name):
    plain, compiled = network(name), network(name)
    compiled.compile()
    expected, found = step(plain, images(), enabled=False), step(compiled, images(), enabled=False)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-3, atol=1e-3)
    assert found[1].keys() == expected[1].keys()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ARMS)
def test_deterministic_mode_repeats_a_step_bit_for_bit(name):
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (step(network(name), images(), enabled=False) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(first[1][key], second[1][key]) for key in first[1])


@pytest.mark.gpu
@pytest.mark.ffcv
def test_batches_of_ffcv_arrive_whole_on_the_gpu(tree, tmp_path):
    pytest.importorskip("ffcv")
    from xnorlit.data import ImageData

    data = ImageData(str(tree), root=tmp_path, backend="ffcv", image_size=16, batch_size=8)
    data.setup()
    kept = [(batch.images.cuda(non_blocking=True), batch.images.clone()) for batch in data.train_dataloader()]
    torch.cuda.synchronize()
    for there, here in kept:
        assert there.cpu().equal(here)
        assert there.is_contiguous(memory_format=torch.channels_last)


def _over_nccl(rank, world, folder):
    import torch.distributed as dist

    from xnorlit.training.sync import SteadySync

    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", f"file://{folder}/meeting", rank=rank, world_size=world)
    net = nn.parallel.DistributedDataParallel(SteadySync().apply(network()), device_ids=[rank])
    _, gradients = step(net, images(16).chunk(world)[rank], enabled=False)
    torch.save({key: value.cpu() for key, value in gradients.items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_processes_over_nccl_agree_on_every_gradient(tmp_path):
    torch.multiprocessing.spawn(_over_nccl, (2, tmp_path), nprocs=2)
    left, right = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert left
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture
def tree(tmp_path):
    """A folder tree of 3 classes, 24 training and 6 validation images of 16 px."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6)):
        for index in range(count):
            folder = tmp_path / "tree" / split / "abc"[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "tree"


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", sorted(binarizers()))
def test_no_graph_break_in_any_binarizers_network(name, training):
    net = network(name, "cpu").train(training)
    net(images(4, "cpu"))  # what a first batch sets is set
    torch._dynamo.reset()
    found = torch._dynamo.explain(net)(images(4, "cpu"))
    assert found.graph_break_count == 0, [reason.reason for reason in found.break_reasons]
