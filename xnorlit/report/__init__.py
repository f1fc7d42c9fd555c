"""Pairs of runs, their difference and their statistics; needs neither torch nor Lightning."""
