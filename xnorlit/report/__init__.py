"""Reports of a pair: an HTML page, and a dashboard on W&B. Needs neither torch nor Lightning."""
