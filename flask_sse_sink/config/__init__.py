"""The configuration: settings, their types, and how they are read."""
