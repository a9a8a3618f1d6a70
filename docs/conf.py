"""Sphinx: Markdown through MyST; the API's own pages are pydoctor's, below api/."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twisted_socks5._version import __version__

project = "twisted-socks5"
author = "The twisted-socks5 authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_heading_anchors = 3
# The fence that forges draw as well.
myst_fence_as_directive = ["mermaid"]
exclude_patterns = ["_build", "examples"]
nitpicky = True

html_theme = "furo"
html_title = f"twisted-socks5 {release}"
