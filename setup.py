"""Everything stands in setup.cfg, but for the page that a package index shows: the README.

The README's links are relative, so that they fit the checkout or fork in which it is read. On an
index's page they would lead nowhere: there they name the repository.
"""

import re
from pathlib import Path

from setuptools import setup

REPOSITORY = "https://github.com/flask-sse-sink/flask-sse-sink"
# The relative target of a link or an image, in Markdown or HTML, and what stands before it.
TARGET = re.compile(r'(\]\(|\b(?:href|src|srcset)=")(?![#/]|[a-z][a-z0-9+.-]*:)([^()\s"]+)')


def absolute(found: re.Match[str]) -> str:
    """Return the target as a URL of the repository."""
    before, target = found.groups()
    kind = "raw" if re.search(r"\.(gif|jpe?g|png|svg|webp)$", target) else "blob"
    return f"{before}{REPOSITORY}/{kind}/main/{target}"


setup(long_description=TARGET.sub(absolute, Path("README.md").read_text(encoding="utf-8")))
