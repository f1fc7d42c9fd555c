"""Files made at 294a848 still load, resume, compare and classify; `make.py` documents how they were made."""

import importlib
import json
import lzma
import re
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.compat import tiny
from tests.one_parser import share_parser
from xnorlit import binarize, models, runs
from xnorlit.commands import resolve
from xnorlit.commands.main import main
from xnorlit.runs.config import flatten, load_config
from xnorlit.runs.moved import MOVED, _warn, with_current_paths

HERE = Path(__file__).parent
PAIR = Path("runs", "kept", "pair-0")
STEPS, EPOCHS = 6, 2


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with tarfile.open(HERE / "home.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def home(unpacked, tmp_path, monkeypatch):
    """The current folder, with the pictures, the runs and the outputs of 294a848."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = tmp_path / "home"
    shutil.copytree(unpacked, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["xnorlit"])
    tiny.register(monkeypatch.setattr)
    share_parser(monkeypatch.setattr)
    return folder


def xnorlit(capsys, *words):
    capsys.readouterr()
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    assert status == 0, said.err
    return said.out


def test_the_fixtures_are_small():
    assert sum(file.stat().st_size for file in HERE.iterdir() if file.is_file()) < 400_000


@pytest.mark.parametrize("arm", ["xnor", "float"])
def test_a_finished_run_is_read_with_its_numbers(home, arm):
    run = runs.read(PAIR / arm / "seed-0")
    written = json.loads((run.path / "summary.json").read_text())
    assert run.summary.top1 == written["top1"]
    assert run.summary.epochs == EPOCHS
    assert run.predictions.correct(1).mean() == pytest.approx(written["top1"])
    assert run.curves["train/loss_step"].step.tolist() == list(range(EPOCHS * STEPS))
    assert run.environment.commit.startswith("294a848")
    assert run.place.group == ("kept", "pair-0")


@pytest.mark.parametrize("arm", ["killed", "interrupted", "flipping"])
def test_an_unfinished_run_is_recognised(home, arm):
    (found,) = [run for run in runs.find("runs") if run.path == PAIR / arm / "seed-0"]
    assert isinstance(found, runs.BrokenRun)
    assert found.unfinished
    assert "is not finished" in found.reason


def test_the_pair_compares_as_it_did(home, capsys):
    before, now = json.loads(Path("compare.json").read_text()), json.loads(xnorlit(capsys, "compare", "--json"))
    then, today = flatten(before), flatten(now)
    numbers = {key: value for key, value in then.items() if isinstance(value, float | int)}
    assert len(numbers) > 20
    assert {key: today.get(key) for key in numbers} == pytest.approx(numbers, nan_ok=True)


@pytest.mark.parametrize("arm", ["xnor", "float"])
def test_a_checkpoint_validates_to_what_its_run_reported(home, capsys, arm):
    run = PAIR / arm / "seed-0"
    said = xnorlit(capsys, "validate", "-c", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "last.ckpt")
    told = re.search(r"val/top1\D+([\d.]+)", said)
    assert float(told[1]) == pytest.approx(runs.read(run).summary.top1)


@pytest.mark.parametrize("file", ["packed.safetensors", "packed-int8.safetensors"])
def test_a_packed_file_classifies_as_it_did(home, capsys, file):
    before = json.loads(Path(f"{file}.json").read_text())["pictures"]
    now = json.loads(xnorlit(capsys, "classify", PAIR / "xnor" / "seed-0" / file, "pictures/val", "--json"))["pictures"]
    assert len(before) == 9
    assert answers(now) == answers(before)


def test_a_run_packs_to_a_file_that_answers_as_the_former_one(home, capsys):
    xnorlit(capsys, "pack", PAIR / "xnor" / "seed-0", "--out", "again.safetensors")
    now = json.loads(xnorlit(capsys, "classify", "again.safetensors", "pictures/val", "--json"))["pictures"]
    assert answers(now) == answers(json.loads(Path("packed.safetensors.json").read_text())["pictures"])


def answers(pictures):
    return {
        (picture["picture"], each["class"]): pytest.approx(each["probability"], abs=1e-6)
        for picture in pictures
        for each in picture["top"]
    }


@pytest.mark.parametrize(("arm", "step"), [("killed", STEPS), ("interrupted", 10), ("flipping", 4)])
def test_an_unfinished_run_resumes_to_its_end(home, capsys, arm, step):
    folder = PAIR / arm / "seed-0"
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == step
    said = xnorlit(capsys, "fit", "-c", folder / "config.yaml", "--run.resume", "true", "--run.wandb", "off")
    assert "deprecated" not in said or MOVED
    run = runs.read(folder)
    assert run.summary.epochs == EPOCHS
    losses = run.curves["train/loss_step"]
    assert losses.step.tolist() == list(range(EPOCHS * STEPS))
    assert np.isfinite(losses.value).all()


def test_a_killed_run_sees_the_same_samples_as_an_uninterrupted_one(home, capsys):
    """The killed arm is xnor. Another processor may round differently, and so flip other weights after some steps."""
    folder = PAIR / "killed" / "seed-0"
    xnorlit(capsys, "fit", "-c", folder / "config.yaml", "--run.resume", "true")
    ours, whole = (run.curves["train/loss_step"].value for run in (runs.read(folder), runs.read(PAIR / "xnor/seed-0")))
    assert ours[: STEPS + 1] == pytest.approx(whole[: STEPS + 1], rel=1e-4)


def test_the_wandb_id_of_an_interrupted_run_goes_on(home, capsys, monkeypatch):
    folder = PAIR / "flipping" / "seed-0"
    made = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["RunRecord"]["wandb_id"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    xnorlit(capsys, "fit", "-c", folder / "config.yaml", "--run.resume", "true")
    assert runs.read(folder).summary.wandb_id == made


def test_a_run_with_another_setting_is_not_resumed(home, capsys):
    folder = PAIR / "killed" / "seed-0"
    words = ["fit", "-c", folder / "config.yaml", "--run.resume", "true", "--data.batch_size", "5"]
    assert main([str(word) for word in words]) == 2
    assert "data.batch_size: started with 4, now 5" in capsys.readouterr().err


def test_every_configuration_still_has_the_same_meaning(home, monkeypatch):
    """The configurations of the recipes together contain every class path. Newer settings have their defaults."""
    files = sorted(Path("configs").glob("*.yaml"))
    lines = [["-c", str(file)] for file in files]
    for file, answer in zip(files, resolve.resolved(lines), strict=True):
        assert "config" in answer, f"{file}: {answer}"
        then, now = flatten(load_config(file)), flatten(answer["config"])
        assert {key: now.get(key, "absent") for key in then} == then


CLASS_PATHS = (HERE / "class_paths.txt").read_text().split()


@pytest.mark.parametrize("path", CLASS_PATHS)
def test_a_class_path_resolves_to_its_class(path):
    module, _, name = with_current_paths(path).rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, type)
    assert name == path.rpartition(".")[2]


def test_the_table_of_moved_class_paths_is_as_short_as_it_can_be():
    for former, now in MOVED.items():
        assert any(f"{path}.".startswith(f"{former}.") for path in CLASS_PATHS), f"no configuration names {former}"
        assert with_current_paths(now) == now, f"{former} -> {now} -> {with_current_paths(now)}: say where it ends up"


STATE = json.loads(lzma.decompress((HERE / "state.json.xz").read_bytes()))


@pytest.mark.parametrize("made", STATE)
def test_a_network_keeps_the_names_shapes_and_order_of_its_tensors(made):
    first, _, second = made.rpartition(" ")
    if first in ("", "float"):
        network, binarizer = second, "Float" if first else "XNOR"
    else:
        binarizer, network = first, second
    table = models.network_named(network)
    with torch.device("meta"):
        net = models.build(table, binarize.binarizers()[binarizer](), classes=10, image_size=table.image_size)
    assert [[key, list(value.shape)] for key, value in net.state_dict().items()] == STATE[made]


@pytest.fixture
def moved(monkeypatch):
    """Pretend that the schedules and DoReFa had been in other modules."""
    monkeypatch.setitem(MOVED, "xnorlit.optimising.rates", "xnorlit.training.schedule")
    monkeypatch.setitem(MOVED, "xnorlit.quantize.Dorefa", with_current_paths("xnorlit.binarize.dorefa.DoReFa"))
    _warn.cache_clear()


def test_a_moved_class_path_in_a_file_is_replaced_with_a_notice(home, moved, capsys, tmp_path):
    file = tmp_path / "moved.yaml"
    config = yaml.safe_load((PAIR / "xnor" / "seed-0" / "config.yaml").read_text())
    config["model"]["schedule"]["class_path"] = "xnorlit.optimising.rates.WarmupCosine"
    config["model"]["layers"] = {"fc3": {"class_path": "xnorlit.quantize.Dorefa"}}
    file.write_text(yaml.safe_dump(config))
    (answer,) = resolve.resolved([["-c", str(file)]])
    assert answer["config"]["model"]["schedule"]["class_path"] == "xnorlit.training.schedule.WarmupCosine"
    assert answer["config"]["model"]["layers"]["fc3"]["class_path"].endswith(".DoReFa")
    lines = [line for line in capsys.readouterr().out.splitlines() if "deprecated" in line]
    assert len(lines) == 2, "each is said once"
    assert "write xnorlit.training.schedule.WarmupCosine" in "".join(lines)


@pytest.mark.parametrize(
    "words", [["--model.layers={fc3: xnorlit.quantize.Dorefa}"], ["--model.layers.fc3=xnorlit.quantize.Dorefa"]]
)
def test_a_moved_class_path_on_the_command_line_is_replaced(home, moved, capsys, words):
    (answer,) = resolve.resolved([["-c", str(PAIR / "xnor" / "seed-0" / "config.yaml"), *words]])
    assert answer["config"]["model"]["layers"]["fc3"]["class_path"].endswith(".DoReFa")
    assert "the class path xnorlit.quantize.Dorefa is deprecated" in capsys.readouterr().out


def test_a_run_recorded_with_a_moved_class_path_reads_and_resumes(home, moved, capsys):
    file = PAIR / "killed" / "seed-0" / "config.yaml"
    file.write_text(file.read_text().replace("xnorlit.training.schedule.", "xnorlit.optimising.rates."))
    assert load_config(file)["model"]["schedule"]["class_path"] == "xnorlit.training.schedule.WarmupCosine"
    xnorlit(capsys, "fit", "-c", file, "--run.resume", "true")
    assert runs.read(file.parent).summary.epochs == EPOCHS


@pytest.mark.parametrize("path", ["xnorlit.DoReFa", "xnorlit.binarize.dorefa.DoReFa", "DoReFa"])
def test_a_class_is_recorded_under_one_path_however_it_was_named(home, path):
    words = ["-c", str(PAIR / "xnor" / "seed-0" / "config.yaml"), f"--model.binarizer={path}"]
    (answer,) = resolve.resolved([words])
    assert answer["config"]["model"]["binarizer"]["class_path"] == "xnorlit.binarize.dorefa.DoReFa"


@pytest.mark.parametrize(
    "other",
    ["xnorlit.optimising.rates2.Steps", "xnorlit.quantize.Dorefa2", "torch.optim.SGD", "xnorlit", "a text", 3, None],
)
def test_unmoved_paths_stay(moved, capsys, other):
    assert with_current_paths({"class_path": other, "list": [other]}, warn=True) == {
        "class_path": other,
        "list": [other],
    }
    assert capsys.readouterr().out == ""
