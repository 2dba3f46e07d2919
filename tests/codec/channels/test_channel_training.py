"""Training through a channel: what the decoder gets, how gradients pass, reproducible draws."""

import pytest
import torch

from codec import (
    RVQ,
    AWGNChannel,
    BinarySwitchingMap,
    BinarySymmetricChannel,
    EMACodebook,
    FrameErasureChannel,
    LearnedCodebook,
    Link,
    PosteriorMean,
    RepeatLast,
)
from tests.support.small_codec import small_codec
from tests.support.training import VoiceData, quiet_trainer, sgd, tiny_module, voice, weights


def test_a_clean_channel_trains_as_no_channel_does():
    runs = []
    for channel in (None, BinarySymmetricChannel(0.0)):
        module = tiny_module(optimizer=sgd, channel=channel)
        quiet_trainer(max_steps=3).fit(module, VoiceData())
        runs.append(weights(module))
    for name, value in runs[0].items():
        torch.testing.assert_close(value, runs[1][name], atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_the_decoder_hears_the_damage_and_the_encoder_gets_its_gradient_straight_through():
    codec = small_codec()
    heard, wanted = [], torch.randn(2, 16, 12)
    codec.decoder.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    output = codec(voice(0, size=2), lambda codes: wanted)
    torch.testing.assert_close(heard[0], wanted)
    output.z_e.retain_grad()
    heard[0].retain_grad()
    output.audio.square().sum().backward()
    # The quantizer projects to four dimensions, so compare with the same gradient sent through it alone.
    z_e = output.z_e.detach().requires_grad_()
    codec.quantizer(z_e).latents.backward(heard[0].grad)
    torch.testing.assert_close(output.z_e.grad, z_e.grad)
    assert z_e.grad.abs().sum() > 0


@pytest.mark.parametrize(("channel", "link"), [
    (BinarySymmetricChannel(0.3), None),
    (FrameErasureChannel(0.5), Link(concealment=RepeatLast())),
    (AWGNChannel(0.0, soft=True), Link(concealment=PosteriorMean())),
])  # fmt: skip
def test_a_run_draws_its_channel_anew_each_batch_and_the_same_when_repeated(monkeypatch, channel, link):
    seeds = []
    send = type(channel).__call__
    monkeypatch.setattr(
        type(channel), "__call__", lambda s, bits, g: seeds.append(g.initial_seed()) or send(s, bits, g)
    )

    def run():
        module = tiny_module(optimizer=sgd, channel=channel, link=link)
        quiet_trainer(max_steps=2).fit(module, VoiceData())
        return weights(module)

    first, second = run(), run()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert seeds[:2] == seeds[2:] and seeds[0] != seeds[1]
    undamaged = tiny_module(optimizer=sgd)
    quiet_trainer(max_steps=2).fit(undamaged, VoiceData())
    assert any(not torch.equal(first[name], value) for name, value in weights(undamaged).items())


def test_a_residual_codec_trains_through_a_channel_too():
    module = tiny_module(channel=BinarySymmetricChannel(0.1))
    module.codec.quantizer = RVQ(16, [LearnedCodebook(8, 4), LearnedCodebook(8, 4)])
    before = weights(module.codec)
    quiet_trainer(max_steps=2).fit(module, VoiceData())
    after = weights(module.codec)
    assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith("encoder"))


def test_a_broken_batch_is_skipped_behind_a_channel_too():
    module = tiny_module(channel=BinarySymmetricChannel(0.1))
    quiet_trainer(max_steps=3).fit(module, VoiceData(broken=(1,)))
    assert module.skipped_steps > 0
    assert all(value.isfinite().all() for value in weights(module).values())


def test_a_resumed_run_keeps_the_index_assignment_with_which_it_began(tmp_path):
    """Codebooks move in training, so a map fitted to them anew would be another."""

    def module():
        torch.manual_seed(2)
        made = tiny_module(channel=BinarySymmetricChannel(0.2), link=Link(index_map=BinarySwitchingMap()))
        made.codec.quantizer = RVQ(16, [EMACodebook(8, 4, decay=0.5), EMACodebook(8, 4, decay=0.5)])
        return made

    whole = module()
    quiet_trainer(max_steps=5).fit(whole, VoiceData())
    begun = module()
    trainer = quiet_trainer(max_steps=3)
    trainer.fit(begun, VoiceData())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = module()
    quiet_trainer(max_steps=5).fit(resumed, VoiceData(), ckpt_path=tmp_path / "last.ckpt")
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())
    kept = whole._transmit.codewords()
    fitted = (Link(index_map=BinarySwitchingMap())).connect(whole.codec.quantizer).codewords
    assert any(not torch.equal(one, other) for one, other in zip(kept, fitted, strict=True)), "the comparison can fail"
