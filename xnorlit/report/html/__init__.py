"""The page of a pair: one HTML file without network access, whose numbers all name their place in a record."""
