"""Numbers for people."""


def size(count: float, unit: str = "") -> str:
    """A count with three digits: 950, 26.1 M, 763 M, 1.2 G."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {letter}{unit}"
    return f"{count:.3g} {unit}".rstrip()


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: float, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
