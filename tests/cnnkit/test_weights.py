import pytest
import torch
from torch import nn

from cnnkit import ConvNetSpec, build
from cnnkit.errors import UserError
from cnnkit.weights import from_bytes, to_bytes


class Mixed(nn.Module):
    """Tied, bfloat16, not contiguous, complex, empty and boolean tensors, and state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight
        self.low = nn.Linear(4, 4).to(torch.bfloat16)
        self.turned = nn.Parameter(torch.randn(3, 5).T)
        self.mix = nn.Parameter(torch.randn(2, dtype=torch.complex64))
        self.register_buffer("nothing", torch.zeros(0))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("passing", torch.ones(1), persistent=False)
        self.note = "new"

    def get_extra_state(self):
        return {"note": self.note}

    def set_extra_state(self, state):
        self.note = state["note"]


def test_weights_come_back_as_they_were_whatever_their_type_and_place_in_memory():
    torch.manual_seed(0)
    kept, empty = Mixed(), Mixed()
    kept.note = "kept"
    from_bytes(empty, to_bytes(kept))
    mine, its = kept.state_dict(), empty.state_dict()
    assert mine.keys() == its.keys()
    tensors = [name for name in mine if isinstance(mine[name], torch.Tensor)]
    assert all(torch.equal(mine[name], its[name]) and mine[name].dtype == its[name].dtype for name in tensors)
    assert empty.note == "kept"
    assert empty.other.weight is empty.one.weight


def test_channels_last_weights_are_the_same_bytes():
    model = build(ConvNetSpec(image_size=16, widths=(4,), hidden_width=0))
    assert to_bytes(model) == to_bytes(model.to(memory_format=torch.channels_last))


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_damaged_weights_are_refused_in_one_sentence(cut):
    model = nn.Linear(8, 8)
    with pytest.raises(UserError, match="do not fit the network"):
        from_bytes(model, to_bytes(model)[:cut])


def test_another_networks_weights_are_refused_in_one_sentence():
    with pytest.raises(UserError, match="do not fit the network") as caught:
        from_bytes(nn.Linear(8, 4), to_bytes(nn.Linear(8, 8)))
    assert "\n" not in str(caught.value)
