"""Student encoders: shapes, causality, windows of attention, response normalization, HuBERT at random weights."""

import sys

import pytest
import torch
from torch import nn

from codec.encoders.base import Encoder
from codec.encoders.l3ac import StudentEncoder
from codec.encoders.semantic import FusedEncoder, HubertEncoder
from codec.encoders.spectral import MelEncoder
from codec.errors import MissingDependency
from codec.layers.attention import LocalAttention, rotary
from codec.layers.l3ac import PaddedConv, ResponseNorm
from tests.support.building import build


def student(*, causal: bool = False, window: int = 3) -> StudentEncoder:
    torch.manual_seed(0)
    encoder = StudentEncoder(
        12, (4, 6, 8, 12), depths=(1, 1, 1, 1), attention_depth=2, heads=2, window=window, causal=causal
    )
    for norm in (m for m in encoder.modules() if isinstance(m, ResponseNorm)):  # zero at the start: would not be seen
        nn.init.normal_(norm.gamma)
        nn.init.normal_(norm.beta)
    return encoder.eval()


def hubert(**changes) -> HubertEncoder:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    return HubertEncoder(**{"layers": 1, "width": 16, "heads": 2, "channels": 8} | changes)


@pytest.mark.parametrize("make", [
    student,
    lambda: student(causal=True),
    lambda: MelEncoder(12, 320, bands=20, width=8, depth=1),
    lambda: MelEncoder(12, 160, bands=20, width=8, depth=0, expansion=2, window=4),
    lambda: FusedEncoder(MelEncoder(8, 320, bands=20, width=8), student(), dim=12),
    lambda: FusedEncoder(student(), hubert(), dim=12),
])  # fmt: skip
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_one_latent_per_hop(make, frames):
    encoder = make()
    latents = encoder(0.1 * torch.randn(2, 1, frames * encoder.hop_length))
    assert latents.shape == (2, encoder.dim, frames)
    assert latents.isfinite().all()


def test_strides_multiply_to_the_hop():
    assert student().hop_length == 320
    encoder = StudentEncoder(8, (4, 4), strides=(3,), depths=(1, 1), attention_stride=2, attention_depth=1, heads=2)
    assert encoder.hop_length == 6
    with pytest.raises(ValueError, match="4 widths and 1 depths must each be one more than the 3 strides"):
        StudentEncoder(8, depths=(1,))


@pytest.mark.parametrize("at", [0, 1, 500, 1600, 2239])
def test_the_causal_student_does_not_see_the_future(at):
    encoder = student(causal=True).double()
    audio = 0.1 * torch.randn(1, 1, 7 * 320, dtype=torch.double)
    changed = audio.clone()
    changed[..., at:] += torch.randn(1, 1, audio.shape[-1] - at, dtype=torch.double)
    before, after = encoder(audio), encoder(changed)
    frame = at // 320
    assert torch.equal(before[..., :frame], after[..., :frame])
    assert not torch.isclose(before[..., frame:], after[..., frame:]).all(dim=1).any()  # and every later frame does


def test_the_bidirectional_student_sees_the_future():
    encoder = student().double()
    audio = 0.1 * torch.randn(1, 1, 7 * 320, dtype=torch.double)
    changed = audio.clone()
    changed[..., 3 * 320 :] = 0
    assert not torch.isclose(encoder(audio)[..., 2], encoder(changed)[..., 2]).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("frames", [1, 3, 8, 9, 20])
def test_local_attention_is_full_attention_with_a_band(causal, frames):
    torch.manual_seed(0)
    local = LocalAttention(8, 2, window=3, causal=causal).double()
    x = torch.randn(2, frames, 8, dtype=torch.double)
    q, k, v = local.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    q, k = rotary(q), rotary(k)
    gap = torch.arange(frames)[:, None] - torch.arange(frames)
    band = (gap <= 3) & (gap >= (0 if causal else -3))
    weights = (q @ k.transpose(-1, -2) / 2).masked_fill(~band, float("-inf")).softmax(-1)
    expected = local.out((weights @ v).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(local(x), expected)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(local(x).sum(), x)
    assert gradient.isfinite().all()


def test_attention_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="10 channels must be a multiple of 2 x heads \\(8\\)"):
        LocalAttention(10, 4, window=5)


def test_response_norm_is_the_papers():
    norm = ResponseNorm(3)
    x = torch.randn(2, 3, 50)
    assert torch.equal(norm(x), x)
    norm.gamma.data.fill_(2.0)
    norm.beta.data.fill_(1.0)
    magnitude = x.norm(dim=-1, keepdim=True)
    expected = x + 2 * x * magnitude / magnitude.mean(1, keepdim=True) + 1
    torch.testing.assert_close(norm(x), expected, atol=1e-4, rtol=1e-4)
    causal = ResponseNorm(3, causal=True)
    causal.gamma.data.fill_(2.0)
    causal.beta.data.fill_(1.0)
    torch.testing.assert_close(causal(x)[..., -1], norm(x)[..., -1])
    torch.testing.assert_close(causal(x)[..., 9], norm(x[..., :10])[..., 9])


def test_padded_convolutions_keep_whole_frames():
    for kernel, stride in ((7, 1), (8, 4), (10, 5), (4, 4)):
        for causal in (False, True):
            conv = PaddedConv(1, 2, kernel=kernel, stride=stride, causal=causal)
            assert conv(torch.randn(1, 1, 6 * stride)).shape == (1, 2, 6)


def test_sizes_come_from_the_configuration():
    pytest.importorskip("transformers")
    block = {
        "class_path": "codec.FusedEncoder",
        "init_args": {
            "dim": 24,
            "acoustic": {
                "class_path": "codec.encoders.l3ac.StudentEncoder",
                "init_args": {"dim": 8, "causal": True},
            },
            "semantic": {
                "class_path": "codec.HubertEncoder",
                "init_args": {"layers": 1, "width": 16, "heads": 2, "channels": 8},
            },
        },
    }
    encoder = build(block, Encoder)
    assert encoder.project.in_channels == 8 + 16
    assert encoder.acoustic.convolutions[0].padding == (6, 0)


def test_distilhubert_is_the_default_size():
    pytest.importorskip("transformers")
    with torch.device("meta"):
        encoder = HubertEncoder()
    assert encoder.dim == 768
    assert 23e6 < sum(p.numel() for p in encoder.parameters()) < 24e6


def test_hubert_trains_without_masking_its_input():
    encoder = hubert().train()
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    audio = 0.1 * torch.randn(1, 1, 320 * 20)
    first, second = encoder(audio), encoder(audio)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)
    first.sum().backward()
    assert all(p.grad is not None for n, p in encoder.named_parameters() if "masked_spec_embed" not in n)


def test_hubert_takes_weights_from_a_folder_of_its_sizes(tmp_path):
    source = hubert()
    source.model.save_pretrained(tmp_path)
    torch.manual_seed(5)
    loaded = hubert(pretrained=str(tmp_path)).eval()
    audio = 0.1 * torch.randn(1, 1, 3200)
    torch.testing.assert_close(loaded(audio), source.eval()(audio))
    with pytest.raises(ValueError, match="hidden_size 16 there and 32 here"):
        hubert(pretrained=str(tmp_path), width=32)


def test_hubert_without_transformers_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependency, match=r"needs the transformers package: pip install '\.\[hf\]'"):
        HubertEncoder()


def test_different_hops_are_refused():
    with pytest.raises(ValueError, match="hops 160 and 320"):
        FusedEncoder(MelEncoder(8, 160, bands=20), student())
