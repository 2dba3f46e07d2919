"""Check of the Triton kernels without a GPU, by Triton's interpreter: `python -m tests.support.interpreted_triton`."""

import os

os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined


from codec.layers import anti_aliased_triton
from codec.layers.anti_aliased import by_convolution
from tests.codec.layers.test_activations import random_inputs, relative_error, with_gradients


def main() -> None:
    """Fail where a value or gradient in float32 is 1e-5 or more away from float64."""
    for length in (1, 2, 9, 1023, 1029):
        (x, alpha, inverse_beta), lowpass, gz = random_inputs(1, 2, length)
        alpha = (4 * alpha).detach().requires_grad_()  # angles of several turns
        wanted = with_gradients(by_convolution, (x, alpha, inverse_beta), lowpass, gz)
        x, alpha, inverse_beta = (t.detach().float() for t in (x, alpha, inverse_beta))
        z = anti_aliased_triton.forward(x, alpha, inverse_beta, lowpass.float())
        gradients = anti_aliased_triton.backward(gz.float(), x, alpha, inverse_beta, lowpass.float())
        errors = [relative_error(value, exact) for value, exact in zip((z, *gradients), wanted, strict=True)]
        print(f"{length} samples: " + ", ".join(f"{error:.1e}" for error in errors))
        assert max(errors) < 1e-5, (length, errors)


if __name__ == "__main__":
    main()
