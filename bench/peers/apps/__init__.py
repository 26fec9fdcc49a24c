"""The peers' apps, each as that peer's documentation shows it."""
