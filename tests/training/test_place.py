"""A run's folder is claimed atomically: nothing is overwritten, mixed or left half-written."""

import json
from pathlib import Path

import pytest

from xnorlit.errors import UserError
from xnorlit.training import place
from xnorlit.training.place import (
    RunPlace,
    checkpoint_of,
    claim,
    discard_if_empty,
    refuse_other_config,
    refuse_vanished,
    top1,
)


def place_run(folder, finished=False, checkpoint=False):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed_everything: 0\n")
    if checkpoint:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    if finished:
        (folder / "summary.json").write_text(json.dumps({"status": "finished", "top1": 0.4311}))


def test_a_run_is_filed_by_experiment_pair_arm_and_seed(tmp_path):
    place = RunPlace(experiment="cifar10", arm="xnor", pair="pair-3", root=tmp_path)
    assert place.at(7) == tmp_path / "cifar10" / "pair-3" / "xnor" / "seed-7"


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_a_name_that_leaves_the_root_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"run\.pair is .*single folder name"):
        RunPlace(pair=name, root=tmp_path).at(0)


def test_a_finished_run_is_neither_overwritten_nor_mixed(tmp_path):
    place_run(tmp_path / "seed-0", finished=True)
    with pytest.raises(UserError, match=r"holds a finished run \(top-1 43\.11 %\).*--run\.fresh true"):
        claim(tmp_path / "seed-0", resume=False, fresh=False)


def test_an_unfinished_run_says_how_to_resume(tmp_path):
    place_run(tmp_path / "seed-0", checkpoint=True)
    with pytest.raises(UserError, match=r"an unfinished run.*--run\.resume auto.*--run\.fresh true"):
        claim(tmp_path / "seed-0", resume=False, fresh=False)
    claim(tmp_path / "seed-0", resume=True, fresh=False).close()


def test_resuming_nothing_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"nothing to resume: .*last\.ckpt does not exist"):
        claim(tmp_path / "seed-0", resume=True, fresh=False)
    assert not (tmp_path / "seed-0").exists()


def test_a_fresh_start_keeps_the_former_run_aside(tmp_path):
    place_run(tmp_path / "seed-0", finished=True)
    claim(tmp_path / "seed-0", resume=False, fresh=True).close()
    (aside,) = tmp_path.glob("seed-0.until-*")
    assert (aside / "summary.json").exists()
    assert not (tmp_path / "seed-0" / "summary.json").exists()


def test_a_second_run_of_the_same_second_is_moved_to_another_name(tmp_path, monkeypatch):
    monkeypatch.setattr(place.time, "strftime", lambda _: "20261126-120000")
    for number in range(3):
        (tmp_path / "seed-0").mkdir(exist_ok=True)
        (tmp_path / "seed-0" / "config.yaml").write_text(str(number))
        claim(tmp_path / "seed-0", resume=False, fresh=True).close()
    aside = {each.name: (each / "config.yaml").read_text() for each in tmp_path.glob("seed-0.*")}
    name = "seed-0.until-20261126-120000"
    assert aside == {name: "0", f"{name}-2": "1", f"{name}-3": "2"}


def test_a_run_that_has_saved_nothing_starts_again_only_if_that_is_wanted(tmp_path):
    folder = tmp_path / "seed-0"
    place_run(folder)
    with pytest.raises(UserError, match=r"holds an unfinished run, .* You can move it aside") as refusal:
        claim(folder, resume=False, fresh=False)
    assert "resume" not in str(refusal.value), "there is nothing to resume"
    claim(folder, resume=False, fresh=False, again=True).close()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(UserError, match="resume it"):
        claim(folder, resume=False, fresh=False, again=True)


def test_a_refused_folder_is_not_left_locked(tmp_path):
    place_run(tmp_path / "seed-0", finished=True)
    for _ in range(2):
        with pytest.raises(UserError, match="holds a finished run"):
            claim(tmp_path / "seed-0", resume=False, fresh=False)


def test_the_accuracy_of_a_run_is_in_percent(tmp_path):
    place_run(tmp_path / "seed-0", finished=True)
    assert top1(tmp_path / "seed-0") == "top-1 43.11 %"


def test_a_run_whose_folder_has_vanished_ends(tmp_path):
    place_run(tmp_path / "seed-0")
    refuse_vanished(tmp_path / "seed-0")
    with pytest.raises(UserError, match="gone was moved or removed while its run was training"):
        refuse_vanished(tmp_path / "gone")


@pytest.mark.parametrize("key", ["experiment", "arm", "pair"])
def test_each_name_of_a_run_is_one_folder(key):
    with pytest.raises(UserError, match=rf"run\.{key} is '\.'\. Expected a single folder name"):
        RunPlace(**{key: "."}).at(0)
    with pytest.raises(UserError, match=rf"run\.{key} is"):
        RunPlace(**{key: "a\\b"}).at(0)


def test_resume_and_fresh_exclude_each_other(tmp_path):
    with pytest.raises(UserError, match=r"run\.resume and run\.fresh"):
        claim(tmp_path / "seed-0", resume=True, fresh=True)


def test_two_processes_never_write_into_one_place(tmp_path):
    lock = claim(tmp_path / "seed-0", resume=False, fresh=False)
    with pytest.raises(UserError, match=r"another run is writing .*\(process \d+\)"):
        claim(tmp_path / "seed-0", resume=False, fresh=False)
    lock.close()
    claim(tmp_path / "seed-0", resume=False, fresh=False).close()


def test_a_run_that_never_started_leaves_nothing(tmp_path):
    folder = tmp_path / "runs" / "cifar10" / "pair-0" / "xnor" / "seed-0"
    claim(folder, resume=False, fresh=False).close()
    discard_if_empty(folder)
    assert list(tmp_path.iterdir()) == []
    place_run(folder)
    discard_if_empty(folder)
    assert (folder / "config.yaml").exists()


def test_resuming_with_another_configuration_names_the_keys(tmp_path):
    begun = {"model.network": "alexnet-small", "trainer.max_epochs": 20, "run.resume": False}
    refuse_other_config({**begun, "run.resume": True}, begun, tmp_path)
    with pytest.raises(UserError, match=r"1 keys differ\):\n  trainer\.max_epochs: started with 20, now 30"):
        refuse_other_config({**begun, "trainer.max_epochs": 30}, begun, tmp_path)


def test_a_folder_that_was_never_made_is_nothing_to_remove(tmp_path):
    (tmp_path / "runs").mkdir()
    discard_if_empty(tmp_path / "runs" / "e" / "p" / "a" / "seed-0")
    assert [each.name for each in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("count", [8, 9])
def test_eight_keys_are_named_and_more_are_counted(count, tmp_path):
    begun = {f"model.key{number}": 0 for number in range(count)}
    with pytest.raises(UserError, match=rf"\({count} keys differ\)") as refusal:
        refuse_other_config(dict.fromkeys(begun, 1), begun, tmp_path)
    lines = [line for line in str(refusal.value).splitlines() if line.startswith("  ")]
    assert lines == [f"  model.key{number}: started with 0, now 1" for number in range(8)]


def test_an_arm_name_means_its_finished_runs_last_checkpoint_with_the_same_seed(tmp_path):
    run = tmp_path / "pair-0" / "xnor" / "seed-3"
    with pytest.raises(UserError, match=r"seed-3 does not exist\. Train it first"):
        checkpoint_of("float", run, role="the teacher")
    begun = tmp_path / "pair-0" / "float" / "seed-3"
    begun.mkdir(parents=True)
    (begun / "config.yaml").touch()
    with pytest.raises(UserError, match=r"the teacher is the arm float .* is not finished"):
        checkpoint_of("float", run, role="the teacher")
    (begun / "summary.json").touch()
    assert checkpoint_of("float", run, role="the teacher") == begun / "checkpoints" / "last.ckpt"
    for path in ("elsewhere/a.ckpt", "alexnet.pth"):
        assert checkpoint_of(path, run, role="the teacher") == Path(path)


def test_the_home_folder_is_expanded_in_a_configuration_too(tmp_path, monkeypatch):
    """Lightning expands `~` in its folders, so half of a run would be in a folder called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunPlace(root=Path("~/runs")).at(0).is_relative_to(tmp_path / "runs")
    assert checkpoint_of("~/a/last.ckpt", tmp_path / "arm" / "seed-0", role="the teacher") == tmp_path / "a/last.ckpt"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\udcff", "a\tb"])
def test_an_unprintable_name_is_refused(name):
    with pytest.raises(UserError, match=r"run\.pair is"):
        RunPlace(pair=name).at(0)
