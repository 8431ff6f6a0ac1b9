"""Sphinx configuration. The build needs no network and no Airflow home of its own."""

from __future__ import annotations

import os
import tempfile

# Importing Airflow writes a configuration file: into a folder that goes away, not into the reader's home.
_HOME = tempfile.TemporaryDirectory(prefix="evolink-docs-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

from airflow_provider_evolink import __version__  # noqa: E402

project = "airflow-provider-evolink"
author = "the maintainers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"EvoLink provider {__version__}"
