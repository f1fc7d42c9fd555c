"""A run's resolved configuration, as nested mappings and as one flat mapping of dotted keys."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from xnorlit.errors import UserError
from xnorlit.runs.moved import with_current_paths
from xnorlit.runs.trust import refuse_code


class _Distinct(yaml.SafeLoader):
    """A YAML loader that refuses repeated keys; PyYAML silently drops the first value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping in a YAML node."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice in one block", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """Parse YAML into plain values.

    Raises:
        yaml.YAMLError: It is not YAML, or repeats a key within one block.
        UserError: It names a class that --no-code refuses.
    """
    value = yaml.load(text, Loader=_Distinct)
    if isinstance(value, dict | list):  # A bare string is the value of an option, and is checked with the option.
        refuse_code(value)
    return value


def load_config(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, with current class paths; builds no Python objects.

    Raises:
        UserError: The file is missing, is not YAML, or is not a mapping.
    """
    try:
        config = with_current_paths(load_yaml(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}). Expected YAML. Train the run again.") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} contains no settings. Expected a mapping (trainer, model, data, ...).")
    return config


# Keys that control a run or its location, and do not change what it computes.
_DECISIONS = ("run.resume", "run.fresh", "run.root", "run.checkpoint_minutes", "run.wandb", "ckpt_path")
# Keys that divide a step among devices and batches. They do not change the result of one global batch.
_GLOBAL_BATCH = "data.global_batch"
_DIVISION = (
    _GLOBAL_BATCH,
    "data.batch_size",
    "data.workers",
    "trainer.accumulate_grad_batches",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
)


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each key in which an earlier run's configuration differs: `lr: started with 1, now 2`.

    With `data.global_batch`, devices, nodes and batch size are not compared. A run without it records the samples per
    step in its checkpoint, and the loader checks them.

    Args:
        ours: The current configuration, from dotted keys to values.
        theirs: The configuration of the existing run, likewise.
    """
    size = ours.get(_GLOBAL_BATCH)
    elastic = size is not None and theirs.get(_GLOBAL_BATCH, 0) in (None, size)
    left_out = (*_DECISIONS, *_DIVISION) if elastic else _DECISIONS
    return tuple(
        f"{key}: started with {theirs.get(key)!r}, now {ours.get(key)!r}"
        for key in sorted(ours.keys() | theirs.keys())
        if key not in left_out and ours.get(key) != theirs.get(key)
    )


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """`{"model.lr": 1}` from `{"model": {"lr": 1}}`: every leaf under its dotted key.

    Mappings inside lists are flattened too (`trainer.callbacks.0.class_path`), so that a comparison of two lists of
    callbacks shows single settings. A list without mappings is one leaf, and so is an empty mapping or list.
    """
    return dict(_leaves("", config))


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        children = value.items()
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        children = enumerate(value)
    else:
        yield prefix, value
        return
    for key, child in children:
        yield from _leaves(f"{prefix}.{key}" if prefix else str(key), child)
