"""Which runs an experiment's table needs, and which of them are there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xnorlit.errors import UserError, did_you_mean
from xnorlit.runs.place import Place
from xnorlit.sweep import Job

TWIN = "float"
"""The arm that every gap is to, and that others may learn from."""


@dataclass(frozen=True)
class Recipe:
    """An experiment's files: `base`, and an overlay for each arm by name, the float twin first.

    A folder without a base of its own, such as cifar10/search, holds further overlays on that of the folder above, and
    shares its float twin.
    """

    folder: Path
    base: Path
    overlays: dict[str, Path]

    @staticmethod
    def find(folder: Path) -> "Recipe":
        """The recipe in a folder of experiments.

        Raises:
            UserError: There is none.
        """
        homes = [home for home in (folder, folder.parent) if folder.is_dir() and (home / "base.yaml").is_file()]
        if not homes:
            known = sorted(found.parent.name for found in folder.parent.glob("*/base.yaml"))
            raise UserError(
                f"no recipe named {folder.name}: {folder / 'base.yaml'} does not exist."
                f"{did_you_mean(folder.name, known)} Known: {', '.join(known) or 'none'}."
            )
        base = homes[0] / "base.yaml"
        files = {file.stem: file for file in (*homes[0].glob(f"{TWIN}.yaml"), *folder.glob("*.yaml")) if file != base}
        return Recipe(folder, base, {arm: files[arm] for arm in sorted(files, key=lambda arm: (arm != TWIN, arm))})

    def chosen(self, arms: str | None) -> list[str]:
        """The arms of a comma-separated list, in the order of the recipe; all of them for None.

        Raises:
            UserError: The recipe has no such arm.
        """
        if arms is None:
            return list(self.overlays)
        words = [word for word in arms.replace(" ", "").split(",") if word]
        for word in words:
            if word not in self.overlays:
                near = did_you_mean(word, self.overlays)
                raise UserError(f"{self.folder.name} has no arm {word}.{near} Known: {', '.join(self.overlays)}.")
        return [arm for arm in self.overlays if arm in words]

    def remark(self, arm: str) -> str:
        """What the overlay's line `# Remark: ...` says about the arm; empty without one."""
        lines = self.overlays[arm].read_text(encoding="utf-8").splitlines()
        return " ".join(line.removeprefix("# Remark:").strip() for line in lines if line.startswith("# Remark:"))


def jobs(recipe: Recipe, seeds: dict[str, int], place: Place, options: tuple[str, ...] = ()) -> Iterator[Job]:
    """The runs of each arm with seeds 0, 1, ...: every seed's float twin before the arms that may learn from it.

    Args:
        recipe: The experiment's files.
        seeds: How many seeds of each arm.
        place: Root, experiment and pair of the runs; its arm and seed are not looked at.
        options: Further words of each run's `xnorlit fit`.
    """
    for seed in range(max(seeds.values(), default=0)):
        for arm, count in seeds.items():
            if seed < count:
                words = ["-c", recipe.base, "-c", recipe.overlays[arm], "--seed_everything", seed]
                words += ["--run.root", place.root, "--run.experiment", place.experiment, "--run.pair", place.pair]
                run = Place(place.root, place.experiment, place.pair, arm, seed)
                yield Job(run, (*map(str, words), *options))
