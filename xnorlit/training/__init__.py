"""Training: one LightningModule for every arm, its schedules, and the files of a run."""
