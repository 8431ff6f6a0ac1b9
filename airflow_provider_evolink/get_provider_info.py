"""The provider's metadata for Airflow. A plain dict: this module imports nothing else of the package."""

from __future__ import annotations

from typing import Any

_PACKAGE = "airflow_provider_evolink"
_OPERATORS = ("generate", "batch", "kinds", "wan", "media", "recover", "review", "upload")
_CONNECTION_FORM = {
    "hidden-fields": ["schema", "login", "port"],
    "relabeling": {"password": "API key", "host": "API base URL"},
    "placeholders": {
        "password": "from https://evolink.ai/dashboard/keys",
        "host": "default: https://api.evolink.ai",
    },
}
_SECONDS = {"type": ["number", "null"], "minimum": 1}
_CONNECTION_FIELDS = {
    "files_host": {
        "label": "Files API base URL",
        "description": "Default: https://files-api.evolink.ai",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Read timeout (s)",
        "description": "For one request that reads a job or the balance",
        "schema": {**_SECONDS, "default": 15},
    },
    "submit_timeout": {
        "label": "Submit timeout (s)",
        "description": "For one request that submits a job; after a timeout the outcome is unknown",
        "schema": {**_SECONDS, "default": 30},
    },
    "honors_idempotency_key": {
        "label": "EvoLink honors Idempotency-Key",
        "description": 'Enable only after verifying it with your key: on_unknown_submit="replay" relies on it',
        "schema": {"type": ["boolean", "null"], "default": False},
    },
}
_CONFIG = {
    "evolink": {
        "description": "Settings of the EvoLink provider.",
        "options": {
            "allowed_hosts": {
                "description": (
                    "Comma-separated host names, in addition to EvoLink's own and loopback, that may receive the API "
                    "key. A connection cannot extend this list."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "evolink-proxy.example.com",
                "default": "",
            },
            "ca_bundle": {
                "description": (
                    "File, or folder, with the certificates (PEM) of the authorities to trust instead of the public "
                    "ones, for example where a proxy inspects TLS. Holds for the API, uploads and downloads, and "
                    "overrides SSL_CERT_FILE and SSL_CERT_DIR. A connection cannot set it."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "/etc/ssl/certs/company.pem",
                "default": "",
            },
            "idempotency_namespace": {
                "description": (
                    "Name of this deployment, part of every idempotency key. Deployments that share an EvoLink "
                    "account need different names, or equal DAGs in two of them may share one job."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "production",
                "default": "",
            },
            "spool_folder": {
                "description": (
                    "Folder of this machine, or a volume that the workers share, for files on their way to an object "
                    "store. What a try has fetched is kept there for the next one, so it needs room for the results "
                    "that are downloaded at the same time. Default: the system's temporary folder."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "/var/spool/evolink",
                "default": "",
            },
            "input_roots": {
                "description": (
                    "Comma-separated folders and stores that local input files may come from, whatever names them: a "
                    "template, a form, a mapped list. Without it such a text may name no file; files that stand in the "
                    "DAG file, or that the result of a download or archive task names, need no entry."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "file:///data/inputs,s3://aws_default@bucket/inputs",
                "default": "",
            },
            "ui_roots": {
                "description": (
                    "Comma-separated folders and stores whose media Airflow's UI may show, such as those of staging "
                    "and archive; the API server must be able to read them. Without it the UI shows values and result "
                    "links, and opens no file. Read by the API server only."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "file:///data/evolink,s3://aws_default@bucket/archive",
                "default": "",
            },
            "ledger_path": {
                "description": (
                    "Object storage path for a copy of the record of every submitted job; Airflow before 3.3 has no "
                    "task state store and needs it. One path per deployment; nothing may delete from it."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "s3://aws_default@bucket/evolink-ledger",
                "default": "",
            },
            "private_media_hosts": {
                "description": (
                    "Comma-separated hosts, each as host or host:port, that results may be downloaded from although "
                    "they have private addresses or another port than 443: those of an emulator of a team. HTTPS only. "
                    "A connection cannot set it."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "emulator.example.com:8765",
                "default": "",
            },
            "proxy": {
                "description": (
                    "Proxy for the API, uploads and downloads: http://host:port, https://host:port or "
                    "socks5://host:port. Overrides HTTPS_PROXY and ALL_PROXY; hosts in NO_PROXY are still called "
                    "directly. A connection cannot set it."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "http://proxy.example.com:3128",
                "default": "",
                "sensitive": True,
            },
        },
    }
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata: connection form, links, settings, modules."""
    return {
        "package-name": "airflow-provider-evolink",
        "name": "EvoLink",
        "description": "Generate video, image and audio with EvoLink; wait without a worker slot; archive results.",
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
        "extra-links": [
            f"{_PACKAGE}.links.evolink.EvoLink{name}Link" for name in ("Result", "ArchivedFile", "Manifest")
        ],
        "config": _CONFIG,
    }
