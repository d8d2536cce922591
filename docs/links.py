"""Links from the pages to files outside docs/, which the site does not hold.

A reader of the repository follows such a link; a reader of the site is shown the file's path.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\(([^):#]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page, with the path in place of each link that leaves docs/. mkdocs calls it."""
    folder = posixpath.dirname(page.file.src_uri)

    def shown(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if target.startswith("docs/"):
            return link[0]
        return f"`{target}`" if link[1].startswith("`") else f"{link[1]} (`{target}`)"

    return LINK.sub(shown, markdown)
