"""Access: who may publish what, and who may read what."""
