"""Recipes are found in the user's own folder first, then among the packaged ones."""

from pathlib import Path

import pytest

from xnorlit.errors import UserError
from xnorlit.runs import recipes
from xnorlit.runs.recipes import Recipe, folders, names, packaged
from xnorlit.runs.settings import read_config, with_recipes


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "experiments" / "small"
    folder.mkdir(parents=True)
    for name in ("base", "xnor", "best", "float"):
        (folder / f"{name}.yaml").write_text("# Remark: not\n# Remark: run yet\n" if name == "best" else "")
    return Recipe.find("small", folder.parent)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory that has no recipes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_variant_of_the_base_is_not_an_arm(recipe):
    (recipe.folder / "base-224.yaml").write_text("")
    assert set(Recipe.find("small", recipe.folder.parent).overlays) == {"xnor", "best", "float"}


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_without_a_folder_of_ones_own_the_packaged_recipes_are_found(elsewhere):
    assert folders() == [packaged()]
    assert {"synthetic", "cifar10", "imagenet"} <= set(names())
    found = Recipe.find("synthetic")
    assert found.base == packaged() / "synthetic" / "base.yaml"
    assert {"float", "xnor", "bwn"} <= set(found.overlays)


def test_the_users_own_recipe_comes_before_the_packaged_one_of_that_name(elsewhere):
    write(elsewhere / "experiments" / "synthetic", base="", mine="")
    assert str(Recipe.find("synthetic").base) == "experiments/synthetic/base.yaml"
    assert list(Recipe.find("synthetic").overlays) == ["mine"]
    assert "cifar10" in names(), "the others are still there"


def test_from_a_folder_below_the_users_own_recipes_are_found(elsewhere, monkeypatch):
    write(elsewhere / "experiments" / "own", base="", xnor="")
    (elsewhere / "notes").mkdir()
    monkeypatch.chdir("notes")
    assert Recipe.find("own").overlay("xnor") == elsewhere / "experiments" / "own" / "xnor.yaml"


def test_a_users_folder_without_a_base_adds_arms_to_the_packaged_recipe(elsewhere):
    write(elsewhere / "experiments" / "cifar10", mine="", xnor="# changed")
    found = Recipe.find("cifar10")
    assert found.base == packaged() / "cifar10" / "base.yaml"
    assert str(found.overlays["mine"]) == "experiments/cifar10/mine.yaml"
    assert str(found.overlays["xnor"]) == "experiments/cifar10/xnor.yaml"
    assert found.overlays["float"] == packaged() / "cifar10" / "float.yaml"
    assert next(iter(found.overlays)) == "float", "the twin is first"


def test_a_configuration_file_of_a_recipe_is_found_outside_the_checkout(elsewhere):
    words = ["-c", "experiments/cifar10/base.yaml", "--config=experiments/cifar10/xnor.yaml", "--seed_everything", "1"]
    home = packaged() / "cifar10"
    assert with_recipes(words) == ["-c", f"{home}/base.yaml", f"--config={home}/xnor.yaml", "--seed_everything", "1"]
    assert read_config(Path("experiments/cifar10/base.yaml"))["run"]["experiment"] == "cifar10"
    assert with_recipes(["-c", "mine.yaml", "-c"]) == ["-c", "mine.yaml", "-c"], "other files are left as they are"
    write(elsewhere / "experiments" / "cifar10", base="run: {arm: own}")
    assert with_recipes(words)[:2] == words[:2], "the user's own file comes first"


def test_the_folder_inside_the_installed_package_is_not_the_users_to_write_to(elsewhere, monkeypatch):
    package = elsewhere / "site-packages" / "xnorlit"
    write(package / "experiments" / "small", base="", float="")
    monkeypatch.setattr(recipes, "__file__", str(package / "runs" / "recipes.py"))
    assert packaged() == package / "experiments"
    assert not Recipe.find("small").own
    write(elsewhere / "experiments" / "small", xnor="")
    assert Recipe.find("small").own


def test_an_unknown_arm_or_recipe_is_reported_with_the_near_miss(recipe, tmp_path):
    with pytest.raises(UserError, match=r"no arm xnorr\. Did you mean xnor\? Known: best, float, xnor"):
        recipe.chosen("float,xnorr")
    with pytest.raises(UserError, match=r"no recipe named smaller.* Did you mean small\? Known: small"):
        Recipe.find("smaller", tmp_path / "experiments")


def test_a_remark_is_read_from_the_overlay(recipe):
    assert recipe.remark("best") == "not run yet"
    assert recipe.remark("xnor") == ""


def test_a_folder_without_a_base_adds_overlays_to_the_one_above(recipe):
    search = recipe.folder / "search"
    search.mkdir()
    (search / "late.yaml").touch()
    found = Recipe.find("small/search", recipe.folder.parent)
    assert found.base == recipe.base
    assert found.overlays == {"float": recipe.folder / "float.yaml", "late": search / "late.yaml"}
