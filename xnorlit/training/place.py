"""The folder of a run, and the guard that keeps two runs from mixing in it."""

import itertools
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from xnorlit.edge import atomic
from xnorlit.edge.names import at_home
from xnorlit.errors import UserError
from xnorlit.runs.config import differing
from xnorlit.runs.lock import state_of, take
from xnorlit.runs.place import Place


@dataclass
class RunPlace:
    """`<root>/<experiment>/<pair>/<arm>/seed-<n>`, and what to do if it exists.

    Args:
        experiment: Name of the experiment: the first folder under root.
        arm: Name of this run in its pair, such as xnor or float. An option in braces is replaced by its value on the
            same command line: {model.binarizer}-{model.binarizer.gradient}.
        pair: Name of the pair; runs of one pair are compared, seed by seed.
        root: Folder of all runs.
        pair_differs: Further keys in which the arms of this pair differ on purpose, such as model.optimizer.
        resume: Resume the existing unfinished run with the next sample in order. auto also starts a run of which
            nothing was saved, and does nothing if it has finished: the same command for every state.
        fresh: Move the existing run aside (to seed-<n>.until-<time>) and start again.
        checkpoint_minutes: Also save within an epoch when the last checkpoint is older than this.
        wandb: Log to W&B: auto (online if a login is found, else offline), online, offline or off.
    """

    experiment: str = "unnamed"
    arm: str = "unnamed"
    pair: str = "pair-0"
    root: Path = Path("runs")
    pair_differs: list[str] = field(default_factory=list)
    resume: bool | Literal["auto"] = False
    fresh: bool = False
    checkpoint_minutes: float = 15.0
    wandb: Literal["auto", "online", "offline", "off"] = "auto"

    def __post_init__(self) -> None:
        self.root = at_home(self.root)  # Lightning expands `~` too.

    def at(self, seed: int) -> Path:
        """The run's folder.

        Args:
            seed: The run's seed.

        Raises:
            UserError: A name would leave the root.
        """
        for key in ("experiment", "arm", "pair"):
            name = getattr(self, key)
            if not name or name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
                raise UserError(f"run.{key} is {name!r}, but a single folder name was expected, such as 'pair-0'.")
        return Place(self.root, self.experiment, self.pair, self.arm, seed).path


def claim(folder: Path, *, resume: bool, fresh: bool, again: bool = False) -> IO[str]:
    """Claims a run's folder for this process, or says what prevents it.

    Args:
        folder: The run's folder.
        resume: Expect an unfinished run there.
        fresh: Move an existing run aside first.
        again: Restart a run of which nothing was saved.

    Returns:
        The open lock, held until it is closed or the process ends.

    Raises:
        UserError: A finished run, an unfinished run, or a running one is there; or there is nothing to resume.
    """
    if resume and fresh:
        raise UserError("run.resume and run.fresh were both given; choose one.")
    if resume and state_of(folder) != "unfinished":
        raise UserError(
            f"there is nothing to resume: {folder / 'checkpoints' / 'last.ckpt'} does not exist. A run saves its first "
            "checkpoint after one epoch, after run.checkpoint_minutes, or on a signal. Start afresh with "
            "--run.fresh true; --run.resume auto begins where there is nothing, and goes on where there is."
        )
    lock = _lock(folder)
    atomic.sweep(folder)
    state = state_of(folder)
    if resume or state == "missing":
        return lock
    if fresh:
        # The lock moves with the folder; take a new one at the old place.
        aside = _free(folder.with_name(f"{folder.name}.until-{time.strftime('%Y%m%d-%H%M%S')}"))
        folder.rename(aside)
        lock.close()
        return _lock(folder)
    if state == "begun" and again:
        return lock
    lock.close()
    if state == "finished":
        held, remedy = f"a finished run ({top1(folder)})", ""
    else:
        held = "an unfinished run"
        remedy = "go on with it: --run.resume auto; " if state == "unfinished" else ""
    raise UserError(
        f"{folder} holds {held}, and a second run is neither mixed into it nor written over it. You can "
        f"{remedy}start afresh, moving it aside: --run.fresh true; or train another one: another seed "
        "(--seed_everything N, make SEED=N) or --run.pair NAME."
    )


def top1(folder: Path) -> str:
    """`top-1 43.11 %` of a finished run.

    Args:
        folder: The run's.
    """
    return f"top-1 {100 * json.loads((folder / 'summary.json').read_text())['top1']:.2f} %"


def checkpoint_of(named: str, run: Path, *, role: str) -> Path:
    """The checkpoint that a recipe names: the path of a file, or an arm of the same pair.

    An arm's name means the last checkpoint of that arm with the run's seed. It is not the best one, because that was
    selected by its accuracy on the images on which this run will be measured.

    Args:
        named: Name of an arm, such as float; or a path, which has a folder or a suffix.
        run: Folder of the run that uses it, `.../PAIR/ARM/seed-N`.
        role: Its role in the run, for the message: "the teacher".

    Raises:
        UserError: The arm's run has not finished.
    """
    if "/" in named or Path(named).suffix:
        return at_home(named)
    folder = run.parent.parent / named / run.name
    if not (folder / "summary.json").is_file():
        state = "is not finished" if (folder / "config.yaml").is_file() else "does not exist"
        raise UserError(
            f"{role} is the arm {named} of the same pair and seed, and its run {folder} {state}. Train it first "
            f"(xnorlit train {named}, with the same recipe, images and seed), or name a checkpoint instead."
        )
    return folder / "checkpoints" / "last.ckpt"


def refuse_vanished(folder: Path) -> None:
    """Ends a run whose folder is no longer there, before something is written that would make a torn one of it.

    Args:
        folder: The run's, in which its configuration was written.

    Raises:
        UserError: It was moved or removed.
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"{folder} was moved or removed while it was being trained, and nothing more is written there. Put it "
            "back, and the same command with --run.resume auto goes on from its last checkpoint; without it, it begins "
            "again."
        )


def discard_if_empty(folder: Path) -> None:
    """Removes the folder of a run that failed before it started, and the parent folders that become empty.

    Args:
        folder: The run's folder, claimed by this process; a run that has started there has its config.yaml.
    """
    if (folder / "config.yaml").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    for above in list(folder.parents)[:4]:
        try:
            above.rmdir()
        except OSError:  # It contains other runs.
            return


def _free(path: Path) -> Path:
    """The path, or the first free one like it: a clock may have been set back, or a second not be over."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _lock(folder: Path) -> IO[str]:
    try:
        return take(folder)
    except BlockingIOError as owner:
        raise UserError(
            f"{folder} is being written by another process ({owner}). Wait for it, or train another "
            "seed (--seed_everything N, make SEED=N) or pair (--run.pair NAME)."
        ) from None


def refuse_other_config(ours: dict[str, Any], theirs: dict[str, Any], folder: Path) -> None:
    """Refuses to resume a run with another configuration than it was started with.

    Args:
        ours: The configuration of this command, flattened to dotted keys.
        theirs: That of the unfinished run.
        folder: The run's folder, for the message.

    Raises:
        UserError: They differ; the message names the keys.
    """
    if differ := differing(ours, theirs):
        lines = "\n".join(f"  {line}" for line in differ[:8])
        raise UserError(
            f"{folder} was begun with another configuration ({len(differ)} keys differ):\n{lines}\n"
            f"Resume it as it was (-c {folder / 'config.yaml'} --run.resume auto), or start afresh (--run.fresh true)."
        )
