"""Shape-only stand-ins for operations of libraries that have no stub: cuDNN's convolutions, cuFFT, kernels by NVRTC."""

import ctypes
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

aten: Any = torch.ops.aten
calls: Counter[str] = Counter()  # of the stand-ins, by library
_library = torch.library.Library("aten", "IMPL")  # its registrations last as long as it does


def install() -> None:
    """Put the stand-ins in place of PyTorch's implementations, for this process."""
    stand_ins = {
        "cudnn_convolution": convolution,
        "cudnn_convolution_transpose": transposed_convolution,
        "convolution_backward": convolution_backward,
        "_fft_r2c": fft(aten._fft_r2c.default),
        "_fft_c2r": fft(aten._fft_c2r.default),
        "_fft_c2c": fft(aten._fft_c2c.default),
        "sgn": compiled_at_run_time(aten.sgn.default),
        "abs": compiled_at_run_time(aten.abs.default),
    }
    for name, stand_in in stand_ins.items():
        _library.impl(name, stand_in, "CUDA", allow_override=True)
    torch.backends.cudnn.is_available = lambda: True
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.isfinite = finite(torch.isfinite)


def shape(tensor: Tensor | None) -> Tensor | None:
    """The tensor without memory."""
    if tensor is None:
        return None
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")


def like(result: Tensor, *inputs: Tensor) -> Tensor:
    """Memory for a result, channels last where an input of four dimensions is."""
    last = result.ndim == 4 and any(is_channels_last(tensor) for tensor in inputs)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(result.shape, dtype=result.dtype, device=inputs[0].device, memory_format=layout)


def is_channels_last(tensor: Tensor) -> bool:
    """Whether a tensor is channels last and not also contiguous."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def check(*tensors: Tensor) -> None:
    """cuDNN takes tensors of one device and one dtype."""
    kinds = {(tensor.device, tensor.dtype) for tensor in tensors}
    if len(kinds) > 1:
        raise RuntimeError(f"one convolution of tensors of different kinds: {sorted(map(str, kinds))}")


def convolution(
    x: Tensor, weight: Tensor, padding: Any, stride: Any, dilation: Any, groups: int, *options: bool
) -> Tensor:
    check(x, weight)
    calls["cudnn"] += 1
    none = [0] * len(stride)
    y = aten.convolution.default(shape(x), shape(weight), None, stride, padding, dilation, False, none, groups)
    return like(y, x, weight)


def transposed_convolution(
    x: Tensor, weight: Tensor, padding: Any, output_padding: Any, stride: Any, dilation: Any, groups: int, *_: bool
) -> Tensor:
    check(x, weight)
    calls["cudnn"] += 1
    y = aten.convolution.default(shape(x), shape(weight), None, stride, padding, dilation, True, output_padding, groups)
    return like(y, x, weight)


def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *options: Any
) -> tuple[Tensor | None, ...]:
    check(gradient, x, weight)
    wanted = options[-1]
    calls["cudnn"] += sum(wanted[:2])
    sizes = None if bias_sizes is None else list(bias_sizes)
    found = aten.convolution_backward.default(shape(gradient), shape(x), shape(weight), sizes, *options)
    return tuple(None if result is None else like(result, x, weight) for result in found)


def fft(operation: Any) -> Any:
    def run(x: Tensor, *options: Any) -> Tensor:
        calls["cufft"] += 1
        y = operation(shape(x), *options)
        return torch.empty_strided(y.size(), y.stride(), dtype=y.dtype, device=x.device)

    return run


def compiled_at_run_time(operation: Any) -> Any:
    """An elementwise operation, for complex numbers a kernel that NVRTC would compile."""

    def run(x: Tensor) -> Tensor:
        calls["elementwise"] += 1
        y = operation(shape(x))
        return torch.empty_strided(y.size(), y.stride(), dtype=y.dtype, device=x.device)

    return run


def finite(real: Any) -> Any:
    """`torch.isfinite` whose answer in the pretend card's memory is yes, or no optimizer would ever step."""

    def isfinite(x: Tensor) -> Tensor:
        answer = real(x)
        if answer.is_cuda and not isinstance(answer, FakeTensor) and answer.is_contiguous():
            ctypes.memset(answer.data_ptr(), 1, answer.nbytes)
        return answer

    return isfinite
