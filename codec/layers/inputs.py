"""Checks of what users pass to a codec: one sentence with the remedy, where the result would be noise or a traceback.

Only values of tensors on the way in from outside are read, as that waits for the device; a training step reads none.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from codec.errors import InvalidValue

MANY_CHANNELS = 64  # an axis that is longer is time, in remedies
LOUDEST = 10.0  # peak of float audio beyond which its scale must be another one: lossy codecs overshoot 1 by less
SCALES = {
    torch.int16: "divide by full scale: audio.float() / 32768",
    torch.int32: "divide by full scale: audio.float() / 2 ** 31",
    torch.int8: "divide by full scale: audio.float() / 128",
    torch.uint8: "centre it and divide by full scale: (audio.float() - 128) / 128",
}


def output_rate(sample_rate: int, encoder_hop: int, decoder_hop: int) -> int:
    """Samples a second of what a decoder makes of audio at `sample_rate`.

    Raises:
        InvalidValue: `sample_rate` or the result is not a whole number of Hz.
    """
    if not isinstance(sample_rate, int) or sample_rate < 1:
        raise InvalidValue("sample_rate", sample_rate, "must be a whole number of Hz above 0, such as 16000")
    if sample_rate * decoder_hop % encoder_hop:
        raise InvalidValue(
            f"decoder hop {decoder_hop} over encoder hop {encoder_hop} at {sample_rate} Hz",
            allowed="gives no whole output rate",
            remedy="set the decoder's hop_length to encoder hop x output rate / sample rate",
        )
    return sample_rate * decoder_hop // encoder_hop


def checked_audio(audio: Tensor, encoder: nn.Module | None = None) -> Tensor:
    """Float audio `[B, 1, T]` as float32.

    Args:
        audio: of any float type.
        encoder: what it is for, if type, device and values are to be checked too.

    Raises:
        InvalidValue: no tensor, no real floating-point numbers, another shape, no sample; see also `check_place` and
            `check_level`.
    """
    require_tensor(audio, "audio")
    if not audio.is_floating_point():
        remedy = SCALES.get(audio.dtype, "pass real numbers in [-1, 1]")
        raise InvalidValue("audio of", audio.dtype, "must be torch.float32 in [-1, 1]", remedy)
    if audio.ndim != 3 or audio.shape[1] != 1 or 0 in audio.shape:
        shape = list(audio.shape)
        raise InvalidValue("audio of shape", shape, "must be [B, 1, T] with B and T of at least 1", shaped(shape))
    audio = audio if audio.dtype == torch.float32 else audio.float()
    if encoder is not None:
        check_place(audio, encoder, name="audio")
        check_level(audio)
    return audio


def shaped(shape: list[int]) -> str:
    """How to make `[B, 1, T]` of audio of another shape; empty where that cannot be told."""
    last = shape[-1] if shape else 0
    if len(shape) == 1:
        return "add both axes, audio[None, None]"
    if len(shape) == 2 and last <= MANY_CHANNELS < shape[0]:
        return "put time last, and average the channels: audio.mean(1)[None, None]"
    if len(shape) == 2 and 1 < shape[0] <= MANY_CHANNELS:
        return "of several clips audio.unsqueeze(1), of one clip's channels their mean, audio.mean(0)[None, None]"
    if len(shape) == 2:
        return "add the axis of channels, audio.unsqueeze(1)"
    if len(shape) == 3 and last <= MANY_CHANNELS < shape[1]:
        return "put time last, and average the channels: audio.mean(2).unsqueeze(1)"
    return "average the channels, audio.mean(1, keepdim=True)" if len(shape) == 3 and shape[1] > 1 else ""


def check_level(audio: Tensor) -> None:
    """Check the values of float audio; not under `torch.compile` and `torch.export`, as that would break the graph.

    Raises:
        InvalidValue: NaN, infinite numbers, or a peak above 10, where full scale is 1.
    """
    captured = audio.is_cuda and torch.cuda.is_current_stream_capturing()
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or captured or audio.numel() == 0 or audio.is_meta:
        return
    peak = float(audio.detach().abs().max())  # NaN where any is
    if not peak < float("inf"):
        raise InvalidValue("audio", allowed="holds NaN or infinite numbers", remedy="mend or leave out such clips")
    if peak > LOUDEST:
        remedy = "divide by its full scale, such as 32768 for samples of 16 bits"
        raise InvalidValue("audio with a peak of", f"{peak:g}", "must lie in [-1, 1]", remedy)


def check_latents(latents: Tensor, dim: int, hop_length: int, *, length: int | None = None) -> None:
    """Raise InvalidValue unless latents are `[B, dim, F]` and `length` is 1 to F hops, or None."""
    require_tensor(latents, "latents")
    if latents.ndim != 3 or latents.shape[1] != dim:
        raise InvalidValue("latents of shape", list(latents.shape), f"must be [B, {dim}, F]")
    longest = latents.shape[2] * hop_length
    if length is not None and not 1 <= length <= longest:
        raise InvalidValue("length", length, f"must be 1 to {longest} samples for {latents.shape[2]} frames")


def require_tensor(value: Any, name: str) -> None:
    """Raise InvalidValue unless a value is a tensor."""
    if not isinstance(value, Tensor):
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        article = "an" if kind[0] in "aeiou" else "a"
        raise InvalidValue(
            name, allowed=f"is {article} {kind}, but must be a tensor", remedy=f"torch.as_tensor({name})"
        )


def check_place(value: Tensor, part: nn.Module, *, name: str) -> None:
    """Check that a part computes in float32, and where a tensor is.

    Raises:
        InvalidValue: no tensor, the part's weights are of another type, or on another device than the tensor.
    """
    require_tensor(value, name)
    weight = next((p for p in part.parameters() if p.is_floating_point()), None)
    if weight is None or torch.compiler.is_compiling():
        return
    if weight.dtype != torch.float32:
        raise not_in_float32(type(part).__name__, weight.dtype)
    if weight.device != value.device:
        remedy = f"move one of them, such as {name}.to('{weight.device}')"
        raise InvalidValue(f"{name} on", value.device, f"must be where the codec is, on {weight.device}", remedy)


def refuse_other_types(fn: Callable[[Tensor], Tensor], kind: str) -> None:
    """Check that what `nn.Module._apply` is to do to weights leaves float32 as it is.

    Raises:
        InvalidValue: it is a conversion, as of `half()`, `bfloat16()` and `double()`.
    """
    found = fn(torch.zeros(1)).dtype
    if found != torch.float32:
        raise not_in_float32(kind, found)


def not_in_float32(what: str, dtype: torch.dtype) -> InvalidValue:
    """The error about weights of another type."""
    return InvalidValue(
        f"{what} cannot compute in",
        dtype,
        "because quantizers and spectra need float32",
        "keep it in float32 and compute under torch.autocast(device, torch.bfloat16); `python -m codec.hub pack` "
        "writes files of half the size",
    )
