"""Pulled sinks: what a consumer extracts and confirms, and when."""
