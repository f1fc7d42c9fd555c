"""A comparison matches the files, and is refused if the runs are not comparable."""

import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.runs.factory import BINARY, BINARY_PACKED_BITS, CLASSES, FLOAT, PACKED_BITS, PARAMETERS, XNOR, write_run
from xnorlit.comparison.compare import compare
from xnorlit.errors import UserError
from xnorlit.runs import read

LR = "model.optimizer.init_args.lr"


def runs(*paths):
    return [read(path) for path in paths]


def pair_of(root, *, arm=None, twin=None):
    """An XNOR run with 650 of 1,000 correct images, and a float run with 800."""
    return write_run(root, "xnor", **{"right": 650, **(arm or {})}), write_run(
        root, "float", **{"right": 800, **(twin or {})}
    )


def test_hand_worked_numbers(tmp_path):
    # float: images 0..799 correct; xnor: 100..749. So 100 + 50 are correct only in float, none only in xnor.
    only = np.zeros(1000, bool)
    only[100:750] = True
    found = compare(runs(*pair_of(tmp_path, arm={"right": only})))
    arm, twin = found.arms
    (gap,) = found.gaps
    assert (arm.label, arm.binarizer, twin.label, twin.binarizer) == ("xnor", "XNOR", "float", "Float")
    assert (arm.top1_percent.mean, twin.top1_percent.mean) == (65, 80)
    assert arm.top1_percent.spread is None
    assert (found.images, found.classes, found.synthetic, found.split) == (1000, 10, True, "val")
    assert gap.top1.points == pytest.approx(15)
    assert (gap.top1.seeds[0].only_reference, gap.top1.seeds[0].only_arm) == (150, 0)
    assert gap.top1.seeds[0].mcnemar_p == pytest.approx(2 * 0.5**150)
    # 150 of 1,000: binomial with a standard deviation of 1.129 points
    assert gap.top1.over_images.low == pytest.approx(15 - 1.96 * 1.129, abs=0.15)
    assert gap.top1.over_images.high == pytest.approx(15 + 1.96 * 1.129, abs=0.15)
    assert gap.top1.over_seeds is None
    assert gap.top5.points == 0
    assert gap.train_time_factor == pytest.approx(252 / 240)
    assert gap.step_time_factor == pytest.approx(0.021 / 0.020)
    assert (arm.parameters, arm.binary_parameters) == (PARAMETERS, BINARY)
    assert arm.bits_per_binary_weight == BINARY_PACKED_BITS / BINARY
    assert gap.binary_weights_factor == pytest.approx(32 * BINARY / BINARY_PACKED_BITS)
    assert gap.packed_size_factor == pytest.approx(32 * PARAMETERS / PACKED_BITS)
    assert found.matched
    assert found.notes == ()


@pytest.mark.parametrize("layer", ["conv2", "unit1.*"])
def test_a_float_network_with_some_binary_layers_is_not_the_twin(tmp_path, layer):
    write_run(tmp_path, "block1", right=600, config={"model.binarizer": FLOAT, "model.layers": {layer: XNOR}})
    write_run(tmp_path, "float", right=700)
    found = compare("synthetic/pair-0", root=tmp_path)
    assert (found.reference, found.gap.top1.points) == ("float", pytest.approx(10))
    assert found.arms[0].binarizer == "Float, XNOR"
    assert found.matched


def test_the_order_of_the_runs_does_not_matter(tmp_path):
    binary, twin = pair_of(tmp_path)
    assert compare(runs(binary, twin)) == compare(runs(twin, binary))


def test_the_gap_of_two_binary_arms_is_first_minus_second(tmp_path):
    bwn, xnor = write_run(tmp_path, "bwn", right=740), write_run(tmp_path, "xnor", right=650)
    there, back = compare(runs(bwn, xnor)), compare(runs(xnor, bwn))
    assert ([arm.label for arm in there.arms], there.reference) == (["bwn", "xnor"], "bwn")
    assert there.gaps[0].top1.points == pytest.approx(9)
    assert back.gaps[0].top1.points == pytest.approx(-9)
    assert there.gaps[0].binary_weights_factor is None


def test_the_float_twin_is_told_by_its_binarizer_not_by_its_name(tmp_path):
    misnamed = write_run(tmp_path, "xnor", right=800, config={"model.binarizer": FLOAT})
    binary = write_run(tmp_path, "float", right=650, config={"model.binarizer": XNOR})
    assert compare(runs(binary, misnamed)).reference == "xnor"


def test_a_float_network_with_one_binary_layer_is_not_a_twin(tmp_path):
    mixed = write_run(tmp_path, "float", config={"model.layers": {"conv2": XNOR}})
    bwn = write_run(tmp_path, "bwn")
    assert compare(runs(bwn, mixed)).reference == "bwn"


def test_seeds_are_averaged_and_spread(tmp_path):
    paths = []
    for seed, (binary, twin) in enumerate([(650, 800), (660, 820), (670, 840)]):
        paths += [write_run(tmp_path, "xnor", seed, right=binary), write_run(tmp_path, "float", seed, right=twin)]
    found = compare(runs(*paths))
    arm, twin = found.arms
    (gap,) = found.gaps
    assert (arm.top1_percent.mean, arm.top1_percent.spread) == (pytest.approx(66), pytest.approx(1))
    assert (twin.top1_percent.mean, twin.top1_percent.spread) == (pytest.approx(82), pytest.approx(2))
    assert [seed.points for seed in gap.top1.seeds] == pytest.approx([15, 16, 17])
    assert (gap.top1.points, gap.top1.spread) == (pytest.approx(16), pytest.approx(1))
    assert gap.top1.over_seeds is not None
    assert (gap.top1.over_seeds.low, gap.top1.over_seeds.high) == pytest.approx((16 - 2.4842, 16 + 2.4842), abs=1e-3)
    assert [seed.seed for seed in arm.seeds] == [0, 1, 2]
    assert found.matched


def test_three_arms_stand_against_the_float_twin(tmp_path):
    paths = [write_run(tmp_path, arm, right=right) for arm, right in (("float", 800), ("bwn", 740), ("xnor", 650))]
    found = compare(runs(*paths))
    assert [arm.label for arm in found.arms] == ["bwn", "xnor", "float"]
    assert [(gap.arm, gap.reference) for gap in found.gaps] == [("bwn", "float"), ("xnor", "float")]
    assert [gap.top1.points for gap in found.gaps] == pytest.approx([6, 15])


def test_an_undeclared_difference_keeps_a_pair_from_being_matched(tmp_path):
    found = compare(runs(*pair_of(tmp_path, twin={"config": {LR: 0.001}})))
    assert not found.matched
    assert found.gaps[0].difference.verdict == f"not matched: {LR} differs too"


def test_other_seeds_of_two_runs_are_a_difference(tmp_path):
    found = compare(runs(write_run(tmp_path, "xnor", 0), write_run(tmp_path, "float", 1, right=800)))
    assert found.gaps[0].difference.named("undeclared") == ("data.seed", "seed_everything")
    assert (found.gaps[0].top1.seeds[0].seed, found.gaps[0].top1.seeds[0].reference_seed) == (0, 1)


def test_two_runs_of_one_arm_get_different_labels(tmp_path):
    seeds = compare(runs(write_run(tmp_path, "xnor", 0), write_run(tmp_path, "xnor", 1)))
    assert [arm.label for arm in seeds.arms] == ["xnor/seed-0", "xnor/seed-1"]
    pairs = compare(runs(write_run(tmp_path, "bwn"), write_run(tmp_path, "bwn", pair="pair-1", config={LR: 1})))
    assert [arm.label for arm in pairs.arms] == ["pair-0/bwn", "pair-1/bwn"]


# --- refused ---------------------------------------------------------------------------------------------------------


def refused(message, *paths):
    with pytest.raises(UserError, match=message):
        compare(runs(*paths))


def test_fewer_than_two_runs_are_refused(tmp_path):
    refused("one run was given: .* Expected two or more, or a pair", write_run(tmp_path, "xnor"))


def test_one_pair_need_not_be_in_a_list(tmp_path):
    paths = pair_of(tmp_path)
    pair = paths[0].parents[1]
    assert compare(pair) == compare(str(pair)) == compare(runs(*paths))
    with pytest.raises(UserError, match=r"only one run was given"):
        compare(paths[0])


def test_one_run_twice_is_refused(tmp_path):
    path = write_run(tmp_path, "xnor")
    refused("was given twice", path, path.parent / "../xnor/seed-0")


def test_a_missing_arm_is_refused(tmp_path):
    paths = [write_run(tmp_path, "xnor", seed) for seed in range(3)]
    refused("all runs belong to the arm xnor. Expected two arms, such as xnor and float", *paths)


def test_seeds_that_do_not_pair_up_are_refused(tmp_path):
    paths = [write_run(tmp_path, arm, seed) for arm, seeds in (("xnor", (0, 1)), ("float", (0, 2))) for seed in seeds]
    refused(r"xnor \(seed 0, 1\) and float \(seed 0, 2\) do not pair up\. Give runs with the same seeds", *paths)


def test_found_seeds_that_do_not_pair_up_are_noted_and_left_out(tmp_path):
    paths = [write_run(tmp_path, "xnor", seed, right=650) for seed in (0, 1)]
    paths += [write_run(tmp_path, "float", seed, right=800) for seed in (0, 2)]
    found = compare(runs(*paths), strict=False)
    assert [[seed.seed for seed in arm.seeds] for arm in found.arms] == [[0], [0]]
    assert found.notes == ("xnor (seed 0, 1) and float (seed 0, 2) do not pair up: only seed 0 of xnor is compared.",)


def test_found_runs_of_other_seeds_are_never_paired(tmp_path):
    seeds = {"xnor": (0,), "bwn": (0, 1), "float": (1,)}
    paths = [write_run(tmp_path, arm, seed, right=650 + 50 * seed) for arm in seeds for seed in seeds[arm]]
    found = compare(runs(*paths), strict=False)
    assert [arm.label for arm in found.arms] == ["bwn", "float"]
    assert "xnor (seed 0) and float (seed 1) do not pair up: no run of xnor is compared." in found.notes


def test_found_arms_without_a_common_seed_are_refused(tmp_path):
    paths = [write_run(tmp_path, arm, seed) for arm, seeds in (("xnor", (0, 1)), ("float", (2, 3))) for seed in seeds]
    with pytest.raises(UserError, match=r"no run of xnor is compared\.\nNo two arms share a seed"):
        compare(runs(*paths), strict=False)


def test_seeds_with_different_settings_have_no_mean(tmp_path):
    paths = [write_run(tmp_path, arm, seed) for arm in ("xnor", "float") for seed in (0, 1)]
    paths += [write_run(tmp_path, arm, 2, config={"trainer.max_epochs": 9}) for arm in ("xnor", "float")]
    refused(
        r"the seeds of (xnor|float) were trained with different settings, so they have no mean: "
        r"\w+/seed-0 and \w+/seed-2 differ in trainer\.max_epochs \(2 and 9\)",
        *paths,
    )


def test_several_float_arms_leave_the_reference_open(tmp_path):
    arms = {"xnor": {}, "bwn": {"model.binarizer": FLOAT}}
    paths = [write_run(tmp_path, arm, pair="a", config=config) for arm, config in arms.items()]
    paths.append(write_run(tmp_path, "float", pair="b"))
    refused(r"several arms are float networks: synthetic/a/bwn, synthetic/b/float\. Expected one", *paths)


def test_different_validation_images_are_refused(tmp_path):
    refused(
        r"were evaluated on different images \(synthetic, val, listing 000000000000; cifar10, val, listing "
        r"ffffffffffff\).*Train both arms with the same DATA",
        *pair_of(tmp_path, twin={"metadata": {"listing_sha256": "f" * 64, "source": "cifar10"}}),
    )


def test_another_split_is_refused(tmp_path):
    refused("on different images", *pair_of(tmp_path, twin={"metadata": {"split": "test"}}))


def test_parts_of_one_listing_are_refused(tmp_path):
    refused(r"on different parts of one listing \(1,000 and 900 images\)", *pair_of(tmp_path, twin={"images": 900}))


def test_other_class_lists_are_refused(tmp_path):
    swapped = (CLASSES[1], CLASSES[0], *CLASSES[2:])
    refused("on classes in a different order", *pair_of(tmp_path, twin={"classes": swapped}))
    listed = r"class-0, class-1, class-2, \.\.\."
    refused(
        rf"on different classes \({listed} 10 and {listed} 7\)",
        *pair_of(tmp_path, arm={"pair": "pair-1"}, twin={"classes": CLASSES[:7], "pair": "pair-1"}),
    )


def test_other_labels_of_the_same_images_are_refused(tmp_path):
    binary, twin = pair_of(tmp_path)
    file = twin / "predictions.safetensors"
    metadata = {"classes": str(list(CLASSES)).replace("'", '"'), "listing_sha256": "0" * 64}
    tensors = load_file(file)
    tensors["label"] = np.roll(tensors["label"], 1)
    save_file(tensors, file, metadata | {"split": "val", "source": "synthetic", "epoch": "1"})
    refused("with different labels for the same images", binary, twin)


@pytest.mark.parametrize("field", ["top1", "top5", "best_top1"])
def test_an_accuracy_that_is_nan_is_refused(tmp_path, field):
    refused(f"{field} is NaN, because the run diverged", *pair_of(tmp_path, arm={"summary": {field: float("nan")}}))


def test_a_run_without_images_is_refused(tmp_path):
    refused("contains no predictions", *pair_of(tmp_path, arm={"images": 0}))


def test_a_summary_of_other_classes_than_the_predictions_is_refused(tmp_path):
    refused("has 7 classes in summary.json", *pair_of(tmp_path, arm={"summary": {"classes": 7}}))


# --- noted -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arm", "note"),
    [
        ({"environment": {"cpu": "Another"}}, "different machines or thread counts, so their times are not compared"),
        ({"environment": {"backend": "ffcv"}}, "used different data loaders (ffcv, folder)"),
        ({"environment": {"git": {"commit": "b" * 40, "dirty": False}}}, "different commits (bbbbbbbbb, aaaaaaaaa)"),
        ({"environment": {"git": {"commit": "a" * 40, "dirty": True}}}, "from code with uncommitted changes"),
        ({"environment": {"packages": {"torch": "2.9"}}}, "different versions of torch (2.4.0, 2.9)"),
        ({"summary": {"top1": 0.7}}, "top-1 is 70.00 % in its summary but 65.00 % in its predictions"),
        ({"right": 799}, "disagree on only 1 image, too few for a reliable interval"),
    ],
)
def test_facts_that_qualify_the_numbers_are_noted(tmp_path, arm, note):
    found = compare(runs(*pair_of(tmp_path, arm=arm)))
    assert any(note in said for said in found.notes), found.notes


def test_times_of_different_machines_are_not_divided(tmp_path):
    (gap,) = compare(runs(*pair_of(tmp_path, arm={"environment": {"threads": 8}}))).gaps
    assert (gap.train_time_factor, gap.step_time_factor) == (None, None)


def test_a_loss_that_became_nan_is_noted_with_its_step(tmp_path):
    binary, twin = pair_of(tmp_path)
    text = (binary / "metrics.csv").read_text()
    (binary / "metrics.csv").write_text(re.sub(r"1\.5", "nan", text))
    assert any(note.endswith("train/loss is NaN from step 149.") for note in compare(runs(binary, twin)).notes)


def test_run_directories_are_read_and_a_pair_has_one_gap_in_words(tmp_path):
    paths = write_run(tmp_path, "xnor", right=700), write_run(tmp_path, "float", right=760)
    found = compare([str(paths[0]), paths[1]])
    assert found == compare(runs(*paths))
    assert found.gap is found.gaps[0]
    assert str(found) == str(found.gap)
    assert str(found.gap).startswith("xnor loses 6.00 points of top-1 against float (95 % over images: ")


def test_several_gaps_have_no_single_gap(tmp_path):
    found = compare([write_run(tmp_path, arm) for arm in ("xnor", "bwn", "float")])
    with pytest.raises(UserError, match=r"several gaps \(.*\)\. Use an item of `gaps`"):
        found.gap  # noqa: B018


def test_a_pair_that_is_nowhere_is_named_with_the_folder_that_was_searched(tmp_path):
    with pytest.raises(UserError, match=r"nowhere is not a pair.s folder, and there is no folder of runs at"):
        compare(["nowhere"], root=tmp_path / "runs")
