"""Codecs of other packages through the adapter: a toy of ten lines, and SNAC where it is installed."""

import numpy as np
import pytest
import torch

from callbacks.analysis.cost import codec_costs
from codec import (
    BinarySwitchingMap,
    BinarySymmetricChannel,
    ConvolutionalCode,
    ExternalCodec,
    FrameErasureChannel,
    GrayMap,
    InterpolatedLatent,
    Link,
    PermutedMap,
    PosteriorMean,
    RepeatLast,
)
from codec.channels.receiving.priors import CodeCounts, CodePrior
from codec.errors import InvalidValue
from codec.hub.external import split_rates, stack_rates
from codec.quantizers.codes import code_bits


class Levels(ExternalCodec):
    """Each frame's mean and its half-frames' deviations, in uniform steps: 256 x 16 levels."""

    def __init__(self, hop_length: int = 4) -> None:
        super().__init__(torch.nn.Linear(2, 3), sample_rate=16_000, hop_length=hop_length, codebook_sizes=[256, 16])

    def audio_to_codes(self, audio):
        frames = audio.unflatten(-1, (-1, self.hop_length))  # [B, 1, F, hop]
        mean, half = frames.mean(-1), frames[..., : self.hop_length // 2].mean(-1)
        steps = [(mean + 1) * 127.5, (half - mean + 1) * 7.5]
        return torch.cat([part.round().clamp(0, top) for part, top in zip(steps, (255, 15), strict=True)], 1).long()

    def codes_to_audio(self, codes):
        mean, deviation = codes[:, :1] / 127.5 - 1, codes[:, 1:] / 7.5 - 1
        halves = torch.stack([mean + deviation, mean - deviation], -1)  # [B, 1, F, 2]
        return halves.repeat_interleave(self.hop_length // 2, -1).flatten(-2)


@pytest.fixture
def codec():
    return Levels()


def noise(length, batch=1):
    return 0.4 * torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(length)).clamp(-2, 2)


def received(codec, codes, channel, **link):
    connection = Link(**link).connect(codec.quantizer)
    return connection.transmit(codes, channel, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("length", [1, 3, 4, 5, 401])
def test_codes_and_audio_are_those_of_the_two_functions(codec, length):
    audio = noise(length, batch=2)
    padded = torch.nn.functional.pad(audio, (0, -length % 4))
    codes = codec.encode(audio)
    assert (codes.dtype, codes.shape) == (torch.int64, (2, 2, -(-length // 4)))
    assert torch.equal(codes, codec.audio_to_codes(padded))
    decoded = codec.decode(codes, length=length)
    assert torch.equal(decoded, codec.codes_to_audio(codes)[..., :length])
    output = codec(audio)
    assert torch.equal(output.audio, decoded)
    assert torch.equal(output.codes, codes)
    assert codec.bit_rate == 4000 * 12


def test_an_undamaged_channel_changes_nothing(codec, tmp_path):
    codes = codec.encode(noise(400))
    clean = codec.decode(codes)
    counts = CodeCounts(codec.quantizer.digits)
    counts.add(codes)
    counts.save(tmp_path / "prior.npz")
    for link in (
        {}, {"index_map": GrayMap()}, {"index_map": PermutedMap()}, {"concealment": RepeatLast()},
        {"concealment": PosteriorMean()}, {"code": ConvolutionalCode(), "interleave": 2},
        {"concealment": PosteriorMean(), "code": ConvolutionalCode()},
        {"concealment": PosteriorMean(), "prior": CodePrior(tmp_path / "prior.npz")},
    ):  # fmt: skip
        assert torch.equal(codec.decode_latents(received(codec, codes, BinarySymmetricChannel(0.0), **link)), clean)


def test_a_prior_fills_a_lost_code_with_the_most_likely_one(codec, tmp_path):
    codes = torch.tensor([[[7, 7, 7, 9], [3, 3, 2, 2]]])
    counts = CodeCounts(codec.quantizer.digits)
    counts.add(codes)
    counts.save(tmp_path / "prior.npz")
    connection = Link(prior=CodePrior(tmp_path / "prior.npz")).connect(codec.quantizer)
    latents = connection.decode(codes, torch.tensor([[[False, False, False, True], [True, False, False, False]]]))
    assert latents.tolist() == [[[7, 7, 7, 7], [-1, 3, 2, 2]]]  # of the second codebook, two are equally likely


def test_flipped_bits_reach_the_codec_as_other_codes(codec):
    codes = codec.encode(noise(4000))
    latents = received(codec, codes, BinarySymmetricChannel(0.1))
    changed = (latents != codes).float().mean((0, 2))
    expected = [1 - 0.9**bits for bits in code_bits(codec.quantizer.codebook_sizes)]
    assert changed.tolist() == pytest.approx(expected, abs=0.05)
    assert torch.equal(codec.decode_latents(latents), codec.codes_to_audio(latents.long()))


def test_a_lost_frame_repeats_the_one_before(codec):
    codes = torch.arange(1, 13).reshape(1, 2, 6)
    erased = torch.tensor([[[True, False, True, True, False, True], [False, False, True, False, True, True]]])
    expected = torch.tensor([[[2, 2, 2, 2, 5, 5], [7, 8, 8, 10, 10, 10]]])
    assert torch.equal(codec.decode(codes, erased), codec.codes_to_audio(expected))
    everything = torch.ones_like(erased)
    assert torch.equal(codec.decode(codes, everything), codec.codes_to_audio(torch.zeros_like(codes)))


def test_losses_of_a_channel_are_concealed_by_the_codec_itself(codec):
    codes = codec.encode(noise(400))
    latents = received(codec, codes, FrameErasureChannel(0.3))
    lost = latents < 0
    assert 0.1 < lost.float().mean() < 0.5
    assert torch.equal(latents[~lost], codes[~lost].float())

    class Mute(Levels):
        def received_to_audio(self, codes, erased):
            return self.codes_to_audio(codes) * ~erased.any(1, keepdim=True).repeat_interleave(4, -1)

    muted = Mute().decode_latents(latents)
    assert (muted[lost.any(1, keepdim=True).repeat_interleave(4, -1)] == 0).all()
    assert not torch.equal(muted, codec.decode_latents(latents))


def test_posterior_mean_decides_for_the_most_likely_code(codec):
    connection = Link(concealment=PosteriorMean()).connect(codec.quantizer)
    bits = torch.tensor([[[0.9] * 8 + [0.4] * 4, [0.9] * 7 + [0.5] + [0.6, 0.1, 0.1, 0.9]]])
    latents = connection.latents(connection.receive(bits))
    assert latents.tolist() == [[[255, -1], [0, 9]]]  # a lost bit leaves two codes equally likely


@pytest.mark.parametrize("link", [
    {"concealment": InterpolatedLatent()}, {"index_map": BinarySwitchingMap()},
    {"code": ConvolutionalCode(), "protected_bits": 4},
])  # fmt: skip
def test_what_needs_latents_says_so(codec, link):
    with pytest.raises(InvalidValue, match="an external codec has none"):
        Link(**link).connect(codec.quantizer)


class Wrong(Levels):
    def __init__(self, codes, audio=None):
        super().__init__()
        self.given = codes, audio

    def audio_to_codes(self, audio):
        return self.given[0]

    def codes_to_audio(self, codes):
        return self.given[1]


@pytest.mark.parametrize("codes", [
    torch.zeros(1, 2, 9).long(), torch.zeros(1, 3, 10).long(), torch.zeros(2, 10).long(), torch.zeros(1, 2, 10),
    torch.full((1, 2, 10), 16), torch.full((1, 2, 10), -1),
], ids=["short", "codebooks", "dimensions", "float", "large", "negative"])  # fmt: skip
def test_wrong_codes_of_a_subclass_are_told(codes):
    with pytest.raises(InvalidValue, match="codes"):
        Wrong(codes).encode(noise(40))
    with pytest.raises(InvalidValue, match=r"decoded audio of shape \[2, 3\]"):
        Wrong(codes, torch.zeros(2, 3)).decode(torch.zeros(1, 2, 10).long())


@pytest.mark.parametrize("returned", [
    None, (torch.zeros(1, 2, 10).long(),), np.zeros((1, 2, 10), dtype=int),
], ids=["none", "tuple", "array"])  # fmt: skip
def test_what_is_no_tensor_is_told(returned):
    with pytest.raises(InvalidValue, match=r"audio_to_codes .* must be a torch\.Tensor"):
        Wrong(returned).encode(noise(40))
    with pytest.raises(InvalidValue, match=r"must be a torch\.Tensor"):
        Wrong(None, returned).decode(torch.zeros(1, 2, 10).long())


@pytest.mark.parametrize("audio", [
    torch.full((1, 1, 40), torch.nan), torch.ones(1, 1, 40).short(), torch.ones(1, 1, 40, dtype=torch.complex64),
], ids=["nan", "integers", "complex"])  # fmt: skip
def test_audio_that_is_none_is_told(audio):
    with pytest.raises(InvalidValue, match="must be finite and floating point"):
        Wrong(None, audio).decode(torch.zeros(1, 2, 10).long())


@pytest.mark.parametrize(("arguments", "word"), [
    ({"hop_length": 0}, "hop_length"), ({"codebook_sizes": [2**25]}, "codebook_sizes"), ({"codebook_sizes": [1]}, "2"),
    ({"output_hop_length": 0}, "output_hop_length"), ({"sample_rate": 1.5}, "sample_rate"),
])  # fmt: skip
def test_arguments_out_of_range_are_refused(arguments, word):
    class Bare(ExternalCodec):
        audio_to_codes = codes_to_audio = None

    with pytest.raises(InvalidValue, match=word):
        Bare(**{"sample_rate": 16_000, "hop_length": 4, "codebook_sizes": [4]} | arguments)


def test_another_output_rate_and_samples_short_or_over():
    class Double(Levels):
        def __init__(self):
            ExternalCodec.__init__(
                self, sample_rate=16_000, hop_length=4, codebook_sizes=[256, 16], output_hop_length=8
            )

        def codes_to_audio(self, codes):
            return torch.ones(1, 1, 8 * codes.shape[-1] - 3)

    codec = Double()
    assert codec.output_sample_rate == 32_000
    decoded = codec.decode(codec.encode(noise(12)))
    assert decoded.tolist() == [[[1.0] * 21 + [0.0] * 3]]


def test_a_decoder_that_draws_noise_gives_the_same_in_any_batch(codec):
    class Noisy(Levels):
        def codes_to_audio(self, codes):
            return super().codes_to_audio(codes) + torch.randn(1, 1, 4 * codes.shape[-1])

    noisy, codes = Noisy(), codec.encode(noise(40, batch=3))
    state = torch.get_rng_state()
    together = noisy.decode(codes)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(together[2:], noisy.decode(codes[2:]))
    assert not torch.equal(together, codec.decode(codes))


def test_it_stays_frozen_and_in_evaluation_mode(codec):
    assert not codec.train().training
    assert not codec.model.training
    assert not any(parameter.requires_grad for parameter in codec.parameters())


def test_cost_counts_the_shared_model_once(codec):
    costs = {cost.part: cost for cost in codec_costs({"levels": codec}, seconds=0.1, repeats=2)}
    assert [costs[part].parameters for part in ("encoder", "quantizer", "decoder", "codec")] == [9, 0, 9, 9]
    assert all(cost.real_time_factor > 0 for cost in costs.values())
    assert all(cost.macs_per_second != cost.macs_per_second for cost in costs.values())  # NaN


def test_rates_are_stacked_and_split():
    streams = [torch.tensor([[1, 2]]), torch.tensor([[3, 4, 5, 6]]), torch.arange(8)[None]]
    codes = stack_rates(streams)
    assert codes.tolist() == [[[1, 2], [3, 5], [4, 6], [0, 4], [1, 5], [2, 6], [3, 7]]]
    assert [part.tolist() for part in split_rates(codes, [1, 2, 4])] == [part.tolist() for part in streams]
    with pytest.raises(InvalidValue, match="multiples"):
        stack_rates([torch.zeros(1, 2), torch.zeros(1, 5)])


def test_snac_by_the_adapter_gives_its_own_codes_and_audio():
    snac = pytest.importorskip("snac")
    torch.manual_seed(0)
    model = snac.SNAC(
        sampling_rate=24_000, encoder_dim=4, encoder_rates=[2, 4, 8, 8], decoder_dim=32, decoder_rates=[8, 8, 4, 2],
        attn_window_size=None, codebook_size=64, vq_strides=[4, 2, 1], noise=False,
    ).eval()  # fmt: skip
    codec = SNAC(model)
    audio = noise(10_000)
    with torch.no_grad():
        own = model.encode(audio)
        decoded = model.decode(own)
    codes = codec.encode(audio)
    assert codes.shape == (1, 7, 5)
    assert [part.tolist() for part in split_rates(codes, [1, 2, 4])] == [part.tolist() for part in own]
    torch.testing.assert_close(codec.decode(codes), decoded[..., : 5 * 2048])


class SNAC(ExternalCodec):
    def __init__(self, model):
        super().__init__(model, sample_rate=24_000, hop_length=2048, codebook_sizes=[model.codebook_size] * 7)

    def audio_to_codes(self, audio):
        return stack_rates(self.model.encode(audio))

    def codes_to_audio(self, codes):
        return self.model.decode(split_rates(codes, [1, 2, 4]))
