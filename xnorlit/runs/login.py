"""Whether W&B is to be asked, and whether somebody is logged in: one answer for training, the dashboard and sync."""

import os
from typing import Literal


def wandb_mode() -> Literal["online", "offline", "off"]:
    """WANDB_MODE where it is set; else online where a login is found on this machine, else offline.

    The login is looked for, not tried: a key that has expired is one, and the server's answer says what it is.
    """
    said = os.environ.get("WANDB_MODE", "")
    if said in ("online", "offline"):
        return said  # type: ignore[return-value]
    if said in ("disabled", "dryrun"):
        return "off" if said == "disabled" else "offline"
    return "online" if logged_in() else "offline"


def logged_in() -> bool:
    """Whether WANDB_API_KEY or an earlier `wandb login` gives a key; nothing is asked and nothing is sent."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return bool(wandb.login(prompt=False, verify=False))
