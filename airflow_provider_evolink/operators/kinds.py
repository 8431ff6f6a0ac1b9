"""One operator per kind of media, for all its models: the arguments are the fields that most of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

if TYPE_CHECKING:
    from airflow_provider_evolink.api.catalog.catalog import Kind
    from airflow_provider_evolink.arguments.templated import MediaList, Templated


class EvoLinkImageOperator(EvoLinkGenerateOperator):
    """
    Generate or change images with any image model.

    The arguments are fields that image models share; a model need not have all of them, and its values are its own. All
    other fields go into ``parameters``. Further arguments, the result and the costs:
    :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`.

    :param model: EvoLink's name of the model, such as ``gpt-image-2``. (templated)
    :param prompt: What to show, or what to change. (templated)
    :param image_urls: Links to reference images, or to the image to change. (templated)
    :param size: Ratio or pixels, such as ``16:9`` or ``1024x1024``. (templated)
    :param quality: A tier of the model, such as ``high`` or ``2K``; it decides the price. (templated)
    """

    argument_rules = table.TYPED
    only_kind: ClassVar[Kind | None] = "image"
    fields: ClassVar[tuple[str, ...]] = ("prompt", "image_urls", "size", "quality")

    def __init__(
        self,
        *,
        model: Templated[str],
        prompt: Templated[str | None] = None,
        image_urls: MediaList | None = None,
        size: Templated[str | None] = None,
        quality: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, kind=self.only_kind, **kwargs)
        self.prompt = prompt
        self.image_urls = image_urls
        self.size = size
        self.quality = quality
        self.check_literals()


class EvoLinkVideoOperator(EvoLinkGenerateOperator):
    """
    Generate or change videos with any video model.

    The arguments are fields that video models share; a model need not have all of them, and its values are its own. All
    other fields go into ``parameters``. Further arguments, the result and the costs:
    :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`.

    :param model: EvoLink's name of the model, such as ``seedance-2.5-text-to-video``. (templated)
    :param prompt: What happens. (templated)
    :param image_urls: Links to the images to start from or to refer to. (templated)
    :param duration: Seconds; most models are priced per second. (templated)
    :param quality: Such as ``720p`` or ``1080p``; it decides the price. (templated)
    :param aspect_ratio: Such as ``16:9``. (templated)
    """

    argument_rules = table.TYPED
    only_kind: ClassVar[Kind | None] = "video"
    fields: ClassVar[tuple[str, ...]] = ("prompt", "image_urls", "duration", "quality", "aspect_ratio")

    def __init__(
        self,
        *,
        model: Templated[str],
        prompt: Templated[str | None] = None,
        image_urls: MediaList | None = None,
        duration: Templated[int | None] = None,
        quality: Templated[str | None] = None,
        aspect_ratio: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, kind=self.only_kind, **kwargs)
        self.prompt = prompt
        self.image_urls = image_urls
        self.duration = duration
        self.quality = quality
        self.aspect_ratio = aspect_ratio
        self.check_literals()


class EvoLinkAudioOperator(EvoLinkGenerateOperator):
    """
    Generate music, speech or voices with any audio model.

    Audio models share only the prompt; all other fields go into ``parameters``. If a model makes a voice or a persona,
    its name is in ``made`` of the result. Further arguments, the result and the costs:
    :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`.

    :param model: EvoLink's name of the model, such as ``suno-v5-beta``. (templated)
    :param prompt: What to play, or the text to speak. (templated)
    """

    argument_rules = table.TYPED
    only_kind: ClassVar[Kind | None] = "audio"
    fields: ClassVar[tuple[str, ...]] = ("prompt",)

    def __init__(self, *, model: Templated[str], prompt: Templated[str | None] = None, **kwargs: Any) -> None:
        super().__init__(model=model, kind=self.only_kind, **kwargs)
        self.prompt = prompt
        self.check_literals()
