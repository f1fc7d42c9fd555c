"""`xnorlit table` trains the missing runs, and changes only the table in the README."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.runs.factory import write_run
from tests.sweep.ended import Ended
from xnorlit.commands import table as command
from xnorlit.commands.main import main
from xnorlit.runs import read
from xnorlit.runs.recipes import is_base
from xnorlit.sweep import work
from xnorlit.sweep.table.markdown import BEGIN, END, around

RIGHT = {("float", 0): 760, ("float", 1): 770, ("xnor", 0): 680, ("xnor", 1): 670, ("bwn", 0): 720}
EXPERIMENTS = Path(__file__).parents[3] / "experiments"
RECIPES = EXPERIMENTS / "cifar10"
CODES = {"conv1": [32, 32], "conv2": [1, 1], "fc8": [32, 32]}


def measured(words):
    """Write the same as `xnorlit steps RUN ... --json FILE`."""
    arms = [Path(word).parent.name for word in words[4:-2]]
    figures = {"float": (1.0, 0.002), "xnor": (1.05, 0.00012345), "bwn": (1.3, None)}
    found = {arm: {"ratio": {"median": figures[arm][0]}} for arm in arms}
    for arm, (_, seconds) in figures.items():
        if arm in found and seconds:
            found[arm]["image_seconds"] = {"median": seconds}
    Path(words[-1]).write_text(json.dumps({"machine": {"started": "2026-01-01T00:30:00+0000"}, "arms": found}))
    return Ended(0)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A recipe of three arms whose runs the test writes, and the list of trained arms, in order."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments" / "small"
    folder.mkdir(parents=True)
    for name in ("base", "xnor", "bwn", "float"):
        remark = "# Remark: learns from float\n" if name == "bwn" else ""
        (folder / f"{name}.yaml").write_text(remark + "run: {}\n")
    (folder / "README.md").write_text(f"# Small\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    trained = []

    def run(words, **_):
        if "steps" in words:
            return measured(words)
        arm, seed = words[words.index("-c") + 3].rpartition("/")[2].removesuffix(".yaml"), int(words[9])
        trained.append((arm, seed))
        if (arm, seed) not in RIGHT:
            return Ended(2)
        summary = {"cannot_pack": ""}
        config = {"model.losses": ["Distillation"]} if arm == "bwn" else {}
        codes = {} if arm == "float" else {"codes": CODES}
        write_run(
            tmp_path / "runs",
            arm,
            seed,
            right=RIGHT[arm, seed],
            experiment=words[words.index("--run.experiment") + 1],
            summary=summary | codes,
            config=config,
        )
        return Ended(0)

    def recorded(jobs):
        """What the parser says of a recipe that has not changed."""
        return [read(job.place.path).flat_config for job in jobs]

    monkeypatch.setattr(work, "Process", run)
    monkeypatch.setattr(command, "Process", run)
    monkeypatch.setattr(command, "settings", recorded)
    monkeypatch.setattr(work, "PAUSE", 0)
    return folder, trained


def photos(folder, splits=("train", "val"), copies=1):
    """A tree of two classes of single-coloured pictures."""
    for split in splits:
        for number, name in enumerate(("ant", "bee")):
            for copy in range(copies):
                file = folder / split / name / f"{copy}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (100 * number + copy, 50, 50)).save(file)


def cells(folder):
    text = (folder / "README.md").read_text()
    lines = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_is_of_the_run_records(small):
    folder, trained = small
    assert main(["table", "small", "--thorough", "float,xnor", "--thorough-seeds", "2"]) == 0
    assert trained == [("float", 0), ("bwn", 0), ("xnor", 0), ("float", 1), ("xnor", 1)]
    head, _, twin, other, xnor = cells(folder)
    assert [row[0] for row in (twin, other, xnor)] == [
        "[`float`](float.yaml)",
        "[`bwn`](bwn.yaml)",
        "[`xnor`](xnor.yaml)",
    ]
    found = dict(zip(head, xnor, strict=True))
    assert found["method"] == "XNOR"
    assert found["W / A bits"] == "1 / 1"
    assert found["top-1 %"] == "67.50 ± 0.71"
    assert found["seeds"] == "0: 68.00, 1: 67.00"
    assert found["gap to the twin"] == "9.00"
    assert found["step"] == "1.05"
    assert found["ms an image"] == "0.123"
    assert found["remark"] == ""
    found = dict(zip(head, other, strict=True))
    assert found["top-1 %"] == "72.00", "one seed has no spread"
    assert found["gap to the twin"] == "4.00", "to the twin of the same seed"
    assert found["remark"] == "learns from float; differs in `model.losses`"
    assert found["ms an image"] == "not measured", "a file of older steps has no such time"
    found = dict(zip(head, twin, strict=True))
    assert (found["gap to the twin"], found["ms an image"]) == ("", "2")
    text = (folder / "README.md").read_text()
    assert text.startswith("# Small\n\nBefore.\n\n")
    assert text.endswith("\n\nAfter.\n")
    assert "old" not in text


def test_seeds_with_other_settings_are_named(small):
    folder, _ = small
    main(["table", "small", "--arms", "float,xnor", "--seeds", "2"])
    assert "seeds differ" not in (folder / "README.md").read_text()
    file = Path("runs/small/pair-0/xnor/seed-1/config.yaml")
    config = yaml.safe_load(file.read_text())
    config["trainer"]["max_epochs"] = 99
    config["model"]["binarizer"] = {"class_path": "xnorlit.binarize.BWN"}
    file.write_text(yaml.safe_dump(config))
    main(["table", "small", "--arms", "float,xnor", "--seeds", "2", "--no-training"])
    assert [row[9] for row in cells(folder)[2:]] == ["", "its seeds differ in `model.binarizer`, `trainer.max_epochs`"]


def test_finished_runs_of_a_former_recipe_are_named(small, capsys, monkeypatch):
    _, trained = small
    assert main(["table", "small", "--arms", "float,xnor"]) == 0
    assert "other settings" not in capsys.readouterr().out

    def now(jobs):
        changed = {"trainer.max_epochs": 3, "data.source": "photos"}
        found = [read(job.place.path).flat_config for job in jobs]
        return [found[0] | changed, "there is no checkpoint"]

    monkeypatch.setattr(command, "settings", now)
    assert main(["table", "small", "--arms", "float,xnor"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "1 finished run has other settings than the recipe has now" in told
    assert "pair-0/float/seed-0: trainer.max_epochs: started with 2, now 3" in told
    assert "data.source" not in told, "images are compared by what they hold"
    assert len(trained) == 2
    main(["table", "small", "--arms", "float,xnor", "--no-training"])
    assert "other settings" not in capsys.readouterr().out


def test_the_twin_has_the_seeds_of_every_arm(small):
    _, trained = small
    assert main(["table", "small", "--arms", "float,xnor", "--thorough", "xnor", "--thorough-seeds", "2"]) == 0
    assert trained == [("float", 0), ("xnor", 0), ("float", 1), ("xnor", 1)]


def test_a_second_call_trains_nothing_and_writes_the_same(small):
    folder, trained = small
    main(["table", "small", "--arms", "float,xnor"])
    before, count = (folder / "README.md").read_text(), len(trained)
    assert main(["table", "small", "--arms", "float,xnor"]) == 0
    assert len(trained) == count
    assert (folder / "README.md").read_text() == before


def test_steps_are_measured_again_when_a_run_is_newer_or_another_arm_is_there(small, monkeypatch):
    folder, _ = small
    measurements, run = [], command.Process
    monkeypatch.setattr(
        command, "Process", lambda words, **more: (measurements.extend(words[3:4]), run(words, **more))[1]
    )

    def count(*words):
        measurements.clear()
        main(["table", "small", *words])
        return measurements.count("steps")

    assert count("--arms", "float,xnor") == 1
    assert count("--arms", "float,xnor") == 0
    assert count("--arms", "float,xnor", "--no-training") == 0
    assert count("--arms", "float,xnor,bwn") == 1
    assert [row[6] for row in cells(folder)[2:]] == ["1.00", "1.30", "1.05"]
    file = Path("runs/small/pair-0/xnor/seed-0/environment.json")
    file.write_text(file.read_text().replace("2026-01-01T00:00:00+00:00", "2026-01-01T02:00:00+01:00"))
    assert count("--arms", "float,xnor,bwn", "--no-training") == 0
    assert [row[6] for row in cells(folder)[2:]] == ["1.00", "1.30", "not measured"], "a time zone counts"
    file = Path("runs/small/pair-0/float/seed-0/environment.json")
    file.write_text(file.read_text().replace("2026-01-01T00:00:00+00:00", "2026-01-01T02:00:00+01:00"))
    assert count("--arms", "float,xnor,bwn", "--no-training") == 0
    assert {row[6] for row in cells(folder)[2:]} == {"not measured"}, "ratios to an older twin say nothing"
    assert count("--arms", "float,xnor,bwn") == 1


def test_a_file_without_times_of_an_image_is_measured_again(small):
    folder, _ = small
    main(["table", "small", "--arms", "float,xnor"])
    file = Path("runs/small/pair-0/steps.json")
    content = json.loads(file.read_text())
    for arm in content["arms"].values():
        del arm["image_seconds"]
    file.write_text(json.dumps(content))
    assert main(["table", "small", "--arms", "float,xnor", "--no-training"]) == 0
    assert [row[8] for row in cells(folder)[2:]] == ["not measured", "not measured"]
    assert main(["table", "small", "--arms", "float,xnor"]) == 0
    assert [row[8] for row in cells(folder)[2:]] == ["2", "0.123"]


@pytest.mark.usefixtures("small")
def test_a_damaged_file_of_steps_is_named(capsys):
    main(["table", "small", "--arms", "float,xnor"])
    Path("runs/small/pair-0/steps.json").write_text("[]")
    assert main(["table", "small", "--arms", "float,xnor"]) == 2
    assert "steps.json: expected an object, found []. Delete it" in capsys.readouterr().err


def test_a_search_measures_on_what_is_held_out_and_has_a_table_of_its_own(small, tmp_path, monkeypatch):
    folder, _ = small
    (folder / "search").mkdir()
    (folder / "search" / "xnor.yaml").write_text("run: {}\n")
    (folder / "search" / "README.md").write_text(f"{BEGIN}\n{END}\n")
    photos(tmp_path / "photos", splits=["train"])  # The held-out part takes the place of val.
    commands, run = [], work.Process
    monkeypatch.setattr(work, "Process", lambda words, **more: (commands.append(words), run(words, **more))[1])
    assert main(["table", "small/search", "--holdout", "0.1", "--data", "photos"]) == 0
    trainings = [words for words in commands if "fit" in words]
    assert len(trainings) == 2
    assert all(words[-4:] == ["--data.source", "photos", "--data.holdout", "0.1"] for words in trainings)
    assert [row[0] for row in cells(folder / "search")[2:]] == ["[`float`](../float.yaml)", "[`xnor`](xnor.yaml)"]
    assert "old" in (folder / "README.md").read_text()


def test_a_failed_run_is_named_and_the_others_are_in_the_table(small, capsys):
    folder, _ = small
    assert main(["table", "small", "--arms", "float,bwn", "--seeds", "2"]) == 2
    assert "1 of 4 runs failed: runs/small/pair-0/bwn/seed-1" in capsys.readouterr().err
    assert [row[0] for row in cells(folder)[2:]] == ["[`float`](float.yaml)", "[`bwn`](bwn.yaml)"]


def test_a_failed_twin_is_the_reason_for_no_table(small, capsys, monkeypatch):
    monkeypatch.delitem(RIGHT, ("float", 0))
    assert main(["table", "small", "--arms", "float,xnor"]) == 2
    err = capsys.readouterr().err
    assert "1 of 2 runs failed: runs/small/pair-0/float/seed-0" in err
    assert "no table" in err
    assert "--no-training" not in err, "that option was not given"


@pytest.mark.parametrize("splits", [(), ("train",)])
def test_images_that_are_not_there_are_refused_once_before_the_first_run(small, tmp_path, capsys, splits):
    _, trained = small
    photos(tmp_path / "photos", splits)
    assert main(["table", "small", "--data", "photos"]) == 2
    err = capsys.readouterr().err
    assert err.count("error:") == 1
    assert "photos" in err
    assert trained == []
    assert not Path("runs").exists()


def test_a_named_set_has_precedence_over_a_folder_of_its_name(small, tmp_path, capsys):
    photos(tmp_path / "cifar10")
    for given, experiment in (("cifar10", "small"), ("./cifar10", "small@cifar10")):
        assert main(["table", "small", "--data", given, "--no-training"]) == 2
        assert f"no run in runs/{experiment}/pair-0 has finished" in capsys.readouterr().err


def test_a_table_needs_a_twin_runs_and_marks(small, capsys):
    folder, _ = small
    assert main(["table", "small", "--no-training"]) == 2
    assert "so there is no table" in capsys.readouterr().err
    assert main(["table", "small", "--arms", "xnor"]) == 2
    assert "name it too: --arms float,xnor" in capsys.readouterr().err
    assert main(["table", "small", "--arms", "float", "--thorough", "float,xnor"]) == 2
    assert "--thorough names xnor, which --arms float omits." in capsys.readouterr().err
    assert main(["table", "small", "--seeds", "0"]) == 2
    assert "--seeds is 0. Expected" in capsys.readouterr().err
    assert main(["table", "small", "--holdout", "1"]) == 2
    assert "--holdout is 1.0. Expected the share of train" in capsys.readouterr().err
    (folder / "README.md").write_text("# Small\n")
    assert main(["table", "small", "--arms", "float"]) == 2
    assert "has no marks for the table" in capsys.readouterr().err
    assert not Path("runs").exists(), "nothing is trained for a table that has no place"


def test_every_recipe_with_a_page_has_a_place_for_its_table():
    recipes = [file for file in EXPERIMENTS.rglob("README.md") if any(is_base(each) for each in beside(file))]
    assert len(recipes) > 5
    for readme in recipes:
        around(readme)


def beside(readme):
    """The recipe's files, and those of the recipe to which a folder of candidates adds."""
    return [each for folder in (readme.parent, readme.parent.parent) for each in folder.glob("*.yaml")]


def test_runs_on_other_images_make_no_table(small, tmp_path, capsys):
    for arm, listing in (("float", "0" * 64), ("xnor", "1" * 64)):
        write_run(tmp_path / "runs", arm, experiment="small", metadata={"listing_sha256": listing})
    assert main(["table", "small", "--no-training", "--arms", "float,xnor"]) == 2
    assert "were evaluated on different images" in capsys.readouterr().err


@pytest.mark.slow
def test_the_twin_is_trained_and_then_the_arm_that_learns_from_it(tmp_path, monkeypatch):
    """The real recipes, one epoch on a dozen pictures."""
    photos(tmp_path / "photos", copies=6)
    folder = tmp_path / "experiments" / "cifar10"
    folder.mkdir(parents=True)
    for arm in ("base", "float", "best"):
        text = (RECIPES / f"{arm}.yaml").read_text().replace("max_epochs: 20", "max_epochs: 1")
        (folder / f"{arm}.yaml").write_text(text.replace("batch_size: 64", "batch_size: 4\n  backend: folder"))
    (folder / "README.md").write_text(f"{BEGIN}\n{END}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(RECIPES.parents[1]))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["table", "cifar10", "--data", "photos"]) == 0
    found = {row[0]: row for row in cells(folder)[2:]}
    assert list(found) == ["[`float`](float.yaml)", "[`best`](best.yaml)"]
    assert found["[`best`](best.yaml)"][2] == "1 / 1"
    assert "`model.losses`" in found["[`best`](best.yaml)"][-1]
    assert float(found["[`best`](best.yaml)"][-3]) < float(found["[`float`](float.yaml)"][-3]) / 20, "packed, in MiB"
    assert all(float(cells[-2]) > 0 for cells in found.values()), "ms an image, measured"
