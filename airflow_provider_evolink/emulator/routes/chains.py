"""Requests that continue an earlier job: which job they name, and whether it may be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.models import find
from airflow_provider_evolink.emulator.routes.bodies import DRAFT_SECONDS, api_error

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.jobs import Job
    from airflow_provider_evolink.emulator.orders.model_file import DocumentedModel, FieldSchema
    from airflow_provider_evolink.emulator.orders.order import Order
    from airflow_provider_evolink.emulator.state.world import World

_SOURCE_FIELDS = ("source_task_id", "base_video_task_id", "model_params.source_task_id", "model_params.task_id")


def source_job(world: World, order: Order) -> Job | None:
    """
    Return the earlier job that an order names; None if it names none or its model takes none.

    :param world: The state.
    :param order: The checked order.
    :raises ApiError: There is no such job in this account, or it cannot be used.
    """
    model = find(order.model)
    field = next((path for path in _SOURCE_FIELDS if model and _has_field(model.fields, path)), None)
    if model is None or field is None:
        return None
    job_id = _value(order.effective, field)
    if job_id is None:
        return None
    job = world.jobs.get(job_id) if isinstance(job_id, str) else None
    if job is None or job.state.vanished or job.order.caller.account != order.caller.account:
        raise api_error(404, message=f"{field}: the task does not exist", param=field)
    if not job.is_completed:
        raise api_error(409, code="task_not_ready", message=f"{field}: the task is not completed", param=field)
    _check_usable(world, model, job, field)
    return job


def _check_usable(world: World, model: DocumentedModel, job: Job, field: str) -> None:
    earlier = find(job.order.model)
    if model.task == "draft-to-video":
        if not job.order.body.get("draft"):
            raise api_error(400, message=f"{field}: the task is not a draft", param=field)
        if world.now() > job.created + DRAFT_SECONDS:
            raise api_error(410, code="draft_expired", message=f"{field}: the draft has expired", param=field)
    elif earlier is None or earlier.family != model.family:
        raise api_error(400, message=f"{field}: the task was made by another family of models", param=field)
    elif model.task == earlier.task == "image-upscale":
        raise api_error(403, message=f"{field}: an upscaled image cannot be upscaled again", param=field)


def _has_field(fields: dict[str, FieldSchema], path: str) -> bool:
    outer, _, inner = path.partition(".")
    return outer in fields and (not inner or inner in fields[outer].fields)


def _value(body: dict[str, Any], path: str) -> Any:
    outer, _, inner = path.partition(".")
    value = body.get(outer)
    if not inner:
        return value
    return value.get(inner) if isinstance(value, dict) else None
