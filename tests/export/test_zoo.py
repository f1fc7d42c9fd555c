"""`xnorlit zoo RUN`: a run becomes a trained network with a card, from its own records."""

import json
import shutil

import pytest

from xnorlit.errors import UserError
from xnorlit.packed import trained
from xnorlit.packed.trained import Card
from xnorlit.training.environment import processor


@pytest.fixture
def made(xnorlit, run, tmp_path, monkeypatch):
    """The folder with a network of the run."""
    assert xnorlit("zoo", run, "--name", "mine", "--into", tmp_path, "--licence", "made here")[0] == 0
    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    return tmp_path


def test_a_run_becomes_a_network_with_a_card(made, run):
    card = trained.card("mine")
    assert isinstance(card, Card)
    summary = json.loads((run / "summary.json").read_text())
    assert card.seeds == {"0": round(100 * summary["top1"], 2)}
    assert (card.top1, card.differ, card.seed) == (card.seeds["0"], 0, 0)
    assert card.twin is not None
    assert card.top1_of_files == card.top1, "pictures of 32 pixels are stored as they are"
    assert (card.train_images, card.val_images, card.licence) == (48, 20, "made here")
    assert card.method == "XNOR, 1-bit weights and 1-bit inputs"
    assert trained.located("mine") == made / "mine.safetensors"
    assert "| top-1 % |" in (made / "mine.md").read_text()


@pytest.mark.parametrize("name", ["mine", "new"])
def test_ctrl_c_while_a_network_is_measured_leaves_the_others_as_they_were(name, xnorlit, made, run, monkeypatch):
    before = {file.name: file.read_bytes() for file in made.iterdir()}

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("xnorlit.commands.zoo.times", interrupted)
    assert xnorlit("zoo", run, "--name", name, "--into", made, "--ends", "int8")[0] != 0
    assert {file.name: file.read_bytes() for file in made.iterdir()} == before
    status, out, _ = xnorlit("zoo")
    assert (status, [line.split()[0] for line in out.splitlines()]) == (0, ["mine"])


def test_eight_bit_ends_are_asked_for_or_taken_above_4_mb(xnorlit, run, tmp_path, monkeypatch):
    monkeypatch.setattr("xnorlit.commands.zoo.LARGEST", 1000)
    assert xnorlit("zoo", run, "--into", tmp_path)[0] == 0
    assert json.loads((tmp_path / "cifar10-xnor.json").read_text())["ends"] == "int8"


@pytest.fixture
def second(run):
    """The same run with the next seed."""
    folder = run.with_name("seed-1")
    shutil.copytree(run, folder)
    yield folder
    shutil.rmtree(folder)


def test_the_lowest_seed_is_packed_and_no_other(xnorlit, run, second, tmp_path):
    status, _, err = xnorlit("zoo", second, "--into", tmp_path)
    assert status == 2
    assert f"give {run}" in err
    assert not list(tmp_path.iterdir())
    assert xnorlit("zoo", run, "--name", "mine", "--into", tmp_path)[0] == 0
    card = json.loads((tmp_path / "mine.json").read_text())
    assert sorted(card["seeds"]) == ["0", "1"]
    assert card["seed"] == 0


def test_a_run_that_was_moved_aside_is_on_no_card(xnorlit, run, tmp_path):
    """`--run.fresh` has replaced it."""
    aside = run.with_name(f"{run.name}.until-20260101-000000")
    shutil.copytree(run, aside)
    try:
        file = aside / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"top1": 0.125}))
        assert xnorlit("zoo", run, "--name", "mine", "--into", tmp_path)[0] == 0
    finally:
        shutil.rmtree(aside)
    top1 = 100 * json.loads((run / "summary.json").read_text())["top1"]
    assert json.loads((tmp_path / "mine.json").read_text())["seeds"] == {"0": pytest.approx(top1)}


def test_the_licence_of_unknown_images_is_asked_for(xnorlit, run, tmp_path, monkeypatch):
    monkeypatch.setattr("xnorlit.commands.zoo.NAMED", {})
    status, _, err = xnorlit("zoo", run, "--into", tmp_path)
    assert status == 2
    assert "licence" in err
    assert not list(tmp_path.iterdir())


def test_the_card_of_a_run_without_a_recipe_has_the_command_that_was_given(xnorlit, run, tmp_path, monkeypatch):
    monkeypatch.setattr("xnorlit.commands.zoo.Recipe.find", refused)
    assert xnorlit("zoo", run, "--name", "mine", "--into", tmp_path)[0] == 0
    card = json.loads((tmp_path / "mine.json").read_text())
    assert card["command"] == json.loads((run / "environment.json").read_text())["command"]
    assert card["recipe"] == "the settings of that command"


@pytest.mark.parametrize(
    ("given", "stated"),
    [
        ("xnorlit train xnor --experiment cifar10 --data {photos} --seed 0", None),
        (
            "__main__.py fit -c a/cifar10/base.yaml --config=cifar10/xnor.yaml --run.pair x --data.source={photos}",
            None,
        ),
        (
            "xnorlit train xnor --data {photos} --trainer.max_epochs 5",
            "xnorlit train xnor --data DIR --trainer.max_epochs 5",
        ),
        ("xnorlit fit -c mine.yaml --data.source={photos}", "xnorlit fit -c mine.yaml --data.source=DIR"),
    ],
)
def test_the_command_of_a_card_trains_the_run_again(given, stated, xnorlit, run, photos, tmp_path):
    copy = tmp_path / "runs" / "cifar10@photos" / "pair-0" / "xnor" / "seed-0"
    shutil.copytree(run, copy)
    file = copy / "environment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"command": given.format(photos=photos)}))
    assert xnorlit("zoo", copy, "--name", "mine", "--into", tmp_path / "zoo")[0] == 0
    card = json.loads((tmp_path / "zoo" / "mine.json").read_text())
    assert card["command"] == (stated or "xnorlit train xnor --experiment cifar10 --data DIR --seed 0")
    assert card["recipe"] == "experiments/cifar10/xnor.yaml"


@pytest.mark.parametrize("option", ["--data ", "--data.source="])
@pytest.mark.parametrize("name", ["data", "t"])
def test_the_name_of_the_images_is_replaced_in_no_other_word(name, option, xnorlit, run, photos, tmp_path, monkeypatch):
    copy = tmp_path / "runs" / f"cifar10@{name}" / "pair-0" / "xnor" / "seed-0"
    shutil.copytree(run, copy)
    (tmp_path / name).symlink_to(photos)
    monkeypatch.chdir(tmp_path)
    file, config = copy / "environment.json", copy / "config.yaml"
    config.write_text(config.read_text().replace(f"source: {photos}", f"source: {name}"))
    command = f"xnorlit train xnor {option}{{}} --data.workers 0 --trainer.max_epochs 5"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"command": command.format(name)}))
    assert xnorlit("zoo", copy, "--name", "mine", "--into", tmp_path / "zoo")[0] == 0
    assert json.loads((tmp_path / "zoo" / "mine.json").read_text())["command"] == command.format("DIR")


def test_the_times_are_of_the_machine_that_measures(xnorlit, run, tmp_path):
    copy = tmp_path / "cifar10" / "pair-0" / "xnor" / "seed-0"
    shutil.copytree(run, copy)
    file = copy / "environment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"cpu": "Elsewhere 9000"}))
    assert xnorlit("zoo", copy, "--name", "mine", "--into", tmp_path)[0] == 0
    card = json.loads((tmp_path / "mine.json").read_text())
    assert card["trained_on"].startswith("Elsewhere 9000, ")
    assert card["measured_on"].startswith(f"{processor()}, ")


def test_a_run_is_named_from_its_own_folder_too(xnorlit, run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent)
    assert xnorlit("zoo", run.name, "--name", "mine", "--into", tmp_path)[0] == 0
    assert json.loads((tmp_path / "mine.json").read_text())["twin"] is not None


def refused(name):
    raise UserError(f"no recipe named {name}")


def test_a_run_that_was_copied_elsewhere_is_packed_too(xnorlit, run, tmp_path):
    shutil.copytree(run, tmp_path / "copied")
    assert xnorlit("zoo", tmp_path / "copied", "--name", "mine", "--into", tmp_path / "zoo")[0] == 0
    card = json.loads((tmp_path / "zoo" / "mine.json").read_text())
    assert (card["seed"], card["seeds"], card["twin"]) == (0, {}, None)
    assert "other seeds are not known" in (tmp_path / "zoo" / "mine.md").read_text()


def test_a_name_with_folders_is_refused(xnorlit, run, tmp_path):
    status, _, err = xnorlit("zoo", run, "--name", "some/mine", "--into", tmp_path)
    assert status == 2
    assert "--name is some/mine. Expected a name without folders" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--name=mine", "--ends=int8", "--licence=mine", "--into=folder"])
def test_what_a_new_network_has_is_refused_without_its_run(xnorlit, option):
    status, out, err = xnorlit("zoo", option)
    assert (status, out) == (2, "")
    assert f"{option.partition('=')[0]} goes with RUN, from which a network is made." in err


def test_a_run_that_has_not_finished_is_refused(xnorlit, run, tmp_path):
    status, _, err = xnorlit("zoo", run.parent / "seed-7", "--into", tmp_path)
    assert status == 2
    assert "there is no run" in err
