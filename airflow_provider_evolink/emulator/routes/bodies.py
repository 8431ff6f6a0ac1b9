"""The bodies of EvoLink's responses: jobs, credits, errors. They decide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.prices import billing_rule, cost, token_counts
from airflow_provider_evolink.emulator.routes.result_data import result_data

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.jobs import Job

CREATE_ERRORS = {
    400: ("invalid_request", "invalid_request_error", "The request is invalid"),
    401: ("unauthorized", "authentication_error", "Invalid or expired API key"),
    402: ("insufficient_quota", "insufficient_quota", "Not enough credits"),
    403: ("model_access_denied", "invalid_request_error", "This key may not use this model"),
    404: ("not_found", "invalid_request_error", "Not found"),
    405: ("method_not_allowed", "invalid_request_error", "Method not allowed"),
    409: ("idempotency_conflict", "invalid_request_error", "This Idempotency-Key was used with another body"),
    413: ("request_too_large", "invalid_request_error", "The request is too large"),
    415: ("unsupported_media_type", "invalid_request_error", "The body must be JSON"),
    429: ("rate_limit_exceeded", "rate_limit_error", "Too many requests"),
    500: ("internal_error", "api_error", "Internal server error"),
    502: ("service_unavailable", "api_error", "The upstream service did not respond"),
    410: ("gone", "invalid_request_error", "A resource of the request has expired"),
    503: ("service_unavailable", "api_error", "The service is unavailable"),
}
QUERY_ERRORS = {
    400: ("invalid_task_id", "invalid_request_error", "The task id is malformed"),
    402: ("quota_exceeded", "insufficient_quota", "Quota exceeded"),
    403: ("permission_denied", "invalid_request_error", "The task belongs to another account"),
    404: ("task_not_found", "invalid_request_error", "The task does not exist or has expired"),
    429: ("rate_limit_exceeded", "evo_api_error", "Too many requests"),
}
DRAFT_SECONDS = 7 * 86400
_QUERIES = frozenset({"read", "batch", "list"})


class ApiError(Exception):
    """
    A response other than success, with the documented error body.

    :param status: HTTP status.
    :param body: The JSON body.
    :param headers: Further response headers.
    """

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def error_body(
    status: int,
    operation: str = "submit",
    *,
    code: Any = None,
    message: str | None = None,
    type_: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    """
    Return an error body; what is not given comes from the documented table.

    :param status: HTTP status.
    :param operation: Polling has other codes than submitting, and ``credits`` has numbers as codes.
    :param code: ``error.code``.
    :param message: ``error.message``.
    :param type_: ``error.type``.
    :param param: ``error.param``, the field.
    """
    known = CREATE_ERRORS.get(status, ("unknown_error", "api_error", f"HTTP {status}"))
    if operation in _QUERIES:
        known = QUERY_ERRORS.get(status, known)
    documented: Any = status if operation == "credits" else known[0]
    error = {"code": code or documented, "message": message or known[2], "type": type_ or known[1]}
    return {"error": error | ({"param": param} if param else {})}


def api_error(status: int, operation: str = "submit", **details: Any) -> ApiError:
    """
    Return the exception for a documented error.

    :param status: HTTP status.
    :param operation: As for :func:`error_body`.
    :param details: As for :func:`error_body`.
    """
    return ApiError(status, error_body(status, operation, **details))


def submitted_body(job: Job, user_group: str) -> dict[str, Any]:
    """
    Return the response to a submission.

    :param job: The new job; or the earlier one, for a replay.
    :param user_group: Tier of the account.
    """
    return _common_fields(job, "pending", 0) | {
        "task_info": {"can_cancel": True, "estimated_time": job.estimate},
        "usage": _usage(job, user_group),
    }


def job_body(job: Job, links: list[str], user_group: str, *, with_billing: bool) -> dict[str, Any]:
    """
    Return the response to a poll. That of a job that has ended is dressed as the recorded ones are: it states no
    reservation, and no billing rule.

    :param job: The job.
    :param links: Its result links; empty unless it completed.
    :param user_group: Tier of the account.
    :param with_billing: Whether to show the undocumented ``billing``.
    """
    info = {"can_cancel": not job.is_over}  # EvoLink estimates in the response to the submission only
    body = _common_fields(job, job.state.status, job.state.progress) | {
        "task_info": info,
        "usage": _final_usage(job) if job.is_over else _usage(job, user_group),
    }
    if job.is_over:
        body["duration"] = round((job.state.ended or job.created) - job.created)
    if job.is_completed:
        body["results"] = links
        body["result_data"] = result_data(job, links)
    if job.state.failure is not None:
        body["error"] = {"code": job.state.failure.code, "message": job.state.failure.message, "type": "task_error"}
    if job.source is not None and "source_task_id" in job.order.body:
        body["source_task_id"] = job.source.id
    if job.order.body.get("draft") is True:
        body["draft_expires_at"] = int(job.created + DRAFT_SECONDS)
    if with_billing:
        body["billing"] = _billing(job)
    return body


def list_entry(job: Job) -> dict[str, Any]:
    """Return a job as the list of jobs shows it, without result links."""
    completed = job.is_completed
    return {
        "id": job.id,
        "model": job.order.model,
        "type": job.order.kind,
        "status": job.state.status,
        "progress": job.state.progress,
        "created_at": int(job.created),
        "duration": round((job.state.ended or job.created) - job.created, 1),
        "has_results": completed,
        "result_count": job.plan.output.count if completed else 0,
        "has_error": job.state.failure is not None,
        "credits_used": job.credits_charged,
    }


def credits_body(remaining: float, used: float) -> dict[str, Any]:
    """
    Return the response about credits.

    :param remaining: Credits that can still be spent.
    :param used: Credits charged so far.
    """
    user = {"remaining_credits": remaining, "used_credits": used}
    token = {"remaining_credits": 0.0, "used_credits": used, "unlimited_credits": True}
    return {"success": True, "message": "", "data": {"user": user, "token": token}}


def _common_fields(job: Job, status: str, progress: int) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": f"{job.order.kind}.generation.task",
        "created": int(job.created),
        "model": job.order.model,
        "status": status,
        "progress": progress,
        "type": job.order.kind,
    }


def _usage(job: Job, user_group: str) -> dict[str, Any]:
    rule = billing_rule(job.order.kind)
    return {"billing_rule": rule, "credits_reserved": job.plan.reserved, "user_group": user_group}


def _final_usage(job: Job) -> dict[str, Any]:
    usage: dict[str, Any] = {"credits_used": job.credits_charged}
    if job.is_completed:
        tokens: dict[str, Any] = {**token_counts(job.order.model)}
        usage |= tokens or {"cost": cost(job.credits_charged)}
    return usage


def _billing(job: Job) -> dict[str, Any]:
    released = job.is_over and not job.is_completed
    charge = "charged" if job.is_completed else "released" if released else "reserved"
    return {
        "refund_scope": "full" if released else None,
        "charge_status": charge,
        "refund_status": "completed" if released else "not_required",
        "reserved_credits": job.plan.reserved,
        "charged_credits": job.credits_charged,
        "refunded_credits": job.credits_refunded,
        "refunded_at": int(job.state.ended) if released and job.state.ended else None,
    }
