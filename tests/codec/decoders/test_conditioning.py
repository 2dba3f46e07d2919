"""Conditioning on the channel: nothing where bits are certain, learned where they are not, kept in files."""

import pytest
import torch

from codec import (
    AWGNChannel,
    BinarySymmetricChannel,
    ChannelConditioning,
    InvalidValue,
    Link,
    NeuralCodec,
    PosteriorMean,
    load_codec,
    save_codec,
)
from tests.support.small_codec import small_codec
from tests.support.training import VoiceData, quiet_trainer, tiny_module, weights


def conditioning(**changes):
    torch.manual_seed(5)
    found = ChannelConditioning(**({"dim": 16, "bits": 8, "width": 12} | changes))
    torch.nn.init.normal_(found.outer.weight)
    return found


def told_codec(**changes):
    codec = small_codec()
    return NeuralCodec(codec.encoder, codec.quantizer, codec.decoder, conditioning=conditioning(**changes))


def test_certain_bits_change_nothing_and_uncertain_ones_do():
    part, latents = conditioning(), torch.randn(2, 16, 5)
    certain = torch.randint(2, (2, 5, 8))
    for bits in (certain.to(torch.uint8), certain.float()):
        assert torch.equal(part(latents, bits), latents)
    received = certain.float().clamp(0.1, 0.9)
    received[1, 3] = 0.5
    told = part(latents, received) - latents
    u = torch.full((8,), 0.2)
    by_hand = part.outer.weight @ torch.nn.functional.gelu(part.inner.weight @ u)
    torch.testing.assert_close(told[0, :, 0], by_hand, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(told[1, :, 3], part.outer.weight @ torch.nn.functional.gelu(part.inner.weight.sum(1)))


def test_a_new_part_is_silent():
    part = ChannelConditioning(16, 8)
    assert torch.equal(part(torch.ones(1, 16, 3), torch.full((1, 3, 8), 0.5)), torch.ones(1, 16, 3))


def test_other_widths_are_refused():
    for wrong in ({"dim": 8}, {"bits": 16}):
        with pytest.raises(InvalidValue, match="conditioning"):
            told_codec(**wrong)
    with pytest.raises(InvalidValue, match="at least 1"):
        ChannelConditioning(16, 0)


def test_a_file_keeps_it(tmp_path):
    codec = told_codec()
    save_codec(codec, tmp_path / "told.safetensors")
    loaded = load_codec(tmp_path / "told.safetensors")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in codec.state_dict().items())
    received = torch.rand(1, 5, 8)
    latents = torch.randn(1, 16, 5)
    assert torch.equal(loaded.condition(latents, received), codec.condition(latents, received))
    assert torch.equal(small_codec().condition(latents, received), latents)


def module(channel, **changes):
    trained = tiny_module(channel=channel, link=Link(concealment=PosteriorMean()), **changes)
    trained.codec.conditioning = ChannelConditioning(16, 8, width=4)
    return trained


@pytest.mark.parametrize("at", [1, 3])
def test_it_learns_from_soft_decisions_and_resumes_exactly(tmp_path, at):
    soft = AWGNChannel(0.0, soft=True)
    whole = module(soft)
    quiet_trainer(max_steps=4).fit(whole, VoiceData())
    assert weights(whole)["codec.conditioning.outer.weight"].abs().max() > 0
    begun = module(soft)
    trainer = quiet_trainer(max_steps=at)
    trainer.fit(begun, VoiceData())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = module(soft)
    quiet_trainer(max_steps=4).fit(resumed, VoiceData(), ckpt_path=tmp_path / "last.ckpt")
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_hard_decisions_of_unknown_quality_teach_it_nothing():
    trained = module(BinarySymmetricChannel(0.2))
    with pytest.warns(UserWarning, match="learns nothing from hard decisions"):
        quiet_trainer(max_steps=2).fit(trained, VoiceData())
    assert weights(trained)["codec.conditioning.outer.weight"].abs().max() == 0


def test_without_a_channel_it_is_refused():
    from codec import CodecModule

    with pytest.raises(InvalidValue, match="without a channel"):
        CodecModule(told_codec())
    CodecModule(told_codec(), frozen_parts=["conditioning"])
