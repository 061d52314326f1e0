"""Networks as weights files hold them: the sizes are checked before a network is built from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from avatarctl.checkpoints.load import load_strict
from avatarctl.checkpoints.official import INSPECT, Weights
from avatarctl.errors import CheckpointError

LARGEST = 1 << 20
Settings = TypeVar("Settings", bound=BaseModel)


def with_sizes(
    published: Any, given: Mapping[str, Any], most: int = LARGEST, optional: Mapping[str, Any] | None = None
) -> Any:
    """Sizes of the kind of `published` with those given by name.

    Args:
        published: A dataclass of whole numbers, shares, booleans, words, tuples and dataclasses.
        given: As `asdict` of its kind, or JSON, gives them.
        most: The largest that one may be.
        optional: Of sizes that may be None, a value of their kind.

    Raises:
        ValueError: A name is unknown, or a value is none that this size can have.
    """
    known = {item.name: getattr(published, item.name) for item in fields(published)}
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"{unknown[0]}: no such size; expected {', '.join(known)}")
    found = {}
    for name, value in given.items():
        try:
            found[name] = _value((optional or {}).get(name, known[name]), value, most)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return replace(published, **found)


def _value(like: Any, value: Any, most: int, below: float = 1.0) -> Any:
    """A size as JSON says it, in the form of one of its kind; numbers that are not whole are `below`."""
    if like is None and value is None:
        return None
    if is_dataclass(like):
        if value is None or isinstance(value, Mapping):
            return None if value is None else with_sizes(like, value, most)
    elif isinstance(like, tuple):
        if isinstance(value, list | tuple) and value:
            return tuple(_value(like[0], item, most) for item in value)
    elif isinstance(like, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(like, str):
        if isinstance(value, str):
            return value
    elif isinstance(like, float):
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < below:
            return float(value)
    elif type(value) is int and 0 <= value <= most:
        return value
    raise ValueError(f"found {str(value)[:40]}, expected a value such as {like}")


def sizes_in(
    weights: Weights,
    part: str,
    published: Any,
    optional: Mapping[str, Any] | None = None,
    limits: Collection[str] = (),
) -> Any:
    """The sizes of a network as its file says them.

    Args:
        part: The network's part of the weights.
        published: Sizes of its kind; `optional` as in `with_sizes`.
        limits: Names of sizes that only limit others, so that no tensor need have them.

    Raises:
        CheckpointError: The file has no such network, or the sizes are none that its tensors can have.
    """
    found, most = stated(weights, part)
    try:
        plain = {name: value for name, value in found.items() if name not in limits}
        others = {
            name: _value(getattr(published, name), found[name], LARGEST, LARGEST)
            for name in limits
            if name in found and hasattr(published, name)
        }
        return replace(with_sizes(published, plain, most, optional), **others)
    except ValueError as error:
        raise CheckpointError(f"{weights.path}: networks: {part}: {error}", hint=INSPECT) from error


def stated(weights: Weights, part: str) -> tuple[dict[str, Any], int]:
    """What a file says of a network's sizes, not checked yet, and the largest that its tensors can have.

    Raises:
        CheckpointError: The file has no such network.
    """
    networks = weights.config.get("networks")
    found = networks.get(part) if isinstance(networks, dict) else None
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{weights.path}: has no '{part}' network; it holds {', '.join(weights.parts) or 'nothing'}",
            hint=INSPECT,
        )
    tensors = weights.part(part)
    return found, max([len(tensors), *(size for tensor in tensors.values() for size in tensor.shape)])


def settings_in(kind: type[Settings], stated: Any, where: str, hint: str) -> Settings:
    """Settings that a weights file states beside its networks.

    Args:
        stated: By name.
        where: The file and the place in it.
        hint: What to do where they are none.

    Raises:
        CheckpointError: They are no settings of the kind.
    """
    try:
        return kind(**stated)
    except ValidationError as error:
        first = error.errors()[0]
        name, found = ".".join(map(str, first["loc"])), str(first["input"])[:40]
        raise CheckpointError(f"{where}.{name}: found {found}: {first['msg']}", hint=hint) from error
    except TypeError as error:
        found = str(stated)[:40]
        raise CheckpointError(f"{where}: found {found}, expected settings by name", hint=hint) from error


def network(
    weights: Weights,
    part: str,
    kind: Callable[[Any], nn.Module],
    sizes: Any,
    tensors: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """A network with its trained tensors, for use: in evaluation mode and without gradients.

    Args:
        kind: From sizes to the network.
        tensors: Those of the part that the network has; left out: all.

    Raises:
        CheckpointError: No network has these sizes, or the tensors are not those of it.
    """
    try:
        made = kind(sizes)
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{weights.path}: networks: {part}: no network has these sizes: {error}", hint=INSPECT
        ) from error
    found = weights.part(part) if tensors is None else tensors
    load_strict(made, found, f"{weights.path}: {part}", is_shared=True)
    return made.eval().requires_grad_(False)
