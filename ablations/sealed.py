"""The JSON files of a results folder: read as if a stranger had written them, and sealed, so that later changes are noticed."""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ablations import files
from cnnkit.spec import one_sentence

ModelT = TypeVar("ModelT", bound=BaseModel)


class DamagedRecord(Exception):
    """A record that cannot be trusted; the text names it and says why."""


def parse(model: type[ModelT], file: Path) -> ModelT:
    """Raises: DamagedRecord: `file` cannot be read, or is not what `model` describes. FileNotFoundError: there is none."""
    return parsed(model, file, content_of(file))


def parsed(model: type[ModelT], file: Path, content: bytes) -> ModelT:
    """Raises: DamagedRecord."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise DamagedRecord(f"{file}: {one_sentence(error)}") from error


def content_of(file: Path) -> bytes:
    """Raises: DamagedRecord: `file` cannot be read. FileNotFoundError: there is none."""
    try:
        return files.read(file)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedRecord(f"{file}: {error.strerror}") from error


def as_json(value: BaseModel) -> bytes:
    """Readable JSON."""
    return (json.dumps(value.model_dump(mode="json"), indent=2) + "\n").encode()


def sealed_json(value: BaseModel) -> bytes:
    """As `as_json`, with a seal by which later changes of the file are noticed."""
    values = value.model_dump(mode="json")
    return (json.dumps({**values, "seal": seal_of(values)}, indent=2) + "\n").encode()


def is_altered(content: bytes) -> bool:
    """Whether a file's JSON is not what it was when it got its seal; of what was written before there were seals, nothing is
    known.
    """
    try:
        values = json.loads(content)
        return "seal" in values and values["seal"] != seal_of(values)
    except (ValueError, TypeError, RecursionError):  # nothing that was written here
        return True


def seal_of(values: dict[str, Any]) -> str:
    """Hash of the JSON values of a record, a manifest or a command, their own seal left out. Taken of what was read, so that
    fields that a later version knows or has forgotten do not break it.
    """
    content = {name: value for name, value in values.items() if name != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
