"""What a spec costs: computed for a `ConvNetSpec` without building it, measured for a network of the user's own."""

import itertools

from cnnkit.spec import COMMUTES_WITH_MAX, ConvNetSpec, ModuleSpec, Stored

# The activations whose backward pass needs their input map; the others need their output.
_SAVES_OUTPUT = frozenset({"relu", "sigmoid", "tanh"})


class Cost(Stored):
    """Sizes of one network. Multiply-adds are of one image's forward pass, convolutions and fully connected layers
    only, one for each multiplication (`torch.utils.flop_counter` counts two).
    """

    parameters: int
    """All trained numbers."""
    head_share: float | None = None
    """Share of the parameters that sit in the classifier, 0 to 1; None where what belongs to it is not known."""
    multiply_adds: int
    """Multiply-adds of one image's forward pass."""
    receptive_field: int | None = None
    """Input pixels (a side) that one position of the last map depends on; None where it is not known."""
    receptive_field_original: float | None = None
    """The same in pixels of the original image, which was scaled up to the input size."""


def cost(spec: ConvNetSpec | ModuleSpec, *, original_size: int = 32) -> Cost:
    """What `spec` costs. `original_size`: height and width of the images before they are scaled up, in pixels.

    Raises: UserError: a network of the user's own cannot be built.
    """
    if isinstance(spec, ModuleSpec):
        from cnnkit.own import measure

        measured = measure(spec)
        return Cost(parameters=measured.parameters, multiply_adds=measured.multiply_adds)
    body = multiply_adds = 0
    receptive_field, jump = 1, 1  # in input pixels; jump: distance between neighbouring positions of the map
    size, c_in = spec.image_size, spec.in_channels
    per_output = 2 if spec.batch_norm else 1  # batch norm's scale and shift, or the convolution's bias
    for c_out in spec.widths:
        layers = [(c_in if i == 0 else c_out, spec.kernel_size) for i in range(spec.convs_per_block)]
        if spec.residual and c_in != c_out:
            layers.append((c_in, 1))
        for channels, kernel in layers:
            weights = channels * c_out * kernel**2
            body += weights + per_output * c_out
            multiply_adds += weights * size**2
        receptive_field += (spec.kernel_size - 1) * jump * spec.convs_per_block + jump
        jump *= 2
        size, c_in = size // 2, c_out
    features = c_in * spec.head_grid**2
    widths = (features, spec.hidden_width, spec.num_classes) if spec.hidden_width else (features, spec.num_classes)
    head = sum(m * n + n for m, n in itertools.pairwise(widths))
    multiply_adds += sum(m * n for m, n in itertools.pairwise(widths))
    return Cost(
        parameters=body + head,
        head_share=head / (body + head),
        multiply_adds=multiply_adds,
        receptive_field=receptive_field,
        receptive_field_original=receptive_field * original_size / spec.image_size,
    )


def activation_bytes(
    spec: ConvNetSpec | ModuleSpec, batch_size: int, *, bytes_per_number: int = 4, frozen: bool = False
) -> int:
    """Memory of the maps that a training step keeps for its backward pass, in bytes.

    Counted once for each tensor that autograd saves: inputs of convolutions, batch norms, poolings and fully
    connected layers, what the activations need, pooling's 8-byte indices, dropout's mask, the image itself. Weights
    are not in it. `bytes_per_number`: 4 in fp32, 2 in bf16 and fp16. `frozen`: all but the last layer, which alone then
    keeps something: what enters it.
    """
    if isinstance(spec, ModuleSpec):
        from cnnkit.own import measure

        return measure(spec, frozen=frozen).saved_numbers * batch_size * bytes_per_number
    if frozen:
        features = spec.hidden_width or spec.widths[-1] * spec.head_grid**2
        return batch_size * (features * bytes_per_number + spec.num_classes * 4)
    pool_first = spec.activation in COMMUTES_WITH_MAX
    act_keeps = 0 if spec.activation == "identity" else 1
    keeps_input = act_keeps and spec.activation not in _SAVES_OUTPUT
    numbers = spec.in_channels * spec.image_size**2
    index_numbers = 0
    size = spec.image_size
    for block, width in enumerate(spec.widths):
        full, pooled = width * size**2, width * (size // 2) ** 2
        projected = spec.residual and width != (spec.widths[block - 1] if block else spec.in_channels)
        # batch norm's input; then, between convolutions, the activation's input (where it needs that) and output
        numbers += full * spec.convs_per_block * spec.batch_norm + full * (projected and spec.batch_norm)
        numbers += full * (spec.convs_per_block - 1) * (1 + bool(keeps_input))
        numbers += full  # pooling's input
        numbers += 0 if pool_first else full * bool(keeps_input)
        numbers += pooled * (1 + bool(keeps_input and pool_first))  # the next layer's input
        index_numbers += pooled
        size //= 2
    features = spec.widths[-1] * spec.head_grid**2
    numbers += features
    hidden = spec.hidden_width or features
    numbers += hidden * (1 + bool(keeps_input)) if spec.hidden_width else 0
    mask = hidden if spec.dropout else 0
    numbers += 2 * mask
    return batch_size * (numbers * bytes_per_number + index_numbers * 8 + spec.num_classes * 4)
