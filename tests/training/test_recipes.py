"""Every recipe parses against the real signatures, documents itself, trains, and is chosen for its images."""

import functools
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.models.narrow import narrow
from tests.training.conftest import CLASSES
from xnorlit.binarize import binarizers
from xnorlit.commands.main import COMMANDS, main
from xnorlit.comparison.difference import difference
from xnorlit.data.sources import NAMED
from xnorlit.runs.recipes import is_base
from xnorlit.runs.settings import given

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
BASES = sorted([*EXPERIMENTS.glob("*/base.yaml"), *EXPERIMENTS.glob("*/*/base.yaml")])
VARIANTS = sorted(file for base in BASES for file in base.parent.glob("base-*.yaml"))
OVERLAYS = sorted(file for base in BASES for file in base.parent.glob("*.yaml") if not is_base(file))
NAMES = [f"{file.parent.name}/{file.stem}" for file in OVERLAYS]
CANDIDATES = sorted(EXPERIMENTS.glob("*/search/*.yaml"))


def options(overlay):
    return ["-c", str(beside(overlay, "base")), "-c", str(overlay)]


def beside(overlay, name):
    """The recipe's own file of that name; a folder of candidates uses those of the folder above."""
    return next(file for folder in overlay.parents if (file := folder / f"{name}.yaml").is_file())


@functools.cache
def resolved(overlay):
    """The configuration of a run of the overlay. Tests share it, so do not change it."""
    printed = io.StringIO()
    with pytest.raises(SystemExit) as stop, redirect_stdout(printed):
        main(["fit", *options(overlay), "--print_config"])
    assert stop.value.code == 0
    return yaml.safe_load(printed.getvalue())


def flat(config, prefix=""):
    if not isinstance(config, dict):
        return {prefix[:-1]: config}
    return {key: value for name, part in config.items() for key, value in flat(part, f"{prefix}{name}.").items()}


@pytest.mark.parametrize("overlay", OVERLAYS, ids=NAMES)
def test_it_parses_and_files_its_run_under_its_own_name(overlay):
    config = resolved(overlay)
    assert config["run"]["experiment"] == overlay.parent.name
    assert config["run"]["arm"] == overlay.stem
    package, _, name = config["model"]["binarizer"]["class_path"].rpartition(".")
    assert package.partition(".")[0] == "xnorlit"
    assert name in binarizers()


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.parent.name)
def test_it_starts_with_the_main_results(base):
    header = "".join(line for line in base.read_text().splitlines(keepends=True) if line.startswith("#"))
    for word in ("# Source:", "# Hardware:", "# Expect:", "# Command:"):
        assert word in header
    refuse_stale_header(base)
    page = base.with_name("README.md")
    if page.is_file() and "| [`float`]" in page.read_text():
        assert "(run here: " in header, "its page has a table"


def refuse_stale_header(file):
    """A header says either where the accuracy that was measured here is, or that it was not."""
    assert ("(run here: " in file.read_text()) != ("not run here" in file.read_text())


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.parent.name)
def test_the_float_twin_of_the_arm_that_its_command_trains_is_matched(base):
    """Or it declares further differences in `run.pair_differs`."""
    (arm,) = re.findall(r"^# Command: +(?:make train-|xnorlit train )([\w-]+)", base.read_text(), re.M)
    binary, twin = (flat(resolved(base.with_name(f"{each}.yaml"))) for each in (arm, "float"))
    kind = difference(binary, twin).kind
    assert kind == ("declared" if binary["run.pair_differs"] else "matched")


def test_the_papers_float_arm_is_declared_as_published():
    xnor, alexnet = (flat(resolved(EXPERIMENTS / "imagenet" / f"{arm}.yaml")) for arm in ("xnor", "alexnet"))
    assert difference(xnor, alexnet).kind == "published"


def test_dorefas_published_float_arm_is_its_twin_but_for_the_network():
    arms = (EXPERIMENTS / "imagenet-dorefa" / f"{arm}.yaml" for arm in ("dorefa", "float-relu"))
    found = difference(*(flat(resolved(arm)) for arm in arms))
    assert (found.kind, found.named("declared")) == ("published", ("model.network",))


def test_every_overlay_says_how_it_is_run():
    for overlay in OVERLAYS:
        commands = re.findall(r"(?:make train-|xnorlit train )([\w-]+)", overlay.read_text())
        assert overlay.stem in commands, overlay


def test_the_recipe_that_learns_from_the_twin_declares_it():
    best, twin = (flat(resolved(EXPERIMENTS / "cifar10" / f"{arm}.yaml")) for arm in ("best", "float"))
    found = difference(best, twin)
    assert found.kind == "declared"
    assert {"model.init_from", "model.losses", "trainer.callbacks"} == {item.key for item in found.keys_of("declared")}


def kind_beside_the_twin(overlay):
    arm, twin = (flat(resolved(file)) for file in (overlay, beside(overlay, "float")))
    return difference(arm, twin).kind


@pytest.mark.parametrize(
    "overlay", [file for file in OVERLAYS if file.stem != "float"], ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_an_arm_differs_from_the_twin_in_what_it_declares(overlay):
    assert kind_beside_the_twin(overlay) in ("matched", "declared", "published")


@pytest.mark.parametrize("overlay", CANDIDATES, ids=lambda file: file.stem)
def test_a_candidate_has_the_twins_network_and_only_declared_differences(overlay):
    assert resolved(overlay)["run"]["arm"] == overlay.stem
    assert kind_beside_the_twin(overlay) in ("matched", "declared")


def whole(overlay):
    """Whether a recipe trains at full size in these tests: those of the small AlexNet, and the paper's twin."""
    return overlay.parent.name == "cifar10" or overlay == EXPERIMENTS / "imagenet" / "float.yaml"


def recipe_of(overlay):
    """Name of the recipe, also for a candidate, which is in a folder below it."""
    return beside(overlay, "base").parent.name


def of_pictures(overlay, photos, big_photo, monkeypatch):
    """Arguments to read a few pictures; with small ones and an eighth of the channels unless the recipe trains whole.

    `tests/models` holds the layers of each network at its own width.
    """
    if not whole(overlay):
        narrow(monkeypatch)
    large = recipe_of(overlay).startswith("imagenet")
    words = ["--data.source", str(big_photo if large else photos), "--data.backend", "folder"]
    words += ["--data.workers", "0", "--data.batch_size", "2"]
    small = large and not whole(overlay) and recipe_of(overlay) != "imagenette"
    return [*words, "--data.image_size", "96"] if small else words


def teachers(overlay):
    """The arms that a recipe uses as teachers or initial weights, each after those that it needs itself."""
    model = yaml.safe_load(overlay.read_text()).get("model") or {}
    settings = [model, *(loss.get("init_args", {}) for loss in model.get("losses") or [])]
    needed = dict.fromkeys(each[key] for each in settings for key in ("init_from", "teacher") if key in each)
    return dict.fromkeys(arm for each in needed for arm in (*teachers(beside(overlay, each)), each))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_variant_of_a_base_trains_the_arm_that_it_names(variant, photos, big_photo, tmp_path, capsys, monkeypatch):
    (arm,) = re.findall(r"^# Command: +xnorlit train ([\w-]+) .*-c experiments/", variant.read_text(), re.M)
    refuse_stale_header(variant)
    overlay = variant.with_name(f"{arm}.yaml")
    words = [*options(overlay), "-c", str(variant), *of_pictures(overlay, photos, big_photo, monkeypatch)]
    words += ["--run.root", str(tmp_path / "runs"), "--debug"]
    for each in teachers(overlay):
        teacher = (*options(beside(overlay, each)), *words[4:])
        brief = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--run.wandb", "off")
        assert main(["fit", *teacher, *brief]) == 0
    assert main(["fit", *words, "--trainer.fast_dev_run", "2"]) == 0
    assert f"{arm}: " in capsys.readouterr().out


def taught():
    """The arms and candidates from which no other learns: with their teachers, these are all."""
    every = [*OVERLAYS, *CANDIDATES]
    teaching = {beside(file, arm) for file in every for arm in teachers(file)}
    return [file for file in every if file not in teaching]


@pytest.mark.parametrize("overlay", taught(), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_it_trains_two_steps_after_the_arms_that_it_learns_from(
    overlay, photos, big_photo, tmp_path, capsys, monkeypatch
):
    common = (*of_pictures(overlay, photos, big_photo, monkeypatch), "--run.root", str(tmp_path / "runs"), "--debug")
    for arm in teachers(overlay):
        teacher = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--run.wandb", "off")
        assert main(["fit", *options(beside(overlay, arm)), *common, *teacher]) == 0
        told = capsys.readouterr().out
        assert "[done]" in told
        assert f"{arm}: " in told
    assert main(["fit", *options(overlay), *common, "--trainer.fast_dev_run", "2"]) == 0
    told = capsys.readouterr().out
    assert "[done]" in told
    assert f"{overlay.stem}: " in told
    assert not list((tmp_path / "runs").glob(f"*/*/{overlay.stem}")), "a rehearsal leaves nothing"


def train(*words: str) -> None:
    """The command as the command line calls it."""
    COMMANDS["train"].run("train", [*words, "--experiments", str(EXPERIMENTS)])


def test_the_image_sizes_choose_the_recipe(photos, big_photo, tmp_path, capsys, monkeypatch):
    started = []
    monkeypatch.setattr("xnorlit.commands.fit.run", lambda command, words: started.append((command, words)))
    train("xnor")
    train("float", "--data", str(photos), "--seed", "3")
    COMMANDS["train"].run(
        "train", ["xnor", "--experiments", str(EXPERIMENTS), "--data", str(big_photo), "--trainer.max_epochs", "1"]
    )
    COMMANDS["train"].run(
        "train", ["xnor", "--experiments", str(EXPERIMENTS), "--data", str(photos), "--experiment", "synthetic"]
    )
    chosen = [Path(words[1]).parent.name for _, words in started]
    assert chosen == ["synthetic", "cifar10", "imagenet", "synthetic"]
    _, words = started[1]
    assert words[3].endswith("float.yaml")
    assert words[4:6] == ["--seed_everything", "3"]
    assert words[words.index("--run.experiment") + 1] == f"cifar10@{photos.name}"
    words = started[2][1]
    assert words[words.index("--trainer.max_epochs") + 1] == "1"
    told = capsys.readouterr().out
    assert "[recipe]  cifar10, for images of 32 pixels; others: cifar10-adabin, " in told
    assert "--experiment NAME" in told


@pytest.mark.parametrize(
    ("name", "further", "filed"),
    [
        ("photos.v1", [], "imagenette@photos.v1"),
        ("photos.v2", [], "imagenette@photos.v2"),
        ("photos", ["-c", str(EXPERIMENTS / "imagenette" / "base-224.yaml")], "imagenette-224px@photos"),
        ("photos", [f"--config={EXPERIMENTS / 'imagenette' / 'base-224.yaml'}"], "imagenette-224px@photos"),
        ("photos", ["--run.experiment", "mine"], "mine"),
    ],
)
def test_runs_of_other_images_or_of_a_variant_are_filed_apart(name, further, filed, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("xnorlit.commands.fit.run", lambda command, words: started.append(words))
    (tmp_path / name).mkdir()
    train("xnor", "--experiment", "imagenette", "--data", str(tmp_path / name), *further)
    assert given(started[0], "run.experiment") == filed


@pytest.mark.parametrize("size", [32, 128])
def test_folders_of_imagenettes_classes_get_its_recipe_unless_tiny(size, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("xnorlit.commands.fit.run", lambda command, words: started.append(words))
    for wnid in NAMED["imagenette"].wnids:
        folder = tmp_path / "ten" / "train" / wnid
        folder.mkdir(parents=True)
        Image.new("RGB", (size, size)).save(folder / "0.jpg")
    train("xnor", "--data", str(tmp_path / "ten"))
    train("xnor", "--data", "imagenette")
    chosen = [Path(words[1]).parent.name for words in started]
    assert chosen == ["cifar10" if size == 32 else "imagenette", "imagenette"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["xnor", "--experiment", "cifar11"], "no recipe named cifar11. Did you mean cifar10?"),
        (["xnorr"], "recipe synthetic has no arm xnorr. Did you mean xnor?"),
        (["xnor", "--data", "no/such/folder"], "no/such/folder"),
    ],
)
def test_unknown_names_are_reported_with_the_near_miss(words, message, capsys):
    assert main(["train", *words, "--experiments", str(EXPERIMENTS)]) == 2
    assert message in capsys.readouterr().err


def test_the_class_names_of_the_tree_are_the_labels(photos):
    assert sorted(folder.name for folder in (photos / "train").iterdir()) == list(CLASSES)
