"""How `make docs` builds the site. Its source is the whole checkout: links work as they do on a code host."""

from __future__ import annotations

import sys

from sphinx.application import Sphinx

import bifocal
from bifocal import hardware, learn
from bifocal.hardware import cost

for shown in ("batch", "data"):  # the public names of rooms in bifocal.apps, for autodoc
    sys.modules[f"bifocal.{shown}"] = getattr(bifocal, shown)
for face in (hardware, cost, learn, bifocal.data):
    for name in getattr(face, "__all__", ()):  # found when they are asked for; autodoc does not ask
        setattr(face, name, getattr(face, name))

#: A heading of the navigation, and its pages. The README is the first page of the site.
NAVIGATION = {
    "Start": ("docs/first_steps", "docs/from_compressai", "docs/measured"),
    "Guides": (
        "docs/pictures",
        "docs/large",
        "docs/effort",
        "docs/batch",
        "docs/clusters",
        "docs/backends",
        "docs/view",
    ),
    "Labels and search": (
        "docs/reading",
        "docs/search",
        "docs/heads",
        "docs/heatvit",
        "docs/detection",
        "docs/data",
    ),
    "Training": ("docs/training", "docs/systems", "docs/tutorial", "docs/lowbit"),
    "Hardware": ("docs/faults", "docs/traffic", "docs/search_architecture"),
    "Reference": ("docs/reference", "docs/head_format", "src/bifocal/stream/SPEC", "CHANGELOG", "SECURITY"),
    "Studies": ("studies/README", "benchmarks/README"),
    "Architecture": ("docs/architecture", "CONTRIBUTING"),
}

project = "Bifocal"
author = "the Bifocal authors"
copyright = "the Bifocal authors, Apache-2.0"
release = version = bifocal.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "src/**.md", "studies/**.md", "benchmarks/**.md", "examples/**.md"]
exclude_patterns = [".*", "build", "dist", "runs", "data", "packed", "demo-out"]

myst_heading_anchors = 4
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = True
smartquotes = False  # options in running text keep both their hyphens
nitpick_ignore_regex = [  # what annotations and docstrings name of the rooms behind the public face
    ("py:(class|data|attr)", ".*"),
    ("py:.*", r"bifocal\.(apps|hardware|learn|pictures|runtime|storage|stream)\..*"),
]
suppress_warnings = ["toc.not_included"]  # pages of results are reached by links

html_theme = "furo"
html_title = f"Bifocal {release}"
html_extra_path = ["index.html"]


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Give the README the navigation, which on a code host would be noise."""
    if page == root_doc:
        for heading, pages in NAVIGATION.items():
            listed = "\n".join(f"/{name}" for name in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{listed}\n```\n"


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
