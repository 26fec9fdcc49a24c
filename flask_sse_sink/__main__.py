"""``python -m flask_sse_sink``: the command ``sse-sink``."""

from .cli.main import main

if __name__ == "__main__":
    main(prog_name="sse-sink")
