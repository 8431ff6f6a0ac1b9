"""What Airflow asks of a provider package. A plain dict: this module imports nothing of ours."""

from __future__ import annotations

from typing import Any

_PACKAGE = "airflow_provider_evolink"
_OPERATORS = ("generate", "batch", "kinds", "wan", "media", "upload")
_CONNECTION_FORM = {
    "hidden-fields": ["schema", "login", "port"],
    "relabeling": {"password": "API key", "host": "API address"},
    "placeholders": {
        "password": "from https://evolink.ai/dashboard/keys",
        "host": "empty = https://api.evolink.ai",
    },
}
_SECONDS = {"type": ["number", "null"], "minimum": 1}
_CONNECTION_FIELDS = {
    "files_host": {
        "label": "Files address",
        "description": "Empty = https://files-api.evolink.ai",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Read time-out (s)",
        "description": "Seconds for one read of a job or of the balance",
        "schema": {**_SECONDS, "default": 15},
    },
    "submit_timeout": {
        "label": "Order time-out (s)",
        "description": "Seconds for one order; past it the outcome is unknown",
        "schema": {**_SECONDS, "default": 30},
    },
    "honors_idempotency_key": {
        "label": "EvoLink honours Idempotency-Key",
        "description": 'Say yes only if you have tried it: on_unknown_submit="replay" relies on it',
        "schema": {"type": ["boolean", "null"], "default": False},
    },
}
_CONFIG = {
    "evolink": {
        "description": "Settings of the EvoLink provider.",
        "options": {
            "allowed_hosts": {
                "description": (
                    "Comma-separated host names, besides EvoLink's own and loopback, that may get the API key. "
                    "A connection cannot widen this list."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "evolink-proxy.example.com",
                "default": "",
            },
            "idempotency_namespace": {
                "description": (
                    "Name of this deployment in the idempotency key of every order. Give each deployment that "
                    "shares an EvoLink account its own, or equal DAGs in two of them may share one video."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "production",
                "default": "",
            },
            "ledger_path": {
                "description": (
                    "Folder in object storage for a copy of the record of every order: what Airflow before 3.3 has "
                    "instead of the task state store. One folder per deployment; nothing may delete from it."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "s3://aws_default@bucket/evolink-ledger",
                "default": "",
            },
        },
    }
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata: connection form, links, settings, modules."""
    return {
        "package-name": "airflow-provider-evolink",
        "name": "EvoLink",
        "description": "Generate video, image and audio with EvoLink; wait without a worker; archive the results.",
        "integrations": [
            {
                "integration-name": "EvoLink",
                "external-doc-url": "https://docs.evolink.ai",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": "EvoLink", "python-modules": [f"{_PACKAGE}.hooks.evolink"]}],
        "operators": [
            {
                "integration-name": "EvoLink",
                "python-modules": [f"{_PACKAGE}.operators.{name}" for name in _OPERATORS],
            }
        ],
        "sensors": [{"integration-name": "EvoLink", "python-modules": [f"{_PACKAGE}.sensors.evolink"]}],
        "triggers": [{"integration-name": "EvoLink", "python-modules": [f"{_PACKAGE}.triggers.evolink"]}],
        "connection-types": [
            {
                "connection-type": "evolink",
                "hook-class-name": f"{_PACKAGE}.hooks.evolink.EvoLinkHook",
                "hook-name": "EvoLink",
                "ui-field-behaviour": _CONNECTION_FORM,
                "conn-fields": _CONNECTION_FIELDS,
            }
        ],
        "task-decorators": [
            {"name": "evolink", "class-name": f"{_PACKAGE}.decorators.evolink.evolink_task"},
        ],
        "extra-links": [f"{_PACKAGE}.links.evolink.EvoLinkResultLink"],
        "config": _CONFIG,
    }
