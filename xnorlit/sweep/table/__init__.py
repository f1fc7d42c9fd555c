"""An experiment's table: train the missing arms and seeds, and write their rows into a README."""
