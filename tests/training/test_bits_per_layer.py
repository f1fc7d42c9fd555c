"""Bits per layer from a file or the command line. An unknown layer is refused before any image is read."""

import pytest
import yaml

from xnorlit.commands.main import main

OVERRIDES = {
    "conv1": {"class_path": "WeightsOnly", "init_args": {"method": "XNOR"}},
    "conv2": "Float",
    "fc*": {"class_path": "BWN", "init_args": {"gradient": "ste"}},
    "fc8": {"class_path": "LSQ", "init_args": {"weight_bits": 8, "input_bits": 8}},
}


@pytest.fixture
def fit(photos, tmp_path, capsys):
    """Try two steps with further arguments; return the status, output and messages."""

    def run(*words):
        status = main(
            [
                *("fit", "--model.network", "alexnet-small", "--model.binarizer", "XNOR", "--data.source", str(photos)),
                *("--data.backend", "folder", "--data.batch_size", "2", "--trainer.accelerator", "cpu"),
                *("--trainer.max_epochs", "1", "--trainer.fast_dev_run", "2", "--run.root", str(tmp_path / "runs")),
                *words,
            ]
        )
        return status, *capsys.readouterr()

    return run


def test_layers_are_overridden_in_a_file(fit, tmp_path):
    file = tmp_path / "layers.yaml"
    file.write_text(yaml.safe_dump({"model": {"layers": OVERRIDES}}))
    status, out, err = fit("-c", str(file))
    assert status == 0, err
    assert "6 binary layers, 1 of 8 bits, 1 float; " in out


@pytest.mark.parametrize(
    "words",
    [
        ("--model.layers", "{conv2: Float, fc*: BWN}"),
        ("--model.layers.conv2", "Float"),
        ("--model.layers.conv2", "LSQ", "--model.layers.conv2.init_args.weight_bits", "8"),
        ("--model.layers", "{fc8: {class_path: DoReFa, init_args: {weight_bits: 8, input_bits: 8}}}"),
    ],
)
def test_layers_are_overridden_on_the_command_line(fit, words):
    status, out, err = fit(*words)
    assert status == 0, err
    assert "[done]" in out


@pytest.mark.parametrize(
    "words",
    [("--model.layers", "{conv22: Float}"), ("--model.layers.conv22", "Float")],
)
def test_an_unknown_layer_is_refused_before_any_image_is_read(fit, words):
    status, out, err = fit(*words)
    assert status == 2
    assert "no layer of alexnet-small matches 'conv22'. Did you mean conv2? Layers: conv1, conv2," in err
    assert "[data]" not in out
