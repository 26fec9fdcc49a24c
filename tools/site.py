"""Hooks of mkdocs: the site shows pages that stand outside of ``docs``, too.

A link in Markdown names a file, so that it works where the repository is read. In the site it
leads to that file's page, or, for a file that is no page of the site, to the repository.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

#: With --strict, mkdocs fails after a warning of this logger.
_log = logging.getLogger("mkdocs.hooks.site")
_CODE_OR_LINK = re.compile(
    r"^ *```.*?^ *```|`[^`\n]+`|(?P<start>\]\()(?P<path>[^()\s#]+)(?P<rest>(#[^()\s]*)?\))",
    re.MULTILINE | re.DOTALL,
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the anchors of headings the same as where the repository is read."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of ``docs`` to the site."""
    root = posixpath.dirname(config.docs_dir)
    for path, name in config.extra["outside"].items():
        files.append(File.generated(config, name, abs_src_path=posixpath.join(root, path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page's text with links that lead to pages of the site, or to the repository."""
    name = page.file.src_uri
    outside: dict[str, str] = config.extra["outside"]
    source = next((path for path, other in outside.items() if other == name), f"docs/{name}")
    repository = (config.repo_url or "").rstrip("/")

    root = posixpath.dirname(config.docs_dir)

    def in_site(match: re.Match[str]) -> str:
        path = match["path"]
        if path is None or "://" in path or path.startswith("mailto:"):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if target in outside or target.startswith("docs/"):
            inside = outside.get(target) or target.removeprefix("docs/")
            path = posixpath.relpath(inside, posixpath.dirname(name) or ".")
        elif os.path.exists(posixpath.join(root, target)):
            path = f"{repository}/blob/main/{target}"
        else:
            _log.warning("%s links to %s, which doesn't exist", source, path)
        return f"{match['start']}{path}{match['rest']}"

    return _CODE_OR_LINK.sub(in_site, markdown)
