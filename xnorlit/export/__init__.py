"""From a trained network to a file that runs elsewhere: weights to bits, everything between signs to thresholds."""
