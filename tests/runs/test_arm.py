"""An arm's name is built from its command line, and is a valid folder name."""

import pytest

from xnorlit.errors import UserError
from xnorlit.runs.arm import named, readable

WORDS = ["-c", "base.yaml", "--model.binarizer=XNOR", "--model.binarizer.gradient", "ste", "--seed_everything=3"]


def test_options_in_braces_are_replaced_by_their_values():
    assert named("{model.binarizer}-{model.binarizer.gradient}", WORDS) == "XNOR-ste"
    assert named("xnor", WORDS) == "xnor"
    assert named("{model.binarizer}", [*WORDS, "--model.binarizer=BWN"]) == "BWN", "the last one holds"


def test_a_missing_option_is_named_with_the_near_miss():
    with pytest.raises(UserError, match=r"does not set --model\.binarizer\.gradiet.*Did you mean model\.binarizer\.g"):
        named("{model.binarizer.gradiet}", WORDS)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("{class_path: DoReFa, init_args: {weight_bits: 8, input_bits: 32}}", "DoReFa-8-32"),
        ("{'class_path': 'xnorlit.binarize.XNOR', 'init_args': {'input_scale': 'K'}}", "XNOR-K"),
        ("[CrossEntropy, {class_path: Distillation}]", "CrossEntropy-Distillation"),
        ("1e-20", "1e-20"),
        ("0.003", "0.003"),
        ("-1", "minus-1"),
        ("-.5", "minus-.5"),
        ("[1, -1]", "1-minus-1"),
        ("-c", "c"),
        ("alpha + K", "alpha-+-K"),
        ("../../etc", "etc"),
        ("{broken", "broken"),
        ("", "empty"),
    ],
)
def test_a_value_is_spelled_as_a_part_of_a_folders_name(value, name):
    assert readable(value) == name
