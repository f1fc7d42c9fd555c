"""No test asks W&B's servers, not even on a machine where somebody is logged in."""

import os

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_BASE_URL"] = "http://127.0.0.1:9"  # the port that discards
os.environ["NETRC"] = os.devnull
for name in ("WANDB_API_KEY", "WANDB_ENTITY", "WANDB_PROJECT"):
    os.environ.pop(name, None)
