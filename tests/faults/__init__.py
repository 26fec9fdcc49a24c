"""Tests of what goes wrong, which measure: they run one at a time."""
