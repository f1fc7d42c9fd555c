"""From a run to a packed file: its network rebuilt, packed, and measured on the engine."""
