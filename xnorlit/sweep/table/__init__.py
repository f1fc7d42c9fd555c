"""An experiment's table: the runs of its arms and seeds, trained where they are missing, as rows of a README."""
