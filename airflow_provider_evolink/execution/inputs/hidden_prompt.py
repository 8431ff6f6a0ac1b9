"""
Requests without their prompts: what ``hide_prompt`` leaves of them in results, manifests and the UI.

Every free text is hidden, not only the field ``prompt``: lyrics, titles and instructions are private as well.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import mask_secret

from airflow_provider_evolink.api import catalog

if TYPE_CHECKING:
    from airflow_provider_evolink.api.catalog.parameter import Parameter

MIN_QUOTE = 12  # characters of a private text in another text that count as a quote
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+|/\S+")
_WORD = re.compile(r"[\w.:+/-]{1,128}", re.ASCII)


def text_hash(text: str) -> str:
    """
    Return what stands for a text that is hidden. A hash stays as it is.

    :param text: The text.
    """
    return text if _HASH.fullmatch(text) else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def without_prompts(body: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a request with a hash in place of every free text. Choices of the model, links and job IDs stay.

    :param body: The request.
    """
    return _mapped(body, text_hash)


def private_texts(body: Mapping[str, Any]) -> list[str]:
    """
    Return the free texts of a request.

    :param body: The request.
    """
    found: list[str] = []
    _mapped(body, lambda text: found.append(text) or text)  # type: ignore[func-returns-value]
    return found


def without_quotes(value: Any, texts: list[str]) -> Any:
    """
    Return what EvoLink reports about a job, with a hash in place of every text that repeats one of its request.

    :param value: Plain JSON.
    :param texts: Private texts of the request.
    """
    if isinstance(value, str):
        return text_hash(value) if any(_repeats(value, text) for text in texts) else value
    if isinstance(value, list):
        return [without_quotes(item, texts) for item in value]
    return {name: without_quotes(item, texts) for name, item in value.items()} if isinstance(value, dict) else value


def _repeats(value: str, text: str) -> bool:
    one, other = value.strip(), text.strip()
    is_part = (len(other) >= MIN_QUOTE and other in one) or (len(one) >= MIN_QUOTE and one in other)
    return bool(one) and (one == other or is_part)


def _mapped(body: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    spec = catalog.find_spec(str(body.get("model")))
    known: Mapping[str, Parameter] = spec.parameters if spec else {}
    return {
        name: value if name == "model" else _walk(value, [known[name]] if name in known else [], change)
        for name, value in body.items()
    }


def _walk(value: Any, parameters: list[Parameter], change: Callable[[str], str]) -> Any:
    shapes = list(_shapes(parameters))
    if isinstance(value, str):
        return value if _is_public(value, shapes) else change(value)
    if isinstance(value, list | tuple):
        return [_walk(item, [shape.items for shape in shapes if shape.items], change) for item in value]
    if isinstance(value, Mapping):
        return dict(_entry(name, item, shapes, change) for name, item in value.items())
    return value


def _entry(name: str, value: Any, shapes: list[Parameter], change: Callable[[str], str]) -> tuple[str, Any]:
    is_free = any(shape.additional_properties and name not in (shape.properties or {}) for shape in shapes)
    inner = [found for shape in shapes if (found := shape.inner(name))]
    return change(name) if is_free else name, _walk(value, inner, change)


def _shapes(parameters: list[Parameter]) -> Iterator[Parameter]:
    for parameter in parameters:
        yield parameter
        yield from _shapes(list(parameter.variants))


def _is_public(text: str, shapes: list[Parameter]) -> bool:
    """Tell whether a text is a choice of the model, an address or an ID, and nothing that a person wrote."""
    if not shapes:
        return _ADDRESS.fullmatch(text) is not None
    return any(_is_choice(text, shape) or _is_reference(text, shape) for shape in shapes)


def _is_choice(text: str, shape: Parameter) -> bool:
    choices = [str(choice) for choice in shape.enum or ()]
    if shape.any_case:
        return text.lower() in [choice.lower() for choice in choices]
    return text in choices or (bool(shape.pixels or shape.pattern) and _WORD.fullmatch(text) is not None)


def _is_reference(text: str, shape: Parameter) -> bool:
    is_named = shape.from_job is not None and _WORD.fullmatch(text) is not None
    return is_named or (shape.takes_link and (_ADDRESS.fullmatch(text) or _WORD.fullmatch(text)) is not None)


def mask_arguments(operator: Any) -> None:
    """
    Let Airflow mask the free texts in the rendered arguments, which its UI shows.

    :param operator: A generate operator, its templates rendered.
    """
    for text in dict.fromkeys(_argument_texts(operator)):
        if text.strip():
            mask_secret(text)


def _argument_texts(operator: Any) -> Iterator[str]:
    named = {path.rpartition(".")[2]: getattr(operator, path.rpartition(".")[2]) for path in operator.request_fields}
    parameters = operator.parameters if isinstance(operator.parameters, Mapping) else {}
    requests = getattr(operator, "requests", None)
    for request in [{}, *(requests if isinstance(requests, list | tuple) else ())]:
        if isinstance(request, Mapping):
            yield from private_texts({"model": operator.model, **parameters, **named, **request})
    for given in (getattr(operator, "op_args", None), getattr(operator, "op_kwargs", None)):  # of @task.evolink
        yield from private_texts({"given": given})
