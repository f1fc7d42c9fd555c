"""The runs that a table needs: every arm and seed, the twin first."""

import pytest

from xnorlit.runs.place import Place
from xnorlit.runs.recipes import Recipe
from xnorlit.sweep.table.plan import jobs


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "experiments" / "small"
    folder.mkdir(parents=True)
    for name in ("base", "xnor", "best", "float"):
        (folder / f"{name}.yaml").write_text(
            ("# Remark: not\n# Remark: run yet\n" if name == "best" else "") + "run: {}\n"
        )
    return Recipe.find("small", folder.parent)


def listed(recipe, seeds, root, *options):
    return list(jobs(recipe, seeds, Place(root, "small", "pair-0", "float", 0), options))


def test_the_twin_of_a_seed_comes_before_the_arms_that_may_learn_from_it(recipe, tmp_path):
    seeds = dict.fromkeys(recipe.chosen("xnor,float,best"), 1) | {"best": 2, "float": 2}
    order = [(job.place.arm, job.place.seed) for job in listed(recipe, seeds, tmp_path)]
    assert order == [("float", 0), ("best", 0), ("xnor", 0), ("float", 1), ("best", 1)]


def test_an_arm_follows_those_that_it_starts_from_and_learns_from(recipe, tmp_path):
    losses = "[CrossEntropy, {class_path: Distillation, init_args: {teacher: xnor}}]"
    (recipe.overlays["best"]).write_text(f"model: {{init_from: weights.ckpt, losses: {losses}}}\n")
    (recipe.overlays["xnor"]).write_text("model: {init_from: float}\n")
    seeds = dict.fromkeys(recipe.chosen("best,float,xnor"), 1)
    assert [job.place.arm for job in listed(recipe, seeds, tmp_path)] == ["float", "xnor", "best"]
    (recipe.overlays["xnor"]).write_text("model: {init_from: best}\n")
    order = [job.place.arm for job in listed(recipe, seeds, tmp_path)]
    assert sorted(order) == sorted(seeds), "a circle, which training will refuse, hides no arm"


def test_a_job_is_a_fit_of_base_and_overlay_at_its_place(recipe, tmp_path):
    (job,) = listed(recipe, {"xnor": 1}, tmp_path, "--data.source", "photos")
    words = " ".join(job.command)
    assert "-m xnorlit fit -c" in words
    assert words.endswith(f"--run.root {tmp_path} --run.experiment small --run.pair pair-0 --data.source photos")
    assert f"-c {recipe.base} -c {recipe.overlays['xnor']} --seed_everything 0" in words
