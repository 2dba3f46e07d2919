"""The neural codec on one screen: encoder, quantizer and decoder, audio to codes and back."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec.decoders.base import Decoder
from codec.decoders.conditioning import ChannelConditioning
from codec.decoders.streaming import DecodedStream, StreamingDecoder
from codec.encoders.base import Encoder
from codec.encoders.streaming import EncodedStream, StreamingEncoder
from codec.errors import InvalidValue
from codec.layers.construction import Constructed
from codec.layers.extents import Extents, Lengths, batch_extents, silenced
from codec.layers.inputs import check_latents, check_place, checked_audio, output_rate, refuse_other_types
from codec.quantizers.base import Quantizer
from codec.quantizers.codes import check_stages, checked_codes, code_bits

Transmit = Callable[[Tensor], Tensor]


class CodecOutput(NamedTuple):
    """What a codec returns in training.

    Attributes:
        audio: reconstruction `[B, 1, T']` at the output rate.
        codes: int64 `[B, K, F]`.
        z_e: latents before quantization `[B, D, F]`.
        z_q: latents for the decoder `[B, D, F]`.
        loss: the quantizer's own loss, a scalar.
    """

    audio: Tensor
    codes: Tensor
    z_e: Tensor
    z_q: Tensor
    loss: Tensor


class NeuralCodec(Constructed, nn.Module):
    """Audio to codes and back.

    Audio is float32 `[B, 1, T]` in [−1, 1] with any T ≥ 1; codes are int64 `[B, K, F]` with F = ⌈T / hop_length⌉.

    Attributes:
        hop_length: samples of input per frame.
        output_sample_rate: of the reconstruction in Hz.

    Args:
        encoder: audio to latents; its `hop_length` sets the frame rate.
        quantizer: latents to codes.
        decoder: latents to audio.
        sample_rate: of the input in Hz.
        conditioning: tells the decoder how certain the bits that it gets are; None for a decoder that is not told.

    Raises:
        InvalidValue: the parts' widths differ, or a sample rate is not a whole number of Hz.
    """

    def __init__(
        self,
        encoder: Encoder,
        quantizer: Quantizer,
        decoder: Decoder,
        *,
        sample_rate: int = 16_000,
        conditioning: ChannelConditioning | None = None,
    ) -> None:
        super().__init__()
        if not encoder.dim == quantizer.dim == decoder.dim:
            raise InvalidValue(
                f"encoder, quantizer and decoder have widths {encoder.dim}, {quantizer.dim} and {decoder.dim}",
                remedy="set their `dim` to one value",
            )
        self.output_sample_rate = output_rate(sample_rate, encoder.hop_length, decoder.hop_length)
        if conditioning is not None:
            conditioning.check_fits(quantizer.dim, sum(code_bits(quantizer.codebook_sizes)))
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder
        self.conditioning = conditioning
        self.sample_rate, self.hop_length = sample_rate, encoder.hop_length

    def encode(self, audio: Tensor, lengths: Lengths | None = None) -> Tensor:
        """Encode audio to codes; raises as `encode_latents` does.

        Args:
            audio: `[B, 1, T]`.
            lengths: samples of each clip, 1 to T, where clips of unequal lengths share the batch; what `audio` holds
                beyond a clip's end has no effect. On the CPU or in a list, so that nothing waits for a GPU.

        Returns:
            int64 `[B, K, ⌈T / hop_length⌉]`; each clip's codes are those that it has alone, up to the rounding of its
            latents, and zeros beyond its ⌈length / hop_length⌉ frames.
        """
        latents, frames = self._latents(audio, lengths, check_values=True)
        return silenced(self.quantizer(latents).codes, frames)

    def encode_stream(
        self,
        audio: Tensor | Iterable[Tensor],
        *,
        chunk: int | None = None,
        before: int | None = None,
        after: int | None = None,
    ) -> EncodedStream:
        """Encode audio of any length in bounded memory; iterate over the result for codes `[B, K, chunk]`.

        Args:
            audio: `[B, 1, T]`, or consecutive pieces of it of any lengths.
            chunk: frames that are encoded at a time, 30 s by default; the last chunk may be shorter.
            before: frames of context before a chunk; by default the encoder's receptive field, or 5 s if unbounded.
            after: frames of context after a chunk; by default likewise.

        Returns:
            The stream; its `is_exact` says whether the latents equal those of `encode`.

        Raises:
            InvalidValue: no frame in a chunk, context below 0, or audio of another shape.
        """
        return EncodedStream(
            self.encoder, self.quantizer, audio, frame_rate=self.frame_rate, chunk=chunk, before=before, after=after
        )

    def encode_latents(self, audio: Tensor, lengths: Lengths | None = None, *, check_values: bool = True) -> Tensor:
        """Latents before quantization `[B, D, F]` of audio `[B, 1, T]`.

        Args:
            audio: float32 in [−1, 1]; other float types are converted.
            lengths: samples of each clip, as of `encode`; latents beyond a clip's frames are zero.
            check_values: read the audio's peak, which waits for a GPU. `forward`, and so training, does without it, and
                compiled or exported code never reads it.

        Raises:
            InvalidValue: no tensor, integers or complex numbers, another shape, another device than the encoder's, a
                value that is not finite, a peak above 10, or `lengths` that do not fit the batch.
        """
        return self._latents(audio, lengths, check_values=check_values)[0]

    def _latents(self, audio: Tensor, lengths: Lengths | None, *, check_values: bool) -> tuple[Tensor, Extents | None]:
        """`encode_latents`, and the frames of each clip where lengths are given."""
        checked_encoder = self.encoder if check_values else None
        if lengths is None:
            audio = checked_audio(audio, checked_encoder)
            return self.encoder(self.encoder.whole_frames(audio))[..., : self.frame_count(audio.shape[-1])], None
        samples = batch_extents(checked_audio(audio), lengths, unit="samples")
        audio = checked_audio(samples.silence(audio), checked_encoder)
        return self.encoder.encode_clips(audio, samples)

    def decode(
        self,
        codes: Tensor,
        erased: Tensor | None = None,
        *,
        length: int | None = None,
        lengths: Lengths | None = None,
    ) -> Tensor:
        """Reconstruct audio from codes.

        Args:
            codes: int64 `[B, K, F]`, or any integers; a residual quantizer also takes its first codebooks alone.
            erased: bool `[B, K, F]`, True where a code was lost; its value is ignored.
            length: number of samples, at most F decoder hops; all of them by default.
            lengths: frames of each clip, 1 to F, where clips of unequal lengths share the batch (`frame_count`); what
                `codes` holds beyond has no effect. On the CPU or in a list, so that nothing waits for a GPU.

        Returns:
            float32 `[B, 1, length]` at `output_sample_rate`; each clip's samples are those that it has alone, up to
            rounding, and zeros beyond its frames.

        Raises:
            InvalidValue: another device than the decoder's, or see `codec.quantizers.codes.checked_codes` and
                `decode_latents`.
        """
        check_place(codes, self.decoder, name="codes")
        if lengths is not None:
            check_stages(codes, self.quantizer.codebook_sizes)
            frames = batch_extents(codes, lengths, unit="frames")
            codes, lengths = frames.silence(codes), frames.counts
        codes = checked_codes(codes, self.quantizer.codebook_sizes, erased)
        return self.decode_latents(self.quantizer.decode(codes, erased), length=length, lengths=lengths)

    def decode_latents(self, latents: Tensor, *, length: int | None = None, lengths: Lengths | None = None) -> Tensor:
        """Reconstruct audio `[B, 1, length]` from quantized latents `[B, D, F]`; `lengths` as of `decode`.

        Raises:
            InvalidValue: latents of another shape, a `length` below 1 or above F decoder hops, or `lengths` that do not
                fit the batch.
        """
        check_latents(latents, self.quantizer.dim, self.decoder.hop_length, length=length)
        if lengths is None:
            return self.decoder(latents)[..., :length]
        frames = batch_extents(latents, lengths, unit="frames")
        return self.decoder.decode_clips(frames.silence(latents), frames)[..., :length]

    def condition(self, latents: Tensor, bits: Tensor) -> Tensor:
        """Latents `[B, D, F]` for `decode_latents`, told how certain the received bits `[B, F, n]` are.

        They are the same for bits that are certain, or without `conditioning`.
        """
        return latents if self.conditioning is None else self.conditioning(latents, bits)

    def decode_stream(
        self,
        codes: Tensor | Iterable[Tensor],
        *,
        chunk: int = 10,
        before: int | None = None,
        after: int | None = None,
    ) -> DecodedStream:
        """Decode in chunks, as codes arrive; iterate over the result for audio `[B, 1, chunk * decoder hop]`.

        Args:
            codes: int64 `[B, K, F]`, or consecutive pieces of it with any numbers of frames, checked as they arrive.
            chunk: frames that are decoded at a time; the last chunk may be shorter.
            before: frames of context before a chunk; by default the decoder's receptive field, or 100 if unbounded.
            after: frames of look-ahead after a chunk; by default likewise, or 25.

        Returns:
            The stream; its `latency` is in seconds, and `is_exact` says whether it equals `decode`.

        Raises:
            InvalidValue: no frame in a chunk, context below 0, or codes that `decode` refuses.
        """
        return DecodedStream(
            self.quantizer, self.decoder, codes, frame_rate=self.frame_rate, chunk=chunk, before=before, after=after
        )

    def streaming_encoder(self, batch: int = 1) -> StreamingEncoder:
        """Encode live audio of `batch` streams in steps that compute nothing anew.

        Raises:
            InvalidValue: the encoder is not causal, or `batch` is below 1.
        """
        return StreamingEncoder(self.encoder, self.quantizer, batch=batch, sample_rate=self.sample_rate)

    def streaming_decoder(self, batch: int = 1) -> StreamingDecoder:
        """Decode codes, or latents, of `batch` streams as they arrive, in steps that compute nothing anew.

        Raises:
            InvalidValue: the decoder is not causal, or `batch` is below 1.
        """
        return StreamingDecoder(self.quantizer, self.decoder, batch=batch, sample_rate=self.output_sample_rate)

    def forward(
        self, audio: Tensor, transmit: Transmit | None = None, *, lengths: Lengths | None = None
    ) -> CodecOutput:
        """Encode and reconstruct `[B, 1, T]`; the output has `output_length(T)` samples.

        Args:
            audio: in [−1, 1].
            transmit: sends codes `[B, K, F]` over a channel and returns the latents received, `[B, D, F]`. The decoder
                gets these; their gradient passes straight through to the latents before the channel, and to what the
                received latents themselves depend on.
            lengths: samples of each clip, as of `encode`; the quantizer's loss counts the padding.
        """
        z_e, frames = self._latents(audio, lengths, check_values=False)
        z_q, codes, loss = self.quantizer(z_e)
        if transmit is not None:
            z_q = transmit(codes) + (z_q - z_q.detach())
        decoded = self.decoder(z_q) if frames is None else self.decoder.decode_clips(frames.silence(z_q), frames)
        length = self.output_length(audio.shape[-1])
        return CodecOutput(decoded[..., :length], silenced(codes, frames), z_e, z_q, loss)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "NeuralCodec":
        """Move the weights; conversion to another type than float32 (`half()`) is an InvalidValue."""
        refuse_other_types(fn, type(self).__name__)
        return super()._apply(fn, recurse)

    def output_length(self, length: int) -> int:
        """Samples at the output rate for `length` samples at the input rate, rounded up."""
        return -(-length * self.output_sample_rate // self.sample_rate)

    def frame_count(self, length: int) -> int:
        """Frames of `length` samples at the input rate, ⌈length / hop_length⌉."""
        return -(-length // self.hop_length)

    @property
    def device(self) -> torch.device:
        """Where the weights lie, or the tables of a codec without weights; the CPU where there is neither."""
        return next(chain(self.parameters(), self.buffers()), torch.zeros(())).device

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def bits_per_frame(self) -> int:
        """Bits of one frame's codewords, of all codebooks."""
        return sum(code_bits(self.quantizer.codebook_sizes))

    @property
    def bit_rate(self) -> float:
        """Bits per second."""
        return self.frame_rate * self.bits_per_frame
