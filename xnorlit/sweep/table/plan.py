"""The runs that an experiment's table needs."""

from collections.abc import Iterator, Mapping, Sequence

from xnorlit.runs.place import Place
from xnorlit.runs.recipes import Recipe
from xnorlit.runs.settings import merged
from xnorlit.sweep import Job


def jobs(recipe: Recipe, seeds: dict[str, int], place: Place, options: tuple[str, ...] = ()) -> Iterator[Job]:
    """The runs of each arm with seeds 0, 1, ... An arm follows those of its seed that it starts from or learns from.

    Args:
        recipe: The experiment's files.
        seeds: Number of seeds of each arm.
        place: Root, experiment and pair of the runs; arm and seed are ignored.
        options: Further options of `xnorlit fit` for each run.
    """
    arms = _after_their_needs({arm: _needs(recipe, arm) for arm in seeds})
    for seed in range(max(seeds.values(), default=0)):
        for arm in arms:
            if seed < seeds[arm]:
                argv = ["-c", recipe.base, "-c", recipe.overlays[arm], "--seed_everything", seed]
                argv += ["--run.root", place.root, "--run.experiment", place.experiment, "--run.pair", place.pair]
                run = Place(place.root, place.experiment, place.pair, arm, seed)
                yield Job(run, (*map(str, argv), *options))


def _needs(recipe: Recipe, arm: str) -> list[str]:
    """What an arm names to start from and to learn from: arms, or files."""
    model = merged([recipe.base, recipe.overlays[arm]]).get("model") or {}
    terms = [term for term in model.get("losses") or () if isinstance(term, dict)]
    found = [model.get("init_from"), *((term.get("init_args") or {}).get("teacher") for term in terms)]
    return [str(each) for each in found if each]


def _after_their_needs(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The arms in their order, but each after the ones that it needs. Arms that need each other keep some order."""
    ordered: list[str] = []
    seen: set[str] = set()

    def add(arm: str) -> None:
        if arm in needs and arm not in seen:
            seen.add(arm)
            for other in needs[arm]:
                add(other)
            ordered.append(arm)

    for arm in needs:
        add(arm)
    return ordered
