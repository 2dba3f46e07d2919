"""Batches of clips of unequal lengths: no part lets padding change a clip's latents, codes or audio."""

import pytest
import torch
from torch import nn

from codec import (
    BSQ,
    FSQ,
    RVQ,
    AcousticEncoder,
    ConvNeXtBackbone,
    Decoder,
    EMACodebook,
    Encoder,
    FusedEncoder,
    HubertEncoder,
    InvalidValue,
    LearnedCodebook,
    MelEncoder,
    NeuralCodec,
    ResidualFSQ,
    SpectralEncoder,
    StudentEncoder,
    TransformerBackbone,
    VocosDecoder,
    W2VBertEncoder,
)
from codec.layers.extents import Extents, run_padded
from tests.support.small_codec import small_codec
from tests.support.synchronisations import Synchronisations
from tests.support.unequal import check_alone, padded_batch

HOP = 40
LENGTHS = [900, 4000, 40, 1, 2222, 4000, 1999, 3999, 333]
STUDENT = dict(strides=(2, 4), depths=(1, 1, 2), attention_stride=5, attention_depth=2, heads=2, window=7)
SPECTRAL = dict(width=8, depth=1)


class Recurrent(Encoder):
    """A part of another's making, which looks at the whole clip."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.hop_length = 16, HOP
        self.network = nn.GRU(HOP, 8, bidirectional=True, batch_first=True)

    def forward(self, audio):
        return self.network(audio.unflatten(-1, (-1, HOP))[:, 0])[0].transpose(1, 2)


class Summed(Decoder):
    """Its every sample depends on all frames, and on how many there are."""

    dim, hop_length = 16, HOP

    def forward(self, latents):
        return latents[:, :1].repeat_interleave(HOP, -1) + latents.std((1, 2), keepdim=True)


ENCODERS = {
    "spectral": lambda: SpectralEncoder(16, HOP, width=8, depth=2),
    "causal spectral": lambda: SpectralEncoder(16, HOP, width=8, depth=2, causal=True),
    "wide window": lambda: SpectralEncoder(16, HOP, width=8, depth=1, window=4),
    "mel": lambda: MelEncoder(16, HOP, bands=10, width=8, depth=1, sample_rate=8_000),
    "acoustic": lambda: AcousticEncoder(16, 4, strides=(2, 4, 5), dilations=(1, 3)),
    "without filters": lambda: AcousticEncoder(16, 4, strides=(5, 8), anti_aliased=False),
    "student": lambda: StudentEncoder(16, (4, 8, 8), **STUDENT),
    "causal student": lambda: StudentEncoder(16, (4, 8, 8), **STUDENT, causal=True),
    "fused": lambda: FusedEncoder(
        AcousticEncoder(8, 4, strides=(5, 8)), StudentEncoder(8, (4, 8, 8), **STUDENT), dim=16
    ),
    "recurrent": Recurrent,
}
DECODERS = {
    "convnext": lambda: VocosDecoder(ConvNeXtBackbone(16, 16, depth=2), HOP),
    "causal convnext": lambda: VocosDecoder(ConvNeXtBackbone(16, 16, depth=2, causal=True), HOP),
    "four spectra a frame": lambda: VocosDecoder(ConvNeXtBackbone(16, 16, depth=2), HOP, spectra=4),
    "at a higher rate": lambda: VocosDecoder(ConvNeXtBackbone(16, 16, depth=1), 60, window=3),
    "transformer": lambda: VocosDecoder(TransformerBackbone(16, 128, depth=2, heads=4), HOP),
    "without positions": lambda: VocosDecoder(TransformerBackbone(16, 128, depth=1, heads=4, positions=False), HOP),
    "causal transformer": lambda: VocosDecoder(
        TransformerBackbone(16, 256, depth=2, heads=4, causal=True, window=5), HOP
    ),
    "all frames": Summed,
}
QUANTIZERS = {
    "fsq": lambda: FSQ(16, (4, 5, 3)),
    "bsq": lambda: BSQ(16, 6),
    "rvq": lambda: RVQ(16, [LearnedCodebook(16, 4), EMACodebook(16, 4), LearnedCodebook(16, 4)]),
    "residual fsq": lambda: ResidualFSQ(16, (4, 4), stages=2),
}


def codec_of(encoder, quantizer, decoder):
    """With learned scales as after training, so that every layer takes part."""
    torch.manual_seed(0)
    codec = NeuralCodec(encoder(), quantizer(), decoder(), sample_rate=8_000).eval()
    with torch.no_grad():
        for name, parameter in codec.named_parameters():
            if name.endswith(("scale", "gamma")):
                parameter.fill_(0.5)
    return codec


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_encoders(encoder):
    check_alone(codec_of(encoder, QUANTIZERS["fsq"], DECODERS["convnext"]), LENGTHS, spare=123)


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_decoders(decoder):
    check_alone(codec_of(ENCODERS["spectral"], QUANTIZERS["fsq"], decoder), LENGTHS)


@pytest.mark.parametrize("quantizer", QUANTIZERS.values(), ids=QUANTIZERS)
def test_quantizers(quantizer):
    check_alone(codec_of(ENCODERS["spectral"], quantizer, DECODERS["convnext"]), LENGTHS, spare=1)


@pytest.mark.parametrize("edge", [0, 160])
def test_semantic_encoders(edge):
    pytest.importorskip("transformers")
    config = dict(hidden_size=32, num_attention_heads=2, intermediate_size=48, output_hidden_size=32)
    torch.manual_seed(1)
    semantic = W2VBertEncoder(layers=2, config=config, edge_padding=edge)
    assert semantic.takes_extents
    encoder = FusedEncoder(AcousticEncoder(8, 2), semantic, dim=16)
    decoder = VocosDecoder(ConvNeXtBackbone(16, 16, depth=1), 320)
    codec = NeuralCodec(encoder, FSQ(16, (4, 4, 4)), decoder).eval()
    check_alone(codec, [16_000, 5_000, 320, 31_999, 9_601])


def test_hubert_runs_on_clips_of_one_length():
    """Its first layer is normalised over time."""
    pytest.importorskip("transformers")
    torch.manual_seed(1)
    encoder = HubertEncoder(layers=1, width=16, heads=2, channels=8)
    assert not encoder.takes_extents and encoder.receptive_field is None
    decoder = VocosDecoder(ConvNeXtBackbone(16, 16, depth=1), 320)
    check_alone(NeuralCodec(encoder, FSQ(16, (4, 4)), decoder).eval(), [16_000, 5_000, 5_000, 320])


def test_published_codecs_run_on_clips_of_one_length():
    pytest.importorskip("transformers")
    from codec.hub.transformers_codec import TransformersCodec
    from tests.codec.hub.test_transformers_codec import CONFIGS, HOPS, small_model

    for family in CONFIGS:
        codec, hop = TransformersCodec.wrap(small_model(family)), HOPS[family]
        check_alone(codec, [5 * hop, 3 * hop + 7, 5 * hop - 1, 3 * hop + 7])


def test_a_bounded_encoder_runs_on_the_whole_batch_and_on_the_ends():
    """Two passes, not one for each clip; clips shorter than what is run again pass with those of their length."""
    codec, passes = codec_of(ENCODERS["spectral"], QUANTIZERS["fsq"], DECODERS["convnext"]), []
    before, after = codec.encoder.receptive_field
    codec.encoder.register_forward_hook(lambda module, inputs, output: passes.append(tuple(output.shape)))
    lengths = [HOP * frames for frames in (50, 60, 70, 80)]
    codec.encode(padded_batch(lengths), lengths)
    assert passes == [(4, 16, 80), (3, 16, before + after)]
    passes.clear()
    codec.encode(padded_batch([400, 2000, 400]), [400, 2000, 400])
    assert passes == [(3, 16, 50), (2, 16, 10)]
    passes.clear()
    codec.encode(padded_batch([400, 400]), [400, 361])
    assert passes == [(2, 16, 10)], "the last frame is filled with silence"


@pytest.mark.parametrize("lengths", [[10, 4, 4, 9], [9, 9, 9, 9], torch.tensor([1, 2, 3, 10])])
def test_lengths_may_be_a_list_or_a_tensor(lengths):
    codec = small_codec()
    codes = torch.zeros(4, 1, 10, dtype=torch.long)
    audio = codec.decode(codes, lengths=lengths)
    ends = [int(end) * 160 for end in lengths]
    assert [int(clip.abs().nonzero()[-1, 1]) + 1 for clip in audio] == ends
    assert codec.decode(codes, lengths=lengths, length=77).shape == (4, 1, 77)


def test_erased_codes_beyond_the_end_do_not_matter():
    codec = small_codec()
    codes = torch.randint(codec.quantizer.codebook_sizes[0], (2, 1, 30))
    erased = torch.rand(2, 1, 30) < 0.3
    audio = codec.decode(codes, erased, lengths=[30, 20])
    erased[1, :, 20:] = True
    assert torch.equal(codec.decode(codes, erased, lengths=[30, 20]), audio)


@pytest.mark.parametrize(
    "lengths", [[100], [100, 0], [100, 3201], [100, 1.5], torch.ones(2), torch.ones(2, 1).long(), torch.ones(2).bool()]
)
def test_lengths_that_do_not_fit_are_refused(lengths):
    codec = small_codec()
    with pytest.raises(InvalidValue, match="lengths"):
        codec.encode(torch.zeros(2, 1, 3200), lengths)
    with pytest.raises(InvalidValue, match="lengths"):
        codec.decode(torch.zeros(2, 1, 20, dtype=torch.long), lengths=lengths)


def test_lengths_in_place_of_erased_codes_are_told():
    with pytest.raises(InvalidValue, match=r"decode\(codes, lengths=...\)"):
        small_codec().decode(torch.zeros(2, 1, 20, dtype=torch.long), [20, 3])


def test_a_number_is_no_list_of_lengths():
    with pytest.raises(InvalidValue, match="lengths"):
        small_codec().encode(torch.zeros(2, 1, 3200), 3200)


def test_noise_beyond_the_end_is_not_heard_in_the_check_of_levels():
    codec = small_codec()
    audio = torch.zeros(2, 1, 1600)
    audio[1, 0, 900:] = 32_768.0
    codec.encode(audio, [1600, 900])
    with pytest.raises(InvalidValue, match="peak"):
        codec.encode(audio, [1600, 901])


def test_latents_of_a_batch_have_gradients():
    codec = small_codec()
    audio = padded_batch([1600, 900]).nan_to_num().requires_grad_()
    latents = codec.encode_latents(audio, [1600, 900], check_values=False)
    latents.square().sum().backward()
    assert audio.grad[1, :, :900].any() and not audio.grad[1, :, 900:].any()


@pytest.mark.parametrize("encoder", ["spectral", "acoustic", "student"])
@pytest.mark.parametrize("decoder", ["convnext", "transformer"])
def test_no_pass_waits_for_a_gpu(encoder, decoder):
    codec = codec_of(ENCODERS[encoder], QUANTIZERS["fsq"], DECODERS[decoder])
    audio = padded_batch(LENGTHS).nan_to_num()
    with torch.no_grad(), Synchronisations() as noted:
        latents = codec.encode_latents(audio, LENGTHS, check_values=False)
        codec.decode_latents(latents, lengths=[codec.frame_count(length) for length in LENGTHS])
    assert not noted.found


def test_extents_at_a_lower_rate():
    extents = Extents.of([4, 8], 8, torch.device("cpu")).strided(2)
    assert extents.counts == (2, 4)
    assert extents.outside.tolist() == [[False, False, True, True], [False] * 4]


def test_a_part_that_masks_is_run_once():
    backbone = TransformerBackbone(16, 128, depth=1, heads=4).eval()
    passes = []
    backbone.register_forward_hook(lambda module, inputs, output: passes.append(output.shape))
    run_padded(backbone, torch.randn(3, 16, 20), [20, 5, 7], time=1)
    assert passes == [(3, 20, 128)]


@torch.no_grad()
def test_a_forward_pass_is_an_encoding_and_a_decoding():
    codec = codec_of(ENCODERS["student"], QUANTIZERS["rvq"], DECODERS["transformer"])
    audio = padded_batch(LENGTHS, spare=77)
    output = codec(audio, lengths=LENGTHS)
    frames = [codec.frame_count(length) for length in LENGTHS]
    assert torch.equal(output.codes, codec.encode(audio, LENGTHS))
    torch.testing.assert_close(output.audio, codec.decode(output.codes, lengths=frames, length=4077), atol=1e-5, rtol=0)
