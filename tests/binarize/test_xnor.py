"""XNOR: binary weights and inputs, and the input scale K of the paper's section 3.2."""

import torch

from xnorlit.binarize import Window
from xnorlit.binarize.xnor import XNOR, input_scale


def naive_input_scale(x, window):
    """K by its definition: the mean over the window of the mean magnitude over channels, zeros outside the image."""
    (kh, kw), (sh, sw), (ph, pw) = window
    images, channels, height, width = x.shape
    rows, columns = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
    scale = torch.zeros(images, 1, rows, columns, dtype=x.dtype)
    for n in range(images):
        for row in range(rows):
            for column in range(columns):
                for i in range(kh):
                    for j in range(kw):
                        y, z = row * sh + i - ph, column * sw + j - pw
                        if 0 <= y < height and 0 <= z < width:
                            magnitude = sum(abs(x[n, c, y, z].item()) for c in range(channels)) / channels
                            scale[n, 0, row, column] += magnitude / (kh * kw)
    return scale


def test_k_is_the_mean_magnitude_under_the_window():
    torch.manual_seed(0)
    for window in (
        Window((3, 3), (1, 1), (1, 1)),
        Window((5, 5), (2, 2), (2, 2)),
        Window((3, 3), (2, 2), (0, 0)),
        Window((2, 3), (1, 2), (2, 3)),
    ):
        x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
        torch.testing.assert_close(input_scale(x, window), naive_input_scale(x, window))


def test_k_of_a_linear_layer_is_the_mean_magnitude_of_each_sample():
    x = torch.tensor([[1.0, -3.0], [0.0, 0.5]])
    assert input_scale(x, None).tolist() == [[2.0], [0.25]]


def test_k_is_differentiated():
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: input_scale(x, Window((3, 3), (1, 1), (1, 1))), x)


def test_k_multiplies_the_output_only_on_request():
    x, y = torch.full((1, 2), -0.5), torch.tensor([[4.0, -6.0]])
    assert XNOR(input_scale="K").rescale(y, x, None).tolist() == [[2.0, -3.0]]
    assert XNOR().rescale(y, x, None) is y


def test_ks_gradient_keeps_the_memory_format():
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    scale = input_scale(x, Window((3, 3), (1, 1), (1, 1)))
    (gradient,) = torch.autograd.grad(scale, x, torch.randn(2, 1, 4, 5))
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_inputs_are_signs_with_a_clipped_gradient():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    binary = XNOR().input(x)
    binary.backward(torch.ones(5))
    assert binary.tolist() == [-1, -1, 1, 1, 1]
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
