"""Plots as SVG, written by hand: nothing to install, and the files stay small and comparable."""

from __future__ import annotations

import math
from html import escape

OURS, OTHER, GREY, TEXT = "#0b7a75", "#c8553d", "#9aa5b1", "#1f2933"
FONT = 'font-family="system-ui, sans-serif"'


def bars(title: str, panels: list[tuple[str, list[tuple[str, float, bool]]]]) -> str:
    """
    Return horizontal bars, a panel for each measure.

    :param title: Of the plot.
    :param panels: Title of each, and its bars: label, value, whether it is ours.
    """
    width, left, line, parts, top = 760, 210, 20, [], 46
    for name, rows in panels:
        top += 26
        parts.append(_text(12, top, name, bold=True))
        most = max((value for _, value, _ in rows), default=1.0) or 1.0
        for label, value, ours in rows:
            top += line
            length = max(1.5, (width - left - 90) * max(0.0, value) / most)
            colour = OURS if ours else OTHER
            parts.append(_text(left - 8, top, label, anchor="end"))
            parts.append(f'<rect x="{left}" y="{top - 11}" width="{length:.1f}" height="13" fill="{colour}"/>')
            parts.append(_text(left + length + 6, top, short(value)))
        top += 8
    return _page(width, top + 14, title, parts)


def curves(
    title: str,
    axes: tuple[str, str],
    lines: list[tuple[str, str, list[tuple[float, float]]]],
    dots: list[tuple[str, float, float]],
) -> str:
    """
    Return curves and dots over two logarithmic axes.

    :param title: Of the plot.
    :param axes: Names of the horizontal and the vertical one.
    :param lines: Label, colour and points of each curve.
    :param dots: Label and place of each dot.
    """
    width, height, left, low = 760, 430, 60, 380
    points = [point for _, _, line in lines for point in line] + [(x, y) for _, x, y in dots]
    spans = [(min(p[i] for p in points) * 0.85, max(p[i] for p in points) * 1.2) for i in (0, 1)]

    def place(x: float, y: float) -> tuple[float, float]:
        share = [
            math.log(value / least) / math.log(most / least) for value, (least, most) in zip((x, y), spans, strict=True)
        ]
        return left + share[0] * (width - left - 30), low - share[1] * (low - 60)

    parts = []
    for value in (1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 80):
        if spans[0][0] <= value <= spans[0][1]:
            x = place(value, spans[1][0])[0]
            parts += [
                f'<path d="M{x:.0f} 60V{low}" stroke="#e4e7eb"/>',
                _text(x, low + 16, str(value), anchor="middle"),
            ]
        if spans[1][0] <= value <= spans[1][1]:
            y = place(spans[0][0], value)[1]
            parts += [f'<path d="M{left} {y:.0f}H{width - 30}" stroke="#e4e7eb"/>']
            parts += [_text(left - 6, y + 4, str(value), anchor="end")]
    for label, colour, line in lines:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        x, y = place(*line[len(line) // 3])
        parts.append(_text(x + 10, y - 4, label, colour=colour))
    for number, (label, x, y) in enumerate(dots):
        across, down = place(x, y)
        parts.append(f'<circle cx="{across:.1f}" cy="{down:.1f}" r="5" fill="{OURS}"/>')
        parts.append(_text(across + 8, down + (16 if number % 2 else -6), label, colour=OURS))
    parts += [_text(width / 2, height - 12, axes[0], anchor="middle"), _text(left, 52, axes[1])]
    return _page(width, height, title, parts)


def short(value: float) -> str:
    """
    Return a number in three digits.

    :param value: The number.
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, colour: str = TEXT) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" {FONT} font-size="12" text-anchor="{anchor}"{weight} fill="{colour}">'
        f"{escape(text)}</text>"
    )


def _page(width: int, height: int, title: str, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="12" y="28" {FONT} font-size="16" font-weight="600" fill="{TEXT}">{escape(title)}</text>\n'
        f"{body}\n</svg>\n"
    )
