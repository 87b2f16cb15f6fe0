"""Numbers for people."""

import re


def size(count: float, unit: str = "") -> str:
    """A count with three digits: 950, 26.1 M, 763 M, 1.2 G."""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {letter}{unit}"
    return f"{count:.3g} {unit}".rstrip()


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min, 12 days, 4,000 years."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    days = seconds / 86_400
    if days < 10:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{days:,.0f} days" if days < 1000 else f"{days / 365:,.0f} years"


LONGEST = 10 * 365 * 86_400.0
"""Seconds of a duration that somebody means."""


def seconds_of(text: str) -> float | None:
    """Of a duration such as 2h, 90m, 45min, 1h30m, 1.5 h or 30s; None where it is none, or longer than ten years."""
    parts = re.fullmatch(
        r"\s*(?:(\d+(?:\.\d+)?)\s*h)?\s*(?:(\d+(?:\.\d+)?)\s*m(?:in)?)?\s*(?:(\d+(?:\.\d+)?)\s*s)?\s*", text, re.ASCII
    )
    if parts is None or not any(parts.groups()):
        return None
    seconds = sum(float(number or 0) * unit for number, unit in zip(parts.groups(), (3600, 60, 1), strict=True))
    return seconds if seconds <= LONGEST else None


def counted(number: float, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def level_text(level: str | bool | int | float) -> str:
    """A factor's level: on, off, 0.5, 4, pool 2x2."""
    if isinstance(level, bool):
        return "on" if level else "off"
    return f"{level:.6g}" if isinstance(level, float) else str(level)
