"""Compare the images of a checkpoint with the current ones. Labels are numbers, so wrong images would go unnoticed."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from xnorlit.data import ImageData
from xnorlit.errors import UserError

_SHOWN = 5  # class names of each side in a message


def images_of(data: ImageData) -> dict[str, Any]:
    """`{split: {samples, sha256, content}}` of the training and the validation images, for the checkpoint.

    Args:
        data: The data module, set up.
    """
    return {
        split: {"samples": data.count(split), "sha256": data.listing_hash(split), "content": data.content(split)}
        for split in ("train", "val")
    }


def refuse_other_images(then: Mapping[str, Any], data: ImageData) -> None:
    """Refuse to resume with images other than those of the run.

    Args:
        then: The result of `images_of` in the checkpoint; empty in earlier versions.
        data: The data module, set up.

    Raises:
        UserError: The names, labels or contents of a split have changed.
    """
    for split, before in then.items():
        if before["sha256"] != data.listing_hash(split):
            raise UserError(
                f"the {split} images have changed since the run started: {before['samples']:,} then, "
                f"{data.count(split):,} now, with other names or classes. Restore them, or start afresh: "
                "--run.fresh true."
            )
        if before.get("content", "") != data.content(split) and "content" in before:
            raise UserError(
                f"the {split} images have changed since the run started: the names are the same, but the files differ. "
                "Restore them, or start afresh: --run.fresh true."
            )


def refuse_other_classes(theirs: Sequence[str], ours: Sequence[str], whose: str, remedy: str) -> None:
    """Refuse weights that were trained on other classes, or on the same classes in another order.

    Args:
        theirs: Classes of the checkpoint, by label.
        ours: Classes of the images, by label.
        whose: Subject of the message: "the teacher runs/...".
        remedy: What to do about it, a sentence.

    Raises:
        UserError: The classes differ.
    """
    theirs = [unicodedata.normalize("NFC", name) for name in theirs]  # Earlier versions recorded the names of folders.
    if theirs == list(ours):
        return
    sides = [
        f"only {where}: {', '.join(sorted(only)[:_SHOWN])}{', ...' if len(only) > _SHOWN else ''}"
        for where, only in (("there", set(theirs) - set(ours)), ("here", set(ours) - set(theirs)))
        if only
    ]
    raise UserError(
        f"{whose} was trained on {len(theirs)} classes, but the images have {len(ours)} "
        f"({'; '.join(sides) or 'the same classes in another order'}). {remedy}"
    )
