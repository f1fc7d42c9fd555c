"""An experiment's table: trains the missing arms and seeds, and writes their rows into a README."""
