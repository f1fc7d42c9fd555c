"""A new binarizer needs one file: the parametrised tests find it, and find its mistakes."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.faults import forked  # noqa: F401 - computes a gradient before any fork
from tests.processes import status_of

SUITE = Path(__file__).with_name("test_every_binarizer.py")
ONE_FILE = '''
import torch
from torch import nn

from xnorlit.binarize import Binarizer, Codes


class Thrown(Binarizer):
    """`weight(W) = sign(W) / 4`, `input(x) = sign(x)`, both with the gradient of a clip.

    Source: nobody.
    """

    weight_bits, input_bits, signed_input = 1, 1, True

    def weight(self, weight):
        return self.input(weight) / 4

    def input(self, x):
        clip = x.clamp(-1, 1)
        return clip + (self.input_codes(x).values - clip).detach()

    def weight_codes(self, weight):
        return Codes(self.input_codes(weight).values, weight.new_tensor(0.25))

    def input_codes(self, x):
        return Codes(torch.where(x >= 0, 1.0, -1.0).to(x), x.new_ones(()))

    def post_layer(self, outputs):
        return nn.PReLU(outputs)


class Broken(Thrown):
    def weight(self, weight):
        return super().weight(weight).detach()

    def weight_codes(self, weight):
        return Codes(self.input_codes(weight).values, weight.new_tensor(0.5))


class Forgetful(Thrown):
    def setup(self, weight):
        self.shift = torch.rand(())

    def output(self, y):
        return y + 10 * self.shift

    def post_layer(self, outputs):
        return None


class Wavering(Thrown):
    def weight_codes(self, weight):
        found = super().weight_codes(weight)
        return found._replace(values=found.values * torch.where(torch.rand_like(weight) < 0.5, -1, 1))
'''


def in_a_child(folder, log):
    """Run the suite over those classes in a fork of this process, which has imported torch."""

    def work():
        output = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.environ["COLUMNS"] = "200"
        os.chdir(SUITE.parents[2])
        sys.path.insert(0, str(folder))
        for name in [name for name in sys.modules if name.startswith("tests.binarize")]:
            del sys.modules[name]  # it lists all binarizers on import
        classes = " or ".join(re.findall(r"^class (\w+)", ONE_FILE, re.M))
        words = ["-p", "thrown_away", "-p", "no:cacheprovider", "-k", classes, "-v", "--color=no"]
        pytest.main([str(SUITE), *words])

    assert status_of(work) == 0
    return log.read_text()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """`{class: {test: outcome}}` from the suite in a process that knows the file's classes."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "thrown_away.py").write_text(ONE_FILE)
    said = in_a_child(folder, folder / "log")
    found = {name: {} for name in re.findall(r"^class (\w+)", ONE_FILE, re.M)}
    for test, name, outcome in re.findall(r"::(\w+)\[(\w+)\] (PASSED|FAILED|SKIPPED)", said):
        found[name][test] = outcome
    assert found["Thrown"], said
    return found


def test_every_promise_is_tested_and_kept(outcomes):
    promises = re.findall(r'parametrize\("name", ALL\)\ndef (\w+)', SUITE.read_text())
    assert outcomes["Thrown"] == dict.fromkeys(promises, "PASSED")


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("Broken", "test_training_and_evaluation_compute_the_same"),
        ("Broken", "test_codes_times_scale_is_the_operand"),
        ("Broken", "test_gradients_reach_weights_inputs_and_bias"),
        ("Broken", "test_two_steps_train_every_parameter_of_a_network"),
        ("Broken", "test_the_docstring_states_formula_and_source"),
        ("Forgetful", "test_a_trained_network_comes_back_from_its_file"),
        ("Wavering", "test_the_packed_network_computes_the_evaluation_or_the_refusal_names_the_layer"),
    ],
)
def test_mistakes_in_a_binarizer_are_found(outcomes, name, test):
    assert outcomes[name][test] == "FAILED"
