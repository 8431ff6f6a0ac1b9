"""How long a text is in the units EvoLink counts in. Tokens are a guess: only EvoLink's tokenizer knows."""

from __future__ import annotations

import re
from typing import Literal

Unit = Literal["characters", "tokens", "wide"]

# Ideographs of Chinese, as EvoLink's pages count them twice where a limit is given "in Chinese or other characters".
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_CHARACTERS_PER_TOKEN = 4


def measure(text: str, unit: Unit) -> int:
    """
    Measure a text.

    :param text: The text.
    :param unit: ``characters``; ``wide``, where a Chinese character counts as two; ``tokens``, guessed low (four plain
        characters to a token, one for any other), so that a warning is rarely wrong.
    """
    if unit == "characters":
        return len(text)
    if unit == "wide":
        return len(text) + len(_HAN.findall(text))
    plain = sum(character.isascii() for character in text)
    return plain // _CHARACTERS_PER_TOKEN + len(text) - plain


def length_words(most: int, unit: Unit) -> str:
    """
    Write a limit in words.

    :param most: The limit.
    :param unit: Its unit.
    """
    if unit == "tokens":
        return f"{most} tokens"
    text = f"{most} character{'s' * (most != 1)}"
    return text + ", a Chinese one counts as two" if unit == "wide" else text
