"""CloudEvents 1.0: decoded from requests, and encoded from stored events."""
