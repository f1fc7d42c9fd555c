"""Every run under a root is found, including broken ones, and the newest pair among them."""

import pytest

from tests.runs.factory import write_run
from xnorlit.errors import UserError
from xnorlit.runs import BrokenRun, Run, find, newest, newest_pair


def test_runs_are_listed_in_order_and_broken_ones_with_their_reason(tmp_path):
    for seed in (10, 9):
        write_run(tmp_path, "xnor", seed)
    (write_run(tmp_path, "xnor", 0) / "summary.json").write_text("{")
    write_run(tmp_path, "float", 0, finished=False)
    (tmp_path / "synthetic" / "pair-0" / "xnor" / "seed-final").mkdir()
    (tmp_path / "synthetic" / "pair-0" / "xnor" / ".seed-1.x.partial" / "seed-1").mkdir(parents=True)
    (tmp_path / "synthetic" / "pair-0" / "xnor" / "seed-0.until-20260101-000000").mkdir()
    (tmp_path / ".cache" / "a" / "b" / "seed-0").mkdir(parents=True)

    found = find(tmp_path)
    assert [(run.path.parent.name, run.path.name) for run in found] == [
        ("float", "seed-0"),
        ("xnor", "seed-final"),
        ("xnor", "seed-0"),
        ("xnor", "seed-9"),
        ("xnor", "seed-10"),
    ]
    unfinished, unnamed, damaged, *whole = found
    assert isinstance(unfinished, BrokenRun)
    assert unfinished.unfinished
    assert "has no summary.json" in unfinished.reason
    assert isinstance(unnamed, BrokenRun)
    assert "does not end in a number" in unnamed.reason
    assert isinstance(damaged, BrokenRun)
    assert not damaged.unfinished
    assert "summary.json is damaged" in damaged.reason
    assert all(isinstance(run, Run) for run in whole)


def test_a_missing_folder_of_runs_is_reported_with_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder of runs at .*none\. Train a pair first: xnorlit"):
        find(tmp_path / "none")


def test_the_newest_pair_has_the_run_that_started_last(tmp_path):
    for day, pair in ((3, "pair-0"), (1, "pair-1"), (2, "pair-2")):
        for arm in ("xnor", "float"):
            write_run(tmp_path, arm, pair=pair, started=f"2026-01-0{day}T00:00:00+00:00")
    # Earlier by the clock's digits, later in time: moments are compared, not text.
    write_run(tmp_path, "xnor", pair="pair-3", started="2026-01-02T23:59:00-05:00")
    write_run(tmp_path, "float", pair="pair-3", started="2026-01-01T00:00:00+00:00")
    assert newest_pair(tmp_path).pair == "pair-3"
    assert newest_pair(tmp_path, pair="pair-1").pair == "pair-1"


def test_all_seeds_that_two_arms_share_belong_to_a_pair_and_the_rest_is_named(tmp_path):
    for seed in (0, 1, 2):
        write_run(tmp_path, "xnor", seed)
    for seed in (1, 2):
        write_run(tmp_path, "float", seed)
    write_run(tmp_path, "float", 0, finished=False)
    pair = newest_pair(tmp_path)
    assert [(run.place.arm, run.place.seed) for run in pair.runs] == [
        ("float", 1),
        ("float", 2),
        ("xnor", 1),
        ("xnor", 2),
    ]
    left_out, unfinished = pair.left_out
    assert left_out.endswith("xnor/seed-0 is left out, because no other arm has finished with seed 0.")
    assert "float/seed-0 is not finished" in unfinished


def test_a_newer_run_without_twin_is_named(tmp_path):
    for arm in ("xnor", "float"):
        write_run(tmp_path, arm)
    write_run(tmp_path, "xnor", pair="pair-1", started="2026-05-01T00:00:00+00:00")
    pair = newest_pair(tmp_path)
    assert pair.pair == "pair-0"
    assert [note.rpartition("/pair-1/")[2] for note in pair.left_out] == [
        "xnor/seed-0 is newer but has no finished twin with seed 0."
    ]


def test_a_missing_arm_lists_existing_runs_and_what_to_train(tmp_path):
    write_run(tmp_path, "xnor", 0)
    write_run(tmp_path, "float", 1)
    write_run(tmp_path, "bwn", 0, finished=False)
    with pytest.raises(UserError) as caught:
        newest_pair(tmp_path)
    message = str(caught.value)
    assert "has no pair to compare. Expected two arms of one pair, finished with the same seed" in message
    assert "synthetic/pair-0 has float (seed 1), xnor (seed 0)." in message
    assert "bwn/seed-0 is not finished" in message
    assert "xnorlit train ARM --seed N" in message


def test_an_unknown_experiment_or_pair_names_the_near_miss(tmp_path):
    write_run(tmp_path, "xnor", experiment="cifar10")
    with pytest.raises(UserError, match=r"has no experiment named cifar100\. Did you mean cifar10\? Known: cifar10\."):
        newest_pair(tmp_path, experiment="cifar100")
    with pytest.raises(UserError, match=r"has no pair named pair-1\. Did you mean pair-0"):
        newest_pair(tmp_path, pair="pair-1")


def test_the_newest_run_started_last_and_float_runs_are_skipped_on_request(tmp_path):
    write_run(tmp_path, "xnor", 0, started="2026-01-02T00:00:00+00:00")
    write_run(tmp_path, "xnor", 1, started="2026-01-03T00:00:00+00:00")
    write_run(tmp_path, "float", 0, started="2026-01-04T00:00:00+00:00")
    write_run(tmp_path, "xnor", 2, started="2026-01-05T00:00:00+00:00", finished=False)
    assert newest(tmp_path, with_codes=False).place.arm == "float"
    assert newest(tmp_path, with_codes=True).place.seed == 1


def test_a_network_of_more_than_one_bit_has_codes_too(tmp_path):
    write_run(tmp_path, "float", summary={"binary_parameters": 0, "bits": {"float": 320, "packed": 40}})
    assert newest(tmp_path, with_codes=True).place.arm == "float"


def test_recorded_bits_and_not_the_size_decide_whether_a_network_has_codes(tmp_path):
    """Real weights that read inputs of two bits: its thresholds make the packed file the larger one."""
    size = {"float": 1000, "packed": 1001, "binary": 0}
    write_run(tmp_path, "float", 0, summary={"bits": size, "codes": {"conv2": [32, 2], "fc8": [32, 32]}})
    write_run(tmp_path, "xnor", 1, summary={"codes": {"conv2": [32, 32]}})
    assert newest(tmp_path, with_codes=True).place.seed == 0


def test_without_a_suitable_run_the_message_lists_what_exists(tmp_path):
    write_run(tmp_path, "float")
    write_run(tmp_path, "xnor", finished=False)
    with pytest.raises(UserError) as caught:
        newest(tmp_path, with_codes=True)
    said = str(caught.value)
    assert "has no finished run with binary layers. Train one first: xnorlit train xnor." in said
    assert "float/seed-0 has no binary layer." in said
    assert "xnor/seed-0 is not finished" in said


def test_truncated_predictions_leave_their_seed_out_with_the_reason(tmp_path):
    for seed in range(2):
        for arm in ("xnor", "float"):
            write_run(tmp_path, arm, seed)
    file = tmp_path / "synthetic/pair-0/float/seed-1/predictions.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    found = newest_pair(tmp_path)
    assert [run.place.seed for run in found.runs] == [0, 0]
    notes = "\n".join(found.left_out)
    assert f"{file} is damaged or truncated" in notes
    assert "xnor/seed-1 is left out, because no other arm has finished with seed 1" in notes


def test_a_pair_whose_every_prediction_is_damaged_gives_way_to_an_older_one(tmp_path):
    for arm in ("xnor", "float"):
        write_run(tmp_path, arm)
        newer = write_run(tmp_path, arm, pair="pair-1", started="2026-02-02T00:00:00+00:00")
        (newer / "predictions.safetensors").unlink()
    found = newest_pair(tmp_path)
    assert found.pair == "pair-0"
    assert "pair-1/float/seed-0" in found.left_out[-1]
    with pytest.raises(UserError, match=r"(?s)has no pair to compare.*predictions\.safetensors is missing"):
        newest_pair(tmp_path, pair="pair-1")


def test_folders_that_are_not_seeds_and_broken_runs_of_other_pairs_are_named(tmp_path):
    for arm in ("xnor", "float"):
        write_run(tmp_path, arm)
        write_run(tmp_path, arm, pair="pair-1", finished=False)
    write_run(tmp_path, "bwn").rename(tmp_path / "synthetic/pair-0/bwn/seed-x")
    first, second = newest_pair(tmp_path).left_out
    assert f"{tmp_path / 'synthetic/pair-0/bwn/seed-x'} does not end in a number" in first
    assert second.startswith("Unfinished or damaged runs of other pairs: ")
    assert second.count("pair-1") == 2
    assert len(newest_pair(tmp_path, pair="pair-0").left_out) == 1
