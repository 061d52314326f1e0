"""Networks as weights files hold them."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.sizes import network, sizes_in, with_sizes
from avatarctl.errors import CheckpointError


@dataclass(frozen=True)
class Inner:
    blocks: tuple[int, ...] = (3, 4)


@dataclass(frozen=True)
class Sizes:
    width: int = 8
    dropout: float = 0.1
    kind: str = "plain"
    is_deep: bool = False
    inner: Inner = Inner()
    other: Inner | None = None


def weights(sizes, tensors=None):
    found = {"weight": torch.zeros(4, 2), "bias": torch.zeros(4)} if tensors is None else tensors
    return Weights({"net": found}, {"networks": {"net": sizes}}, "native", Path("my.safetensors"))


def test_sizes_come_back_from_their_dictionary():
    sizes = Sizes(5, 0.5, "other", True, Inner((1, 2, 3)))

    assert with_sizes(Sizes(), asdict(sizes)) == sizes


def test_a_size_that_may_be_none_has_a_kind():
    found = with_sizes(Sizes(), {"other": {"blocks": [1]}}, optional={"other": Inner()})

    assert found.other == Inner((1,))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"widht": 8}, "widht: no such size"),
        ({"width": -1}, "width: found -1"),
        ({"width": 1 << 30}, "width: found 1073741824"),
        ({"width": True}, "width: found True"),
        ({"dropout": 1.0}, r"dropout: found 1\.0"),
        ({"kind": 3}, "kind: found 3"),
        ({"is_deep": 1}, "is_deep: found 1"),
        ({"inner": {"blocks": []}}, r"inner: blocks: found \[\]"),
    ],
)
def test_sizes_that_cannot_be_are_named(given, words):
    with pytest.raises(ValueError, match=words):
        with_sizes(Sizes(), given)


def test_a_size_that_no_tensor_has_is_refused():
    with pytest.raises(CheckpointError, match=r"my\.safetensors: networks: net: width: found 500"):
        sizes_in(weights({"width": 500}), "net", Sizes())


def test_a_network_is_loaded_for_use():
    made = network(weights({"width": 4}), "net", lambda sizes: nn.Linear(2, sizes.width), Sizes(width=4))

    assert not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_sizes_without_a_network_are_refused():
    def build(sizes):
        raise ValueError("an odd width")

    with pytest.raises(CheckpointError, match="no network has these sizes: an odd width"):
        network(weights({}), "net", build, Sizes())


def test_a_part_that_is_missing_is_named():
    with pytest.raises(CheckpointError, match="has no 'body' network; it holds net"):
        sizes_in(weights({}), "body", Sizes())
