"""What differs between two resolved configurations, and whether their runs may be called a matched pair."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["matched", "declared", "published", "unmatched", "identical"]
Role = Literal["binarizer", "declared", "undeclared"]

NOT_SET = "(not set)"
"""Stands for a key that one of the configurations does not have; null is a value, and differs from it."""

DECLARED = "run.pair_differs"
"""The configuration key under which a pair lists further keys that it means to differ (each with all below it)."""

# The experiment itself: the network's binarizer, and those that single layers use instead of it. Whatever else may one
# day be set for a layer is not the binarizer, and would make a pair unmatched.
_BINARIZER = re.compile(r"model\.binarizer(\..+)?|model\.layers(\.[^.]+(\.(class_path|init_args)(\..+)?)?)?")

# Keys that cannot change what is learnt. Everything not named here counts: a new setting is a difference until someone
# argues in this list that it is none.
_FILING = re.compile(
    "|".join(
        (
            # where the run is filed and logged, what was done about a former one there, and the declaration itself
            r"run\.(root|experiment|pair|arm|pair_differs|resume|fresh|checkpoint_minutes|wandb)",
            # where a run was resumed from: a resumed run continues the same sample order (tests/training holds it)
            r"ckpt_path",
            # where logs and checkpoints go, and what a logger calls the run
            r"trainer\.(default_root_dir|logger(\..+)?|callbacks\.\d+\.init_args\.dirpath)",
            # what is shown while training
            r"trainer\.(enable_progress_bar|enable_model_summary|log_every_n_steps)",
            r"trainer\.callbacks\.\d+\.init_args\.refresh_rate",
            # where prepared images are kept: the listing's hash says whether they are the same images
            r"data\.cache_dir",
            # order and augmentation of the samples are the same for any number of workers (tests/data holds it)
            r"data\.workers",
        )
    )
)


@dataclass(frozen=True)
class KeyDifference:
    """A key on which two configurations differ, with both values and the part it plays in the pair."""

    key: str
    arm: Any
    reference: Any
    role: Role


@dataclass(frozen=True)
class Difference:
    """All differences that count between two configurations, and the verdict that follows from them.

    kind: "matched": only the binarizer differs. "declared": besides it only keys that the pair declares.
    "published": the same, with the network among them: each arm has its own network and recipe.
    "unmatched": some key differs that is neither. "identical": nothing differs.
    """

    kind: Kind
    keys: tuple[KeyDifference, ...]

    def named(self, role: Role) -> tuple[str, ...]:
        """The differing keys of that role; those of a binarizer as its place, such as `model.layers.conv2`.

        Of others a key stands for all below it: for `model.losses.0.weight` where `model.losses` is null in one arm;
        and `model.optimizer` for its class and settings where the class differs.
        """
        keys = [item.key for item in self.keys_of(role)]
        if role == "binarizer":
            return tuple(dict.fromkeys(map(_binarizer_place, keys)))
        places = [key.removesuffix(".class_path") for key in keys if key.endswith(".class_path")]
        keys = list(dict.fromkeys(next((place for place in places if _covers(place, key)), key) for key in keys))
        return tuple(key for key in keys if not any(other != key and _covers(other, key) for other in keys))

    def keys_of(self, role: Role) -> tuple[KeyDifference, ...]:
        """The differing keys of that role."""
        return tuple(item for item in self.keys if item.role == role)

    @property
    def verdict(self) -> str:
        """One sentence without a full stop, such as `matched: the configurations differ in model.binarizer only`."""
        if self.kind == "identical":
            return "not a pair: the configurations are the same"
        if self.kind == "matched":
            return f"matched: the configurations differ in {_listed(self.named('binarizer'))} only"
        if self.kind == "unmatched":
            undeclared = self.named("undeclared")
            verb = "differs" if len(undeclared) == 1 else "differ"
            return f"not matched: {_listed(undeclared)} {verb}{' too' if self.named('binarizer') else ''}"
        declared = _listed(self.named("declared"))
        if self.kind == "published":
            return f"published: each arm has its own network and recipe; declared to differ: {declared}"
        return f"matched but for the declared keys: {declared}"


def difference(arm: Mapping[str, Any], reference: Mapping[str, Any], *, same: Iterable[str] = ()) -> Difference:
    """The difference of two flat configurations.

    A pair declares keys that it means to differ in either arm's configuration, `run.pair_differs: [model.optimizer]`;
    such a key covers all below it. A declaration softens the verdict, which names the key, and hides nothing.

    Args:
        arm: Dotted keys to values.
        reference: Dotted keys to values.
        same: Keys to leave out, such as the seed's when two seeds of one arm are compared.
    """
    declared = (*_declared(arm), *_declared(reference))
    keys = tuple(
        KeyDifference(key, a, b, _role(key, declared))
        for key in sorted(arm.keys() | reference.keys())
        if not _FILING.fullmatch(key) and key not in same
        if not _equal(a := arm.get(key, NOT_SET), b := reference.get(key, NOT_SET))
    )
    return Difference(_kind(keys), keys)


def binarizer(config: Mapping[str, Any], place: str = "model.binarizer") -> str:
    """The class name of the binarizer at a place of a flat configuration: `XNOR`; `(not set)` where there is none."""
    for key in (f"{place}.class_path", place):
        if key in config:
            return str(config[key]).rpartition(".")[2]
    return NOT_SET


def binarizers(config: Mapping[str, Any]) -> dict[str, str]:
    """Every binarizer of a flat configuration by its place: the network's, then those of single layers."""
    places = dict.fromkeys(_binarizer_place(key) for key in config if _BINARIZER.fullmatch(key))
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
    if _BINARIZER.fullmatch(key):
        return "binarizer"
    return "declared" if any(_covers(name, key) for name in declared) else "undeclared"


def _declared(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get(DECLARED) or ()
    return (names,) if isinstance(names, str) else tuple(str(name) for name in names)


def _covers(name: str, key: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _binarizer_place(key: str) -> str:
    parts = key.split(".")
    return ".".join(parts[: 3 if parts[1] == "layers" else 2])


def _equal(a: Any, b: Any) -> bool:
    # True == 1 in Python, yet `flip: true` and `flip: 1` are not the same setting.
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
