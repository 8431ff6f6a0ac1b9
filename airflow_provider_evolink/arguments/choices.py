"""The words that arguments may be. Light: imported when a DAG file is parsed."""

from __future__ import annotations

from typing import Literal

OnUnknownSubmit = Literal["fail", "replay", "reconcile", "resubmit"]
OnClear = Literal["regenerate", "reuse"]
OnBackfill = Literal["generate", "reuse", "fail"]
UnknownPrice = Literal["refuse", "order"]
OnFailedJob = Literal["fail_fast", "collect"]
Reuse = Literal["never", "same_request"]
OnMissing = Literal["fail", "deliver"]
Source = Literal["jobs", "ledger", "account"]
