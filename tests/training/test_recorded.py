"""What a run's configuration says of its network is what is built again."""

from pathlib import Path

import pytest
import torch

from xnorlit.errors import UserError
from xnorlit.training.losses.base import refuse_other_teachers
from xnorlit.training.losses.cross_entropy import CrossEntropy
from xnorlit.training.losses.distillation import Distillation
from xnorlit.training.recorded import images, untrained

MODEL = {"network": "alexnet-small", "binarizer": {"class_path": "xnorlit.binarize.xnor.XNOR"}}


@pytest.mark.parametrize(("data", "size"), [(None, 32), ({}, 32), ({"image_size": None}, 32), ({"image_size": 48}, 48)])
def test_the_size_is_the_recorded_one_or_the_networks_own(data, size):
    state = torch.get_rng_state()
    net, found = untrained({"model": MODEL, "data": data}, Path("config.yaml"), classes=7)
    assert found == size
    assert net(torch.zeros(2, 3, size, size, dtype=torch.uint8)).shape == (2, 7)
    assert not net.training
    assert torch.equal(state, torch.get_rng_state()), "nobody else's draws depend on it"


def test_a_configuration_of_another_version_is_refused():
    with pytest.raises(UserError, match=r"config\.yaml has settings that this version does not know"):
        images({"data": {"source": "synthetic", "of_the_next_version": 1}}, Path("config.yaml"))


@pytest.mark.parametrize("key", ["network", "binarizer"])
def test_a_class_of_a_folder_that_python_does_not_know_is_named_with_its_remedy(key):
    model = {**MODEL, key: {"class_path": "elsewhere.Mine", "init_args": {"classes": 7}}}
    with pytest.raises(UserError, match=r"config\.yaml names elsewhere\.Mine.*folder with the file elsewhere\.py"):
        untrained({"model": model}, Path("config.yaml"), classes=7)


def test_a_run_goes_on_with_the_teachers_that_it_began_with():
    losses = [CrossEntropy(), Distillation("float")]
    losses[1].learnt_from = "a"
    refuse_other_teachers(["", "a"], losses)
    refuse_other_teachers([], losses)  # of an earlier version, which did not record them
    for then in (["", "b"], ["", ""], ["x", "a"]):
        with pytest.raises(UserError, match="has changed since the run started"):
            refuse_other_teachers(then, losses)
