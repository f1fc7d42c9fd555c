"""A pair is matched only if nothing but the binarizer differs."""

import pytest

from xnorlit.comparison.difference import NOT_SET, binarizer, binarizers, difference

BASE = {
    "seed_everything": 0,
    "run.arm": "xnor",
    "trainer.max_epochs": 20,
    "model.network": "alexnet-small",
    "model.binarizer.class_path": "xnorlit.binarize.XNOR",
    "model.binarizer.init_args.gradient": "ste",
    "model.layers": None,
    "model.optimizer.init_args.lr": 0.003,
    "data.source": "cifar10",
    "data.flip": True,
}
TWIN = {
    **{key: value for key, value in BASE.items() if not key.startswith("model.binarizer")},
    "run.arm": "float",
    "model.binarizer.class_path": "xnorlit.binarize.Float",
}
LR = "model.optimizer.init_args.lr"


def test_a_pair_that_differs_only_in_the_binarizer_is_matched():
    found = difference(BASE, TWIN)
    assert found.kind == "matched"
    assert found.verdict == "matched: only model.binarizer differs"
    gradient = next(item for item in found.keys if item.key == "model.binarizer.init_args.gradient")
    assert (gradient.arm, gradient.reference, gradient.role) == ("ste", NOT_SET, "binarizer")


@pytest.mark.parametrize("layer", ["conv2", "fc*", "unit1.*", "body.0.conv", "unit12.shortcut.conv"])
@pytest.mark.parametrize("setting", ["", ".class_path", ".init_args.scale", ".init_args.input.top"])
def test_a_layers_own_binarizer_is_a_binarizer_also_if_the_layers_name_has_dots(layer, setting):
    place = f"model.layers.{layer}"
    layered = {key: value for key, value in BASE.items() if key != "model.layers"} | {f"{place}{setting}": "BWN"}
    found = difference(layered, TWIN)
    assert found.kind == "matched"
    assert f"only model.binarizer, model.layers and {place} differ" in found.verdict


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed_everything", 1),
        ("trainer.max_epochs", 12),
        ("trainer.precision", "bf16-mixed"),
        ("trainer.callbacks.0.init_args.every_n_epochs", 2),
        ("model.network", "alexnet-xnor"),
        ("model.optimizer.class_path", "torch.optim.SGD"),
        (LR, 0.001),
        ("model.latent_eps", 1e-20),
        ("model.binarizers", 1),
        ("model.layerwise", 64),
        ("data.source", "elsewhere"),
        ("data.flip", False),
        ("data.flip", 1),
        ("data.backend", "ffcv"),
        ("data.batch_size", 128),
        ("run.something_new", True),
        ("a_setting_of_tomorrow", None),
    ],
)
def test_whatever_else_differs_is_named_and_the_pair_is_not_matched(key, value):
    found = difference(BASE, {**TWIN, key: value})
    assert found.kind == "unmatched"
    place = key.removesuffix(".class_path")
    assert found.named("undeclared") == (place,)
    assert found.verdict == f"not matched: {place} differs too"


@pytest.mark.parametrize(
    "key",
    [
        "run.root",
        "run.resume",
        "run.fresh",
        "run.wandb",
        "run.pair",
        "run.experiment",
        "ckpt_path",
        "trainer.default_root_dir",
        "trainer.logger.0.init_args.name",
        "trainer.logger",
        "trainer.callbacks.3.init_args.dirpath",
        "trainer.enable_progress_bar",
        "data.workers",
        "data.cache_dir",
    ],
)
def test_location_and_logging_are_not_a_difference(key):
    assert difference(BASE, {**TWIN, key: "something else"}).kind == "matched"


@pytest.mark.parametrize("declaring_arm", [BASE, TWIN])
def test_a_declared_key_softens_the_verdict_and_is_named(declaring_arm):
    declaration = {"run.pair_differs": ["model.optimizer"]}
    arm = BASE | (declaration if declaring_arm is BASE else {})
    twin = TWIN | {LR: 0.001} | (declaration if declaring_arm is TWIN else {})
    found = difference(arm, twin)
    assert found.kind == "declared"
    assert found.verdict == f"matched except for declared differences: {LR}"
    assert [(item.arm, item.reference) for item in found.keys_of("declared")] == [(0.003, 0.001)]


def test_a_declaration_covers_whole_names_only_and_nothing_else():
    twin = TWIN | {LR: 0.001, "run.pair_differs": ["model.opt", "trainer.max_epochs"]}
    assert difference(BASE, twin).verdict == f"not matched: {LR} differs too"


def test_an_unused_declaration_leaves_the_pair_matched():
    assert difference(BASE, TWIN | {"run.pair_differs": [LR]}).kind == "matched"


def test_declared_networks_make_a_published_pair():
    twin = TWIN | {"model.network": "alexnet", LR: 0.01, "run.pair_differs": ["model", "trainer"]}
    found = difference(BASE, twin)
    assert found.kind == "published"
    assert found.verdict == (
        f"published: each arm has its own network and recipe; declared differences: model.network and {LR}"
    )


def test_several_undeclared_keys_are_all_named():
    twin = BASE | {LR: 0.001, "trainer.max_epochs": 1, "data.source": "x"}
    assert difference(BASE, twin).verdict == f"not matched: data.source, {LR} and trainer.max_epochs differ"


def test_null_is_a_value_and_differs_from_not_set():
    (item,) = difference(BASE, {key: value for key, value in BASE.items() if key != "model.layers"}).keys
    assert (item.key, item.arm, item.reference) == ("model.layers", None, NOT_SET)


def test_equal_configurations_are_not_a_pair():
    found = difference(BASE, {**BASE, "run.arm": "copy"})
    assert found.kind == "identical"
    assert found.verdict == "not a pair: the configurations are equal"


def test_binarizers_are_found_by_place():
    assert binarizer(BASE) == "XNOR"
    assert binarizer({}) == NOT_SET
    layers = {"model.layers.conv2.class_path": "a.BWN", "model.layers.unit1.*.class_path": "Float"}
    assert binarizers(BASE | layers | {"model.layers.conv2.init_args.scale": "none", "model.layers.fc6": "Float"}) == {
        "model.binarizer": "XNOR",
        "model.layers.conv2": "BWN",
        "model.layers.unit1.*": "Float",
        "model.layers.fc6": "Float",
    }


def test_a_key_that_one_arm_has_as_null_stands_for_what_the_other_has_below_it():
    losses = {"run.pair_differs": ["model.losses"], "model.losses.0.class_path": "A", "model.losses.0.weight": 2}
    found = difference(BASE | losses, TWIN | {"model.losses": None})
    assert found.named("declared") == ("model.losses",)
    assert len(found.keys_of("declared")) == 3
    assert found.verdict == "matched except for declared differences: model.losses"


def test_another_class_covers_its_settings():
    ours, theirs = "model.optimizer.init_args", {"model.optimizer.class_path": "a.Adam"}
    bop = {"model.optimizer.class_path": "a.Bop", f"{ours}.gamma": 1e-3, f"{ours}.threshold": 1e-8, "data.flip": False}
    assert difference(BASE | bop, TWIN | theirs).named("undeclared") == ("data.flip", "model.optimizer")
    same_class = difference(BASE | theirs | {f"{ours}.gamma": 1e-3}, TWIN | theirs)
    assert same_class.named("undeclared") == (f"{ours}.gamma",)
