"""The ready server: its app, and what gunicorn needs to know."""
