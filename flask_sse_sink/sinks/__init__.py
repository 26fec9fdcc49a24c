"""The types of sinks."""
