"""What the metadata of a Parquet file in the Hugging Face layout says of its columns."""

import json
from collections.abc import Mapping
from typing import Any


def features(schema: Any) -> Mapping[str, Any]:
    """The feature of each column as the `datasets` library describes it; empty where a file does not say."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """The names of a label column's classes; None where a file does not say."""
    feature = features(schema).get(column)
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    if isinstance(names, dict):  # older versions: position -> name
        names = [names.get(str(place)) for place in range(len(names))]
    return tuple(names) if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None
