"""Fonts for names in any script: those that are installed are used, and what none of them has is written as its number."""

from functools import cache

import matplotlib as mpl
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

WIDE = (
    "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK TC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC",
    "Noto Sans TC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC", "Source Han Sans", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "Hiragino Sans", "Heiti SC",
    "Apple SD Gothic Neo", "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "IPAexGothic", "NanumGothic",
    "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil",
    "Noto Sans Thai", "Noto Sans Ethiopic", "Noto Sans Georgian", "Noto Sans Symbols", "Noto Sans Symbols 2",
    "Arial Unicode MS", "Unifont", "FreeSans", "FreeSerif", "STIXGeneral",
)  # fmt: skip
"""Fonts without serifs that have what matplotlib's own lacks, on Linux, macOS and Windows; the preferred first."""


def families() -> list[str]:
    """Matplotlib's font and, for what it lacks, those of `WIDE` that are installed: a value for `font.family`."""
    installed = {entry.name for entry in fontManager.ttflist}
    return ["sans-serif", *(name for name in WIDE if name in installed)]


def drawable(text: str) -> str:
    """The text with each character that no font in use has as its number, such as U+6DF1, so that names stay distinct.

    Fonts in use are those of `rcParams["font.family"]`.
    """
    known = _characters(tuple(mpl.rcParams["font.family"]))
    parts = [(character, character.isspace() or ord(character) in known) for character in text]
    words = (character if has else f" U+{ord(character):04X} " for character, has in parts)
    return text if all(has for _, has in parts) else " ".join("".join(words).split())


@cache
def _characters(names: tuple[str, ...]) -> frozenset[int]:
    """Code points that the fonts of these names have."""
    files = [findfont(FontProperties(family=[name])) for name in names]
    return frozenset(code for file in files for code in get_font(file).get_charmap())
