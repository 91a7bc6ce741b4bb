# SPDX-License-Identifier: Apache-2.0
"""Sphinx's settings. tools/make_site.py gathers the pages from all over the repository and calls Sphinx with this."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins" / "module_utils"))

from savedump_core import __version__

project = "savedump"
author = "The savedump authors"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.intersphinx", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
nitpicky = True
# What antsibull-docs refers to in Ansible's own documentation; the inventory is written by tools/make_site.py.
intersphinx_mapping = {"ansible": ("https://docs.ansible.com/ansible/latest/", "ansible.inv")}

# The pages are GitHub's, too: its anchors of headings and its notes are understood, and nothing else is used.
myst_heading_anchors = 6
myst_enable_extensions = ["alert"]

highlight_language = "text"
smartquotes = False  # what is typed is copied

html_theme = "furo"
html_title = "savedump %s" % __version__
html_static_path = ["_static"]
html_css_files = ["savedump.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_use_index = False
html_domain_indices = False
pygments_style = "ansible"
pygments_dark_style = "github-dark"
antsibull_ext_color_scheme = "none"
