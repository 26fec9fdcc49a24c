"""Says whether a stream gets through, and what hinders it: from outside, and on this machine."""
