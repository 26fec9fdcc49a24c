"""What the package serves besides the streams themselves."""
