"""The rates of a data module against those of the codec that it feeds; the command line links them."""

from typing import Any

from codec.errors import InvalidValue


def check_rates(trainer: Any, codec: Any) -> None:
    """Refuse audio at other rates than the codec's, which would be coded as if it were slower or faster.

    Args:
        trainer: Lightning's; its data module, if there is one, is asked for `audio_format.rates` in Hz, the encoder's
            and, if they differ, the decoder's.
        codec: the `NeuralCodec` that is trained, scored or used.

    Raises:
        InvalidValue: they differ.
    """
    rates = getattr(getattr(getattr(trainer, "datamodule", None), "audio_format", None), "rates", None)
    wanted = codec.sample_rate, codec.output_sample_rate
    if rates and (rates[0], rates[-1]) != wanted:
        raise InvalidValue(
            "The data module's rates",
            f"{rates[0]} and {rates[-1]} Hz",
            f"must be those of the codec, {wanted[0]} Hz for its input and {wanted[1]} Hz for its output",
            "make it with sample_rate=codec.sample_rate, output_sample_rate=codec.output_sample_rate and "
            "hop_length=codec.hop_length",
        )
