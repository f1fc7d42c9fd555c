"""Training: one LightningModule for every arm, its schedules, and what a run leaves on disk."""
