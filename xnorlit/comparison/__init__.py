"""The comparison of a pair: match its runs, compute the difference of their settings and the gap with its intervals."""
