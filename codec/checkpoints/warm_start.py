"""Fine-tuning: starts from weights of a checkpoint or a safetensors file, and reports what was loaded."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn

from codec.checkpoints.building import build_codec, build_empty
from codec.checkpoints.reading import check_finite, codec_config, read_checkpoint
from codec.codec import NeuralCodec
from codec.encoders.spectral import SpectrumEncoder
from codec.errors import InvalidValue, UnreadableFile, first_line
from codec.quantizers.residual_fsq import ResidualFSQ
from codec.quantizers.scalar import ScalarQuantizer

PARTS = ("codec", "discriminators", "semantic")


class LoadReport(NamedTuple):
    """What `warm_start` loaded, as names of weights in the module's `state_dict`.

    Attributes:
        path: file that was read.
        matched: loaded weights.
        missing: weights of the wanted parts that the file lacks; they keep their initial values.
        left_over: weights of the file that were not used.
        numbers: how many numbers the matched weights have.
        stated: whether the file states its codec's configuration.
    """

    path: str
    matched: list[str]
    missing: list[str]
    left_over: list[str]
    numbers: int
    stated: bool

    def __str__(self) -> str:
        lines = [f"Weights from {self.path}: {len(self.matched)} tensors ({self.numbers:,} numbers) matched"]
        for title, names, others in (
            ("loaded", self.matched, [*self.missing, *self.left_over]),
            ("missing there, kept as initialised", self.missing, [*self.matched, *self.left_over]),
            ("left over there, not used", self.left_over, [*self.matched, *self.missing]),
        ):
            lines.append(f"  {title}: {', '.join(grouped(names, others)) or 'nothing'}")
        if not self.stated:
            lines.append("  The file states no configuration: shapes were checked; levels, hop and rates could not be.")
        return "\n".join(lines)


def warm_start(module: nn.Module, path: str | Path, *, parts: Sequence[str] = PARTS) -> LoadReport:
    """Copy the weights of some parts into a module that has a `codec`, and print on rank 0 what was loaded.

    Optimizer states, counters and random states are not loaded. Where a run averaged its codec's weights, the average
    is what its checkpoint holds, and what is loaded. A `ResidualFSQ` may start from a file of fewer stages, or of FSQ:
    its further stages divide the cells of those.

    Args:
        module: a `CodecModule`, or any module with a `codec`.
        path: a `.ckpt` of a run, or a `.safetensors` file or folder of pieces of a module's, a codec's or its
            discriminators' state.
        parts: module paths to load, such as `codec`, `codec.decoder.backbone` or `discriminators`.

    Raises:
        UnreadableFile: the file is missing, damaged, holds more than weights, or weights that are not all finite.
        InvalidValue: its codec has another geometry, or a part is not in the module or not in the file.
    """
    weights, config = read_weights(path)
    own = module.state_dict(keep_vars=True)
    _check_parts(own, weights, parts, path)
    codec: NeuralCodec = module.codec  # type: ignore[assignment]
    _check_geometry(codec, config, parts=parts, path=path, more_stages=True)
    wanted = [name for name in own if _within(name, parts)]
    matched = [name for name in wanted if name in weights]
    _check_shapes(own, weights, matched, codec=codec, path=path)
    check_finite({name: weights[name] for name in matched}, path)
    with torch.no_grad():
        for name in matched:
            own[name].copy_(weights[name])
    left = [name for name in weights if name not in set(matched)]
    missing = [name for name in wanted if name not in weights]
    numbers = sum(own[name].numel() for name in matched)
    report = LoadReport(str(path), matched, missing, left, numbers, config is not None)
    rank_zero_info(str(report))
    return report


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """A file's weights, named as in a module with a `codec`, and the codec's configuration where the file has one.

    Raises:
        UnreadableFile: the file is missing, damaged, or holds more than weights and plain values.
    """
    checkpoint = read_checkpoint(path)
    weights = {k: v for k, v in checkpoint["state_dict"].items() if isinstance(v, Tensor)}
    return _add_prefix(weights), codec_config(checkpoint)


def check_resumable(checkpoint: Mapping[str, Any], codec: NeuralCodec, *, own: dict[str, Any] | None = None) -> None:
    """Check that a checkpoint which is to be resumed or tested states the geometry of the codec.

    Args:
        checkpoint: content of the file.
        codec: codec that the weights are for.
        own: the codec's configuration; where the checkpoint has the same, nothing is built to compare.

    Raises:
        InvalidValue: it states another geometry.
    """
    stated = codec_config(checkpoint)
    if stated != own:
        _check_geometry(codec, stated, parts=("codec",), path="The checkpoint")


def get_part(codec: NeuralCodec, name: str) -> nn.Module:
    """A part of the codec by its path, such as `decoder.backbone`.

    Raises:
        InvalidValue: there is none of that name.
    """
    try:
        return codec.get_submodule(name)
    except AttributeError:
        parts = ", ".join(child for child, _ in codec.named_children())
        remedy = f"it has {parts}, and the modules inside them"
        raise InvalidValue("The codec has no part", repr(name), remedy=remedy) from None


def geometry(codec: NeuralCodec) -> dict[str, dict[str, Any]]:
    """The sizes of each part that weights alone do not show, or that must agree between parts."""
    quantizer = codec.quantizer
    levels = {"levels": list(quantizer.levels)} if isinstance(quantizer, ScalarQuantizer) else {}
    rate = {"sample rate": codec.sample_rate}
    encoder = codec.encoder
    features = (
        {"mean of features": encoder.mean, "their std": encoder.std} if isinstance(encoder, SpectrumEncoder) else {}
    )
    return {
        "codec.encoder": {**rate, "hop": codec.hop_length, "width": encoder.dim, **features},
        "codec.quantizer": {"width": quantizer.dim, **levels, "codebooks": list(quantizer.codebook_sizes)},
        "codec.decoder": {"width": codec.decoder.dim, "decoder hop": codec.decoder.hop_length},
    }


def describe(sizes: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """Sizes of some parts in one line, each size once."""
    merged: dict[str, Any] = {}
    for name in names:
        merged |= sizes[name]
    return ", ".join(f"{key} {value}" for key, value in merged.items())


def grouped(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Names grouped under the shortest module path that contains none of `others`, such as `codec.encoder (12)`."""
    taken = {prefix for name in others for prefix in _prefixes(name)}
    groups: dict[str, int] = {}
    for name in names:
        group = next((prefix for prefix in _prefixes(name) if prefix not in taken), name)
        groups[group] = groups.get(group, 0) + 1
    return [f"{group} ({count})" if count > 1 else group for group, count in groups.items()]


def _prefixes(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[: i + 1]) for i in range(len(words))]


def _within(name: str, parts: Iterable[str]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


def _any_within(names: Iterable[str], part: str) -> bool:
    return any(_within(name, (part,)) for name in names)


def _add_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a codec alone, or of a list of discriminators, named under `codec.` or `discriminators.`."""
    if any(_within(name, PARTS) for name in weights):
        return weights
    return {f"{'discriminators' if k.split('.')[0].isdigit() else 'codec'}.{k}": v for k, v in weights.items()}


def _check_parts(own: Iterable[str], weights: Iterable[str], parts: Sequence[str], path: str | Path) -> None:
    """Check that module and file have each part; for the default parts it is enough that they share one weight."""
    places = (("this module", own), (path, weights))
    lacking = [f"{p!r} is not in {place}" for p in parts for place, names in places if not _any_within(names, p)]
    common = any(name in set(own) and _within(name, parts) for name in weights)
    if lacking and not (common and tuple(parts) == PARTS):
        found = ", ".join(sorted({".".join(name.split(".")[:2]) for name in weights})[:8]) or "no tensors"
        raise InvalidValue("; ".join(lacking), remedy=f"the file has {found}; name parts that are in both (init_parts)")


def _check_geometry(
    codec: NeuralCodec,
    config: dict[str, Any] | None,
    *,
    parts: Sequence[str],
    path: str | Path,
    more_stages: bool = False,
) -> None:
    """Compare the geometry of those of encoder, quantizer and decoder that are to be loaded whole.

    With `more_stages`, a `ResidualFSQ` may have stages beyond the file's: they divide its cells and have no weights.
    """
    if config is None:
        return
    try:
        with torch.random.fork_rng(devices=[]):
            theirs = geometry(build_empty(lambda: build_codec(config)))
    except Exception as error:  # a constructor may raise anything for odd arguments
        allowed = f"states a codec that cannot be built ({first_line(error, limit=300)})"
        raise UnreadableFile(str(path), None, allowed) from error
    ours = geometry(codec)
    names = [name for name in ours if any(_within(name, (part,)) for part in parts)]
    needed = {name: dict(sizes) for name, sizes in ours.items()}
    if more_stages and isinstance(codec.quantizer, ResidualFSQ):
        own = needed["codec.quantizer"]
        own["codebooks"] = own["codebooks"][: len(theirs["codec.quantizer"]["codebooks"])]
    if any(theirs[name] != needed[name] for name in names):
        raise InvalidValue(
            str(path),
            None,
            f"does not fit this codec: {describe(theirs, names)} in the file, {describe(ours, names)} here",
            "build the codec with the file's sizes, or load other parts of it (init_parts)",
        )


def _check_shapes(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    names: Sequence[str],
    *,
    codec: NeuralCodec,
    path: str | Path,
) -> None:
    wrong = [name for name in names if own[name].shape != weights[name].shape]
    if wrong:
        shown = "; ".join(f"{n} is {list(weights[n].shape)} in the file, {list(own[n].shape)} here" for n in wrong[:3])
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        here = describe(geometry(codec), list(geometry(codec)))
        raise InvalidValue(
            str(path),
            None,
            f"does not fit: {shown}{more} (this codec: {here})",
            "build the module with the file's sizes, or load other parts of it (init_parts)",
        )
