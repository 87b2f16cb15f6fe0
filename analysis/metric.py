"""What is measured of each run, and how its values and differences are written.

Accuracies are held as shares, 0 to 1, and shown in percent; any other metric is held and shown in its own unit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

TOO_WIDE = "[too wide]"
WIDEST = 0.5
"""Of shares: an interval that is wider says next to nothing, as it spans half of the differences that there can be."""
MOST_DECIMALS = 10

Detail = Literal["predictions", "recall", "correct", "value"]
"""What is known of a run: what it answers to each image; of which class each image is, and which it gets right; only which
it gets right; only one number."""


@dataclass(frozen=True)
class Metric:
    """A number that each run has, such as its test accuracy."""

    name: str
    unit: str = ""
    """Of its values: % for shares, anything else as it is written behind a number, such as s; empty for none."""
    decimals: int = 2
    """With which its values and differences are written."""
    lower_is_better: bool = False
    margin: float = 0.0
    """Differences within it are equivalent unless the caller says otherwise; 0: nothing is equivalent."""
    resolution: float = 0.0
    """To which values were rounded; 0 where they were not. Differences cannot vary less than rounding makes them."""

    @property
    def is_share(self) -> bool:
        """Whether its values are held from 0 to 1 and shown in percent."""
        return self.unit == "%"

    @property
    def scale(self) -> float:
        """A value times this is what people see."""
        return 100.0 if self.is_share else 1.0

    @property
    def widest(self) -> float:
        """Intervals that are wider are not shown."""
        return WIDEST if self.is_share else math.inf

    @property
    def unit_of_differences(self) -> str:
        """As an axis has it; empty where there is no unit."""
        return "percentage points" if self.is_share else self.unit

    @property
    def heading(self) -> str:
        """Of a column of its values, such as: test %."""
        short = self.name.removesuffix(" accuracy") if self.is_share else self.name
        return f"{short} {'%' if self.is_share else f'({self.unit})' if self.unit else ''}".rstrip()

    @property
    def title(self) -> str:
        """Its name where a sentence begins; a column's name as it is."""
        plain = all(word.isalpha() and word.islower() for word in self.name.split())
        return f"{self.name[:1].upper()}{self.name[1:]}" if plain else self.name

    @property
    def in_unit(self) -> str:
        """What follows a difference in a sentence, such as: in percentage points; empty where there is no unit."""
        return f" in {self.unit_of_differences}" if self.unit else ""

    def number(self, value: float, *, sign: bool = False) -> str:
        """A value or a difference, without its unit; nothing for NaN."""
        return "" if math.isnan(value) else f"{self.scale * value:{'+' if sign else ''}.{self.decimals}f}"

    def amount(self, difference: float) -> str:
        """A difference that somebody chose, in its shortest form with its unit: 1 point, 0.5 points, 0.01 s."""
        text = f"{self.scale * difference:g}"
        if self.is_share:
            return f"{text} point{'' if text == '1' else 's'}"
        return f"{text} {self.unit}".rstrip()

    def value(self, value: float) -> str:
        """A value with its unit: 71.20 %, 0.345."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def interval(self, low: float, high: float, *, sign: bool = False) -> str:
        """In brackets; nothing where there is none, and no numbers where it says next to nothing."""
        if math.isnan(low):
            return ""
        if high - low > self.widest:
            return TOO_WIDE
        return f"[{self.number(low, sign=sign)}, {self.number(high, sign=sign)}]"

    def with_interval(self, value: float, low: float, high: float, *, sign: bool = False) -> str:
        """Such as +1.20 [+0.20, +2.20]."""
        return f"{self.number(value, sign=sign)} {self.interval(low, high, sign=sign)}".rstrip()


ACCURACY = Metric("test accuracy", "%", margin=0.01)
"""Of test images: the share that a network gets right."""


def decimals_for(spread: float) -> int:
    """How many are needed for two digits of a standard deviation."""
    if not spread > 0:
        return 2
    return min(max(1 - math.floor(math.log10(spread)), 0), MOST_DECIMALS)


def resolution_of(values: Iterable[float]) -> float:
    """The power of ten that values with at most six decimals are rounded to; 0 where one has more, or none has any."""
    found = np.asarray(list(values), dtype=np.float64)
    for places in range(7):
        scaled = found * 10.0**places
        if np.all(np.abs(scaled - np.round(scaled)) <= 1e-9 * np.maximum(np.abs(scaled), 1)):
            return float(10.0**-places)
    return 0.0
