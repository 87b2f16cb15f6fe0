import pytest

from cnnkit.errors import UserError
from experiments.run_ablation import own_network, read_arguments


def test_a_network_of_ones_own_is_the_protocols_baseline_at_the_protocols_size():
    line = [
        "--grid",
        "learning_rate",
        "--protocol",
        "smoke",
        "--baseline",
        "my_net:make",
        "--baseline-arguments",
        "{width: 8}",
    ]
    _, protocol, _ = read_arguments(line)
    arm = protocol.baseline()
    assert (arm.spec.factory, arm.spec.arguments, arm.spec.image_size) == ("my_net:make", {"width": 8}, 64)
    assert arm.is_baseline


@pytest.mark.parametrize(
    ("factory", "arguments", "words"),
    [
        (None, "{width: 8}", "give --baseline, too"),
        ("my_net:make", "width", "give a mapping such as {width: 32}"),
        ("my_net:make", "{width: [", "not readable as YAML"),
        ("my_net:make", "{width: .nan}", "not a finite number"),
    ],
)
def test_arguments_of_a_baseline_that_cannot_be_are_one_sentence(factory, arguments, words):
    with pytest.raises(UserError) as caught:
        own_network(factory, arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
