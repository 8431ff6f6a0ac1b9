"""One operator per kind of video generation: the arguments are the model's own fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

if TYPE_CHECKING:
    from airflow_provider_evolink.arguments.templated import Media, MediaList, Templated

_COMMON = ("prompt", "negative_prompt", "quality", "duration", "seed", "prompt_extend")


class EvoLinkTextToVideoOperator(EvoLinkGenerateOperator):
    """
    Generate a video from a text.

    EvoLink chooses what is not set. Further arguments, the result and the costs:
    :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`.

    :param prompt: What to show, at most 5000 characters; EvoLink silently cuts the rest. (templated)
    :param model: EvoLink's name of the model. (templated)
    :param negative_prompt: What not to show, at most 500 characters. (templated)
    :param audio_urls: One link to driving audio (wav, mp3; 2-30 s, 15 MB). Without it the model creates its own sound.
        (templated)
    :param quality: ``720p`` (EvoLink's default) or ``1080p``, which costs more. (templated)
    :param aspect_ratio: ``16:9`` (EvoLink's default), ``9:16``, ``1:1``, ``4:3`` or ``3:4``. (templated)
    :param duration: Whole seconds, 2-15; EvoLink's default is 5. The price is per second. (templated)
    :param seed: 1-2147483647; the same seed gives similar results. (templated)
    :param prompt_extend: Let EvoLink rewrite the prompt; only an explicit True does. (templated)
    """

    argument_rules = table.TYPED
    fields: ClassVar[tuple[str, ...]] = (*_COMMON, "audio_urls", "aspect_ratio")

    def __init__(
        self,
        *,
        prompt: Templated[str],
        model: Templated[str] = "wan2.7-text-to-video",
        negative_prompt: Templated[str | None] = None,
        audio_urls: MediaList | None = None,
        quality: Templated[str | None] = None,
        aspect_ratio: Templated[str | None] = None,
        duration: Templated[int | None] = None,
        seed: Templated[int | None] = None,
        prompt_extend: Templated[bool | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, **kwargs)
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.audio_urls = audio_urls
        self.quality = quality
        self.aspect_ratio = aspect_ratio
        self.duration = duration
        self.seed = seed
        self.prompt_extend = prompt_extend
        self.check_literals()


class EvoLinkImageToVideoOperator(EvoLinkGenerateOperator):
    """
    Generate a video from a first frame, from a first and a last frame, or continue a clip.

    The output has the ratio of the input. Further arguments, the result and the costs:
    :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`.

    :param generation_mode: ``first_frame``, ``first_last_frame`` or ``video_continuation``; EvoLink infers it from
        the material if absent. (templated)
    :param prompt: What happens, at most 5000 characters. (templated)
    :param image_start: Link to the first frame. Not with ``video_continuation``. (templated)
    :param image_end: Link to the last frame. Not with ``first_frame``. (templated)
    :param video_urls: One link to a clip of 2-10 s to continue; not with audio. (templated)
    :param audio_urls: One link to driving audio (wav, mp3; 2-30 s, 15 MB). (templated)
    :param model: EvoLink's name of the model. (templated)
    :param negative_prompt: What not to show, at most 500 characters. (templated)
    :param quality: ``720p`` (EvoLink's default) or ``1080p``, which costs more. (templated)
    :param duration: Whole seconds, 2-15, EvoLink's default is 5. With ``video_continuation`` the **total** length: at
        least that of the clip, and all of it is billed. (templated)
    :param seed: 1-2147483647. (templated)
    :param prompt_extend: Let EvoLink rewrite the prompt. (templated)
    """

    argument_rules = table.TYPED
    fields: ClassVar[tuple[str, ...]] = (
        *_COMMON,
        "generation_mode",
        "image_start",
        "image_end",
        "video_urls",
        "audio_urls",
    )

    def __init__(
        self,
        *,
        generation_mode: Templated[str | None] = None,
        prompt: Templated[str | None] = None,
        image_start: Media | None = None,
        image_end: Media | None = None,
        video_urls: MediaList | None = None,
        audio_urls: MediaList | None = None,
        model: Templated[str] = "wan2.7-image-to-video",
        negative_prompt: Templated[str | None] = None,
        quality: Templated[str | None] = None,
        duration: Templated[int | None] = None,
        seed: Templated[int | None] = None,
        prompt_extend: Templated[bool | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, **kwargs)
        self.generation_mode = generation_mode
        self.prompt = prompt
        self.image_start = image_start
        self.image_end = image_end
        self.video_urls = video_urls
        self.audio_urls = audio_urls
        self.negative_prompt = negative_prompt
        self.quality = quality
        self.duration = duration
        self.seed = seed
        self.prompt_extend = prompt_extend
        self.check_literals()


class EvoLinkReferenceVideoOperator(EvoLinkGenerateOperator):
    """
    Generate a video with the people, animals or things of reference images and videos.

    Name them in the prompt as "Image 1", "Video 1", counted separately. Further arguments, the result and the
    costs: :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`.

    :param prompt: What happens, at most 5000 characters. (templated)
    :param image_urls: Links to reference images; with ``video_urls`` at most 5 in all, at least one. (templated)
    :param video_urls: Links to reference clips of 1-30 s; with any, ``duration`` is at most 10. (templated)
    :param image_start: Link to the first frame; does not count as a reference and decides the ratio. (templated)
    :param voice_bindings: Who speaks with which voice: ``{"image1": link, "video2": link}``, at most 5. (templated)
    :param audio_urls: Older, positional form of ``voice_bindings``; ignored with ``voice_bindings``. (templated)
    :param model: EvoLink's name of the model. (templated)
    :param negative_prompt: What not to show, at most 500 characters. (templated)
    :param quality: ``720p`` (EvoLink's default) or ``1080p``, which costs more. (templated)
    :param aspect_ratio: ``16:9`` (EvoLink's default), ``9:16``, ``1:1``, ``4:3`` or ``3:4``. (templated)
    :param duration: Whole seconds, 2-15; EvoLink's default is 5. (templated)
    :param seed: 1-2147483647. (templated)
    :param prompt_extend: Let EvoLink rewrite the prompt. (templated)
    """

    argument_rules = table.TYPED
    fields: ClassVar[tuple[str, ...]] = (
        *_COMMON,
        *("image_urls", "video_urls", "image_start", "audio_urls", "aspect_ratio", "model_params.voice_bindings"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "voice_bindings": "json"}

    def __init__(
        self,
        *,
        prompt: Templated[str],
        image_urls: MediaList | None = None,
        video_urls: MediaList | None = None,
        image_start: Media | None = None,
        voice_bindings: Templated[Mapping[str, Media] | None] = None,
        audio_urls: MediaList | None = None,
        model: Templated[str] = "wan2.7-reference-video",
        negative_prompt: Templated[str | None] = None,
        quality: Templated[str | None] = None,
        aspect_ratio: Templated[str | None] = None,
        duration: Templated[int | None] = None,
        seed: Templated[int | None] = None,
        prompt_extend: Templated[bool | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, **kwargs)
        self.prompt = prompt
        self.image_urls = image_urls
        self.video_urls = video_urls
        self.image_start = image_start
        self.voice_bindings = voice_bindings
        self.audio_urls = audio_urls
        self.negative_prompt = negative_prompt
        self.quality = quality
        self.aspect_ratio = aspect_ratio
        self.duration = duration
        self.seed = seed
        self.prompt_extend = prompt_extend
        self.check_literals()


class EvoLinkVideoEditOperator(EvoLinkGenerateOperator):
    """
    Change a video as instructed, optionally with reference images.

    Input and output seconds are billed. Further arguments, the result and the costs:
    :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`.

    :param video_urls: One link to the clip, 2-10 s. (templated)
    :param prompt: What to change, at most 5000 characters. (templated)
    :param image_urls: Links to at most 4 reference images. (templated)
    :param keep_original_sound: True keeps the clip's sound; otherwise the model decides. (templated)
    :param model: EvoLink's name of the model. (templated)
    :param negative_prompt: What not to show, at most 500 characters. (templated)
    :param quality: ``720p`` (EvoLink's default) or ``1080p``, which costs more. (templated)
    :param aspect_ratio: As the input if absent. (templated)
    :param duration: 0 (EvoLink's default) keeps the length; 2-10 cuts the input from its start. (templated)
    :param seed: 1-2147483647. (templated)
    :param prompt_extend: Let EvoLink rewrite the prompt. (templated)
    """

    argument_rules = table.TYPED
    fields: ClassVar[tuple[str, ...]] = (
        *_COMMON,
        "video_urls",
        "image_urls",
        "keep_original_sound",
        "aspect_ratio",
    )

    def __init__(
        self,
        *,
        video_urls: MediaList,
        prompt: Templated[str | None] = None,
        image_urls: MediaList | None = None,
        keep_original_sound: Templated[bool | None] = None,
        model: Templated[str] = "wan2.7-video-edit",
        negative_prompt: Templated[str | None] = None,
        quality: Templated[str | None] = None,
        aspect_ratio: Templated[str | None] = None,
        duration: Templated[int | None] = None,
        seed: Templated[int | None] = None,
        prompt_extend: Templated[bool | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, **kwargs)
        self.video_urls = video_urls
        self.prompt = prompt
        self.image_urls = image_urls
        self.keep_original_sound = keep_original_sound
        self.negative_prompt = negative_prompt
        self.quality = quality
        self.aspect_ratio = aspect_ratio
        self.duration = duration
        self.seed = seed
        self.prompt_extend = prompt_extend
        self.check_literals()
