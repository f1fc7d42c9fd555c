"""A pair compared: its runs matched, the difference of their settings computed, the gap with its intervals."""
