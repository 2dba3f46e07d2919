"""Modules from checkpoints, in Python alone: checkpoints state their codec, and `load_from_checkpoint` builds it."""

import inspect
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from codec.checkpoints.building import build_codec
from codec.checkpoints.reading import codec_config, read_checkpoint
from codec.checkpoints.warm_start import grouped
from codec.codec import NeuralCodec
from codec.errors import InvalidValue, UnreadableFile
from codec.layers.construction import construction

Module = TypeVar("Module", bound=L.LightningModule)


class StatedCodec(L.LightningModule):
    """A module whose checkpoints state how to build its codec, whether or not the command line has made it."""

    codec: NeuralCodec
    config: dict | None

    def stated_codec(self) -> dict[str, Any] | None:
        """The codec's block of the configuration; where the command line has given none, as its parts were built."""
        stated = codec_config({"model_config": self.config})
        try:
            return construction(self.codec) if stated is None else stated
        except InvalidValue:
            return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the codec's configuration where the command line has given none."""
        super().on_save_checkpoint(checkpoint)
        if codec_config(checkpoint) is not None:
            return
        try:
            checkpoint["codec_config"] = codec_config({"codec_config": construction(self.codec)})
        except InvalidValue as error:
            rank_zero_warn(f"The checkpoint does not state its codec, and loads with codec=… alone: {error}")

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls: type[Module],
        checkpoint_path: str | Path,
        map_location: Any = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Module:
        """Build the module around the codec that a checkpoint states, and load its weights.

        What a file may not build (discriminators, losses, optimizers, a teacher) takes its default unless it is given;
        weights of parts that the module then lacks are left out and named. Averaged weights stand for the raw ones. To
        go on with a run, build its module in Python and give `Trainer.fit` the `ckpt_path`.

        Args:
            checkpoint_path: whatever `codec.load_codec` reads.
            map_location: device to put the module on; the CPU by default.
            hparams_file: has no meaning here.
            strict: False for weights that may be missing.
            weights_only: has no meaning here: no code in a file is ever run.
            kwargs: of the constructor; `codec`, or a student's `encoder`, in place of the stated one.

        Raises:
            UnreadableFile: the file cannot be read, states no codec, or its weights do not fit.
            InvalidValue: an argument without a default is missing.
        """
        if hparams_file is not None:
            raise InvalidValue("hparams_file", hparams_file, "must be unset", "pass the constructor's arguments")
        checkpoint = read_checkpoint(checkpoint_path)
        parameters = list(inspect.signature(cls).parameters.values())
        wanted = next((p.name for p in parameters if p.name in ("codec", "encoder")), None)
        if wanted is not None and wanted not in kwargs:
            codec = _built(checkpoint, checkpoint_path, wanted)
            kwargs[wanted] = codec if wanted == "codec" else codec.encoder
        lacking = [
            p.name for p in parameters if p.default is p.empty and p.name not in kwargs and p.kind < p.VAR_KEYWORD
        ]
        if lacking:
            raise InvalidValue(
                f"{cls.__name__}.load_from_checkpoint", None, f"needs {', '.join(lacking)}",
                "pass what the run had, or take the codec alone with codec.load_codec",
            )  # fmt: skip
        module = cls(**kwargs)
        module.on_load_checkpoint(checkpoint)
        own, weights = module.state_dict(), checkpoint["state_dict"]
        left = [name for name in weights if name not in own and not name.startswith("codec.")]
        if left:
            kept = [name for name in weights if name in own]
            remedy = "pass the parts they belong to, such as adversary=…, to have them too"
            rank_zero_info(f"{cls.__name__} from {checkpoint_path} without {', '.join(grouped(left, kept))}: {remedy}.")
        module.load_state_dict({k: v for k, v in weights.items() if k not in left}, strict=strict is not False)
        return module if map_location is None else module.to(map_location)


def _built(checkpoint: dict[str, Any], path: str | Path, argument: str) -> NeuralCodec:
    config = codec_config(checkpoint)
    if config is None:
        raise UnreadableFile("Checkpoint", path, "does not state its codec", f"pass {argument}=…, built as it was")
    try:
        return build_codec(config)
    except InvalidValue as error:
        allowed = f"states a codec that cannot be built ({error.problem})"
        raise UnreadableFile("Checkpoint", path, allowed, error.remedy or f"pass {argument}=…") from error
