"""The difference of two runs in their settings, and whether they are a matched pair."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xnorlit.comparison.images import SOURCE, sources
from xnorlit.runs import Run

Kind = Literal["matched", "declared", "published", "unmatched", "identical"]
Role = Literal["binarizer", "declared", "undeclared"]

NOT_SET = "(not set)"
"""Stands for a key that a configuration lacks. It differs from null, which is a value."""

SEEDS = ("seed_everything", "data.seed")
"""The keys in which the seeds of an arm differ."""

DECLARED = "run.pair_differs"
"""The configuration key that lists a pair's intended differences. Each entry covers all keys below it."""

# The experiment itself: the network's binarizer and the binarizers of single layers. A difference in any other setting
# makes a pair unmatched.
# Names of layers may contain dots: `model.layers.unit1.*.class_path` belongs to the place `model.layers.unit1.*`.
_BINARIZER = re.compile(r"(model\.binarizer|model\.layers(?:\..+?)?)(?:\.(?:class_path|init_args)(?:\..+)?)?")

# Keys that cannot change what is learned, each with the reason. Every other key counts, so a new setting counts as a
# difference until it is added here.
_FILING = re.compile(
    "|".join(
        (
            # where the run is stored and logged, what happens to an earlier run there, and the declaration itself
            r"run\.(root|experiment|pair|arm|pair_differs|resume|fresh|checkpoint_minutes|wandb)",
            # where a run was resumed: a resumed run continues the same sample order (tested in tests/training)
            r"ckpt_path",
            # where logs and checkpoints go, and the logger's name for the run
            r"trainer\.(default_root_dir|logger(\..+)?|callbacks\.\d+\.init_args\.dirpath)",
            # what training prints
            r"trainer\.(enable_progress_bar|enable_model_summary|log_every_n_steps)",
            r"trainer\.callbacks\.\d+\.init_args\.refresh_rate",
            # where prepared images are stored: the listing's hash shows whether they are the same images
            r"data\.cache_dir",
            # sample order and augmentation do not depend on the number of workers (tested in tests/data)
            r"data\.workers",
        )
    )
)


@dataclass(frozen=True)
class KeyDifference:
    """A key in which two configurations differ, with both values and its role in the pair."""

    key: str
    arm: Any
    reference: Any
    role: Role


@dataclass(frozen=True)
class Difference:
    """All relevant differences between two configurations, and the resulting verdict.

    `kind` is "matched" if only the binarizer differs; "declared" if declared keys differ too; "published" if the
    network is one of the declared keys (each arm has its own network and recipe); "unmatched" if any other key
    differs; and "identical" if nothing differs.
    """

    kind: Kind
    keys: tuple[KeyDifference, ...]

    def named(self, role: Role) -> tuple[str, ...]:
        """The differing keys of that role, in short form.

        A binarizer is named by its place, such as `model.layers.conv2`. Any other key stands for all keys below it. For
        example, `model.losses` stands for `model.losses.0.weight` if it is null in one arm, and `model.optimizer` for
        its class and settings if the class differs.
        """
        keys = [item.key for item in self.keys_of(role)]
        if role == "binarizer":
            return tuple(dict.fromkeys(place for key in keys if (place := _binarizer_place(key))))
        places = [key.removesuffix(".class_path") for key in keys if key.endswith(".class_path")]
        keys = list(dict.fromkeys(next((place for place in places if _covers(place, key)), key) for key in keys))
        return tuple(key for key in keys if not any(other != key and _covers(other, key) for other in keys))

    def keys_of(self, role: Role) -> tuple[KeyDifference, ...]:
        """The differing keys of that role."""
        return tuple(item for item in self.keys if item.role == role)

    @property
    def verdict(self) -> str:
        """One sentence without a full stop, such as `matched: only model.binarizer differs`."""
        if self.kind == "identical":
            return "not a pair: the configurations are equal"
        if self.kind == "matched":
            places = self.named("binarizer")
            return f"matched: only {_listed(places)} {'differs' if len(places) == 1 else 'differ'}"
        if self.kind == "unmatched":
            undeclared = self.named("undeclared")
            verb = "differs" if len(undeclared) == 1 else "differ"
            return f"not matched: {_listed(undeclared)} {verb}{' too' if self.named('binarizer') else ''}"
        declared = _listed(self.named("declared"))
        if self.kind == "published":
            return f"published: each arm has its own network and recipe; declared differences: {declared}"
        return f"matched except for declared differences: {declared}"


def difference(arm: Mapping[str, Any], reference: Mapping[str, Any], *, same: Iterable[str] = ()) -> Difference:
    """The difference of two flat configurations.

    Either arm's configuration may declare intended differences, such as `run.pair_differs: [model.optimizer]`. A
    declared key covers all keys below it. The verdict names declared keys; it does not hide them.

    Args:
        arm: Values by dotted key.
        reference: Values by dotted key.
        same: Keys to ignore, such as the seed when two seeds of one arm are compared.
    """
    declared = (*_declared(arm), *_declared(reference))
    keys = tuple(
        KeyDifference(key, a, b, _role(key, declared))
        for key in sorted(arm.keys() | reference.keys())
        if not _FILING.fullmatch(key) and key not in same
        if not _equal(a := arm.get(key, NOT_SET), b := reference.get(key, NOT_SET))
    )
    return Difference(_kind(keys), keys)


def between(arm: Run, reference: Run, *, same: Iterable[str] = ()) -> Difference:
    """The difference of two runs: that of their configurations, where `data.source` stands for the images.

    Args:
        arm: A run.
        reference: Another one.
        same: Keys to ignore.
    """
    ours, theirs = arm.flat_config, reference.flat_config
    if SOURCE in ours and SOURCE in theirs:
        a, b = sources(arm, reference)
        ours, theirs = ours | {SOURCE: a}, theirs | {SOURCE: b}
    return difference(ours, theirs, same=same)


def binarizer(config: Mapping[str, Any], place: str = "model.binarizer") -> str:
    """The class name of the binarizer at a place of a flat configuration: `XNOR`, or `(not set)` without one."""
    for key in (f"{place}.class_path", place):
        if key in config:
            return str(config[key]).rpartition(".")[2]
    return NOT_SET


def binarizers(config: Mapping[str, Any]) -> dict[str, str]:
    """Every binarizer of a flat configuration by place: the network's, then those of single layers."""
    places = dict.fromkeys(place for key in config if (place := _binarizer_place(key)))
    return {place: binarizer(config, place) for place in places if config.get(place, True) not in (None, {})}


def _kind(keys: tuple[KeyDifference, ...]) -> Kind:
    roles = {item.role for item in keys}
    if not roles:
        return "identical"
    if "undeclared" in roles:
        return "unmatched"
    if "declared" not in roles:
        return "matched"
    own_network = any(item.role == "declared" and _covers("model.network", item.key) for item in keys)
    return "published" if own_network else "declared"


def _role(key: str, declared: tuple[str, ...]) -> Role:
    if _binarizer_place(key):
        return "binarizer"
    return "declared" if any(_covers(name, key) for name in declared) else "undeclared"


def _declared(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get(DECLARED) or ()
    return (names,) if isinstance(names, str) else tuple(str(name) for name in names)


def _covers(name: str, key: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _binarizer_place(key: str) -> str | None:
    """`model.layers.conv2` for the key `model.layers.conv2.init_args.scale`; None for a key of no binarizer."""
    found = _BINARIZER.fullmatch(key)
    return found and found[1]


def _equal(a: Any, b: Any) -> bool:
    # True == 1 in Python, but `flip: true` and `flip: 1` are different settings.
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
