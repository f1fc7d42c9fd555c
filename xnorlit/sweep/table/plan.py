"""The runs that an experiment's table needs."""

from collections.abc import Iterator

from xnorlit.runs.place import Place
from xnorlit.runs.recipes import Recipe
from xnorlit.sweep import Job


def jobs(recipe: Recipe, seeds: dict[str, int], place: Place, options: tuple[str, ...] = ()) -> Iterator[Job]:
    """The runs of each arm with seeds 0, 1, ... The float twin of a seed comes before the arms that may learn from it.

    Args:
        recipe: The experiment's files.
        seeds: Number of seeds of each arm.
        place: Root, experiment and pair of the runs; arm and seed are ignored.
        options: Further options of `xnorlit fit` for each run.
    """
    for seed in range(max(seeds.values(), default=0)):
        for arm, count in seeds.items():
            if seed < count:
                argv = ["-c", recipe.base, "-c", recipe.overlays[arm], "--seed_everything", seed]
                argv += ["--run.root", place.root, "--run.experiment", place.experiment, "--run.pair", place.pair]
                run = Place(place.root, place.experiment, place.pair, arm, seed)
                yield Job(run, (*map(str, argv), *options))
