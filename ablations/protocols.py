"""Protocols: data, recipe and input size under one name. Imports pydantic only."""

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveInt

from ablations.arm import Arm
from cnnkit.description import DataDescription
from cnnkit.recipe import Recipe
from cnnkit.spec import BASELINE, ConvNetSpec, ModuleSpec, Spec

SHAPE = ("image_size", "in_channels", "num_classes")
"""Fields of a network that the protocol and the data set for all networks of a study."""


class Split(Spec):
    """How many images of each set are used, of each class its share; None uses all, and so does a number above what there is."""

    train: PositiveInt | None = None
    """Training images, at least one of each class."""
    validation: PositiveInt | None = None
    """Validation images, at least one of each class."""
    test: PositiveInt | None = None
    """Test images, at least one of each class."""


class Protocol(Spec):
    """What every arm of a study has in common, unless the arm's factor is to change it."""

    name: str
    """The name for the command line."""
    purpose: str
    """One line: what it is for and what it costs."""
    spec: ConvNetSpec = BASELINE
    """The baseline network, at the protocol's input size."""
    network: ModuleSpec | None = None
    """A network of the user's own as the baseline; `spec` then says its input's size and channels and its classes alone."""
    recipe: Recipe = Recipe()
    """How the baseline is trained."""
    split: Split = Split()
    """How much of the data is used."""

    def changed(
        self, *, spec: Mapping[str, Any] = {}, recipe: Mapping[str, Any] = {}, split: Mapping[str, Any] = {}
    ) -> "Protocol":
        """The protocol with other fields: `PROTOCOLS["quick"].changed(recipe={"epochs": 10})`.

        Raises: ValidationError: a field does not exist, or a value does not suit it.
        """
        return self.vary(spec=self.spec.vary(**spec), recipe=self.recipe.vary(**recipe), split=self.split.vary(**split))

    def fitted(self, data: DataDescription) -> "Protocol":
        """The protocol on such data: classes and channels of the network are the data's unless others were given, and numbers of
        images that the protocol sets by itself are at least as many as there are classes.

        Raises: ValidationError: the network cannot be built so.
        """
        own = PROTOCOLS.get(self.name, self)
        follow = {"num_classes": len(data.classes), "in_channels": data.channels}
        spec = {
            field: value
            for field, value in follow.items()
            if getattr(self.spec, field) == getattr(own.spec, field) != value
        }
        split = {
            part: max(count, len(data.classes))
            for part, count in self.split.model_dump().items()
            if count is not None and count == getattr(own.split, part)
        }
        return self.changed(spec=spec, split=split)

    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        arm = Arm(name="baseline", spec=self.spec, recipe=self.recipe, is_baseline=True)
        if self.network is None:
            return arm
        own = {
            field: value
            for field, value in self.network
            if field not in SHAPE and field not in ("factory", "arguments")
        }
        return arm.replaced("baseline", {}, self.network.factory, self.network.arguments, **own).as_baseline()


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="documented",
            purpose="the documented study: 224 pixels, 40,000 images, 5 epochs, fp32; hours a cell without a GPU",
        ),
        Protocol(
            name="quick",
            purpose="64 pixels, 8,000 images, 5 epochs, bf16; about 2 minutes a cell and core on a laptop",
            spec=BASELINE.vary(image_size=64),
            recipe=Recipe(precision="bf16"),
            split=Split(train=8_000),
        ),
        Protocol(
            name="smoke",
            purpose="64 pixels, 500 images, 2 epochs, bf16; a few seconds a cell, to see that everything runs",
            spec=BASELINE.vary(image_size=64),
            recipe=Recipe(precision="bf16", epochs=2),
            split=Split(train=500, validation=200, test=500),
        ),
    )
}
"""Every protocol by its name."""
