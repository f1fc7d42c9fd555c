"""`xnorlit summary` lists a network's size and operations, by name or recipe, without training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.tables import BINARY_224, MACS_224
from xnorlit.binarize import binarizers
from xnorlit.commands.main import main
from xnorlit.models import networks
from xnorlit.runs.recipes import Recipe

SETTING = '{"class_path":"XNOR","init_args":{"%s":"st"}}'
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RECIPES = sorted(
    {
        str(folder.relative_to(EXPERIMENTS))
        for base in EXPERIMENTS.rglob("base.yaml")
        for folder in (base.parent, *base.parent.iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }
)


@pytest.fixture
def summary(capsys):
    """Run the command; return its output."""

    def run(*words):
        assert main(["summary", *words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def test_the_totals_of_the_papers_network(summary):
    total = json.loads(summary("--network", "alexnet-xnor", "--json"))["total"]
    assert total["parameters"] == 62_397_672
    ends = 105_415_200 + 4_096_000
    assert (total["few_bit_macs"], total["float_macs"]) == (MACS_224 - ends, ends)
    assert total["fp32_bits"] == 32 * 62_397_672
    assert total["code_bits"] == BINARY_224 + 32 * (34_848 + 4_096_000)
    assert total["code_bits"] < total["packed_bits"] < total["fp32_bits"]


def test_the_table_has_a_line_per_layer_and_one_of_totals(summary):
    lines = summary("--network", "alexnet-small", "--binarizer", "XNOR").splitlines()
    assert lines[0].startswith("alexnet-small, XNOR, 32 x 32 pixels, 10 classes (ours: ")
    words = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert words["conv2"][:7] == ["96x48x3x3", "96x16x16", "1", "/", "1", "41,760", "10,616,832"]
    assert words["fc8"][:5] == ["10x512", "10", "32", "/", "32"]
    assert words["total"][0] == "1,472,650"
    assert "5.62 MiB as trained in fp32, 0.212 MiB packed: 26.5 x smaller" in lines


def test_a_recipe_is_read_and_options_override_it(summary, tmp_path):
    layers = tmp_path / "layers.yaml"
    layers.write_text("model: {layers: {'fc*': {class_path: BWN, init_args: {gradient: ste}}}}")
    recipe = ["-c", f"{EXPERIMENTS}/cifar10/base.yaml", "-c", f"{EXPERIMENTS}/cifar10/xnor.yaml", "-c", str(layers)]
    found = json.loads(summary(*recipe, "--classes", "3", "--json"))
    assert (found["network"], found["image_size"], found["classes"]) == ("alexnet-small", 32, 3)
    bits = {layer["name"]: (layer["weight_bits"], layer["input_bits"]) for layer in found["layers"]}
    assert (bits["conv3"], bits["fc6"], bits["fc8"]) == ((1, 1), (1, 32), (1, 32))
    assert "alexnet-small, Float, " in summary(*recipe, "--binarizer", "Float")


@pytest.mark.parametrize("name", binarizers())
def test_every_binarizer_has_a_summary_line(name, summary):
    words = ("--network", "alexnet-small", "--binarizer", name)
    found = json.loads(summary(*words, "--json"))
    assert found["layers"][2]["weight_bits"] == binarizers()[name]().weight_bits
    assert "not trained" not in summary(*words), "whether the method has a packed form, not this network"


@pytest.mark.parametrize("name", binarizers())
def test_every_binarizer_has_a_summary_in_a_network_with_shortcuts(name, summary):
    words = ("--network", "resnet20", "--binarizer", name)
    bits = {layer["name"]: layer["weight_bits"] for layer in json.loads(summary(*words, "--json"))["layers"]}
    assert bits["unit1.conv"] == binarizers()[name]().weight_bits
    assert summary(*words).startswith(f"resnet20, {name}, ")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_arm_of_every_recipe_has_a_summary(recipe, summary):
    found = Recipe.find(recipe, EXPERIMENTS)
    for base in (found.base, *found.folder.glob("base-*.yaml")):
        for overlay in found.overlays.values():
            files = dict.fromkeys([found.base, base, overlay])
            assert "\ntotal " in summary(*(word for file in files for word in ("-c", str(file))))


@pytest.mark.parametrize("name", networks())
def test_every_network_has_a_summary(name, summary):
    assert json.loads(summary("--network", name, "--binarizer", "BWN", "--json"))["network"] == name


def test_settings_of_a_binarizer_count(summary):
    words = ("--network", "alexnet-small", "--binarizer")
    two = json.loads(summary(*words, "{class_path: DoReFa, init_args: {weight_bits: 2, input_bits: 2}}", "--json"))
    assert {(layer["weight_bits"], layer["input_bits"]) for layer in two["layers"]} == {(2, 2), (32, 32)}


def test_a_method_without_a_packed_form_says_why(summary):
    told = summary("--network", "alexnet-small", "--binarizer", "TTQ")
    assert "no packed form for conv2, conv3, conv4, conv5, fc6, fc7: its weights have two scales" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--network alexnet-smal", "no network named alexnet-smal. Did you mean alexnet-small?"),
        ("--binarizer XNR", "no binarizer named XNR. Did you mean XNOR? Known: "),
        (
            f"--binarizer {SETTING % 'gradiet'}",
            "XNOR has no setting gradiet (model.binarizer). Did you mean gradient? ",
        ),
        (f"--binarizer {SETTING % 'gradient'}", "model.binarizer.gradient is st. Expected one of corrected, paper"),
        ("--classes 0", "--classes: expected a whole number, 1 or more, not '0'"),
        ("--image-size many", "--image-size: expected a whole number, 1 or more, not 'many'"),
        ("--netwrk alexnet", "xnorlit summary has no option --netwrk. Did you mean --network?"),
        ("-c nowhere.yaml", "the configuration file nowhere.yaml does not exist"),
        ("--network alexnet --binarizer XNOR", "conv2: XNOR takes the sign of a ReLU's output"),
        ("--network alexnet-xnor --image-size 20", "the image is too small for this network"),
    ],
)
def test_mistakes_give_one_message(words, message, capsys):
    assert main(["summary", *words.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("error:") == 1


def test_neither_lightning_nor_the_data_room_is_loaded():
    code = (
        "import sys; from xnorlit.commands.main import main; main(['summary', '--network', 'alexnet-small']);"
        "heavy = {'pytorch_lightning', 'torchvision', 'xnorlit.data', 'xnorlit.training'};"
        "print('loaded:', *heavy & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_the_cycles_on_an_fpga_are_printed_and_their_options_stay_with_them(summary, capsys):
    out = summary("--network", "cnv", "--target", "fpga", "--unfolding", "576", "--copies", "4")
    assert "from one image to the next: 14,400 cycles" in out
    assert "images per second at" not in out
    for words in (["--clock", "100"], ["--target", "fpga", "--json"], ["--target", "fpga", "--clock", "0"]):
        assert main(["summary", "--network", "cnv", *words]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert "--target fpga" in told.err or "--clock is 0" in told.err
