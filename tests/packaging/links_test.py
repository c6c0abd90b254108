#!/usr/bin/env python3
"""Checks that every link of the Markdown documents leads somewhere, in the source tree and, by
install_test.py and package_test.py, where the documents are installed.

Usage: links_test.py SOURCE_DIRECTORY
"""

import re
import sys
from pathlib import Path


def prose(page):
    """The page without what is code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """What the page's headings are linked by, as GitHub and GitLab make it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def broken_links(pages, inside):
    """A line for each link that leads to no file inside the directory, or to no heading."""
    broken = []
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if re.match(r"https?:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or inside.resolve() not in target.parents:
                broken.append(f"{page}: {link}: not there")
            elif anchor and anchor not in anchors(target):
                broken.append(f"{page}: {link}: no such heading")
    return broken


def main():
    source = Path(sys.argv[1]).resolve()
    pages = [*source.glob("*.md"), *source.glob("docs/**/*.md")]
    broken = broken_links(pages, source)
    print("\n".join(broken) or f"the links of {len(pages)} pages lead somewhere")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
