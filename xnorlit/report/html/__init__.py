"""The page of a pair: one HTML file that needs no network, whose every number names its place in a record."""
