"""What an ID of EvoLink's looks like. Light: used when a DAG file is parsed."""

from __future__ import annotations

import re

JOB_ID = re.compile(r"(?=.{1,128}\Z)[._:-]*[A-Za-z0-9][A-Za-z0-9._:-]*", re.ASCII)
