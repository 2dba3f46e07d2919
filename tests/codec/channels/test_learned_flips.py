"""Learned flips: probabilities at one energy, nested draws, gradients by value, what training makes of them."""

import math

import pytest
import torch

from codec import (
    FSQ,
    Hamming74,
    InvalidValue,
    LearnedFlips,
    Link,
    MixedChannel,
    PosteriorMean,
    RepeatLast,
    UnreadableFile,
)
from codec.channels import draw_generator
from tests.support.training import VoiceData, quiet_trainer, tiny_module, weights


def zeros(frames=4000, bits=8):
    return torch.zeros(1, frames, bits, dtype=torch.uint8)


def test_bits_are_flipped_with_their_own_probability_and_the_mean_energy_is_kept():
    channel = LearnedFlips(0.0, 8)
    channel.theta.data.copy_(torch.linspace(-1, 1, 8))
    assert channel.energies().mean().item() == pytest.approx(1.0, abs=1e-6)
    p = channel.flip_probabilities().detach()
    energy = channel.energies().double() * 1.0
    assert p.tolist() == pytest.approx([0.5 * math.erfc(math.sqrt(w)) for w in energy.tolist()], rel=1e-6)
    assert bool((p.diff() < 0).all())
    with torch.no_grad():
        measured = channel(zeros(40000), draw_generator(0, "a", "f", 0)).double().mean((0, 1))
    assert bool(((measured - p).abs() < 5 * (p * (1 - p) / 40000).sqrt() + 1e-9).all())
    assert channel.error_rate == pytest.approx(p.mean().item(), rel=1e-6)


def test_flips_are_nested_over_energy_and_shares():
    weak, strong = LearnedFlips(-2.0, 8), LearnedFlips(2.0, 8)
    with torch.no_grad():
        flips = [c(zeros(), draw_generator(0, "a", "f", 0)).bool() for c in (weak, strong)]
        assert not bool((flips[1] & ~flips[0]).any()) and flips[0].sum() > flips[1].sum() > 0
        strong.theta[0] += 1.0
        moved = strong(zeros(), draw_generator(0, "a", "f", 0)).bool()
    assert not bool((moved[..., 0] & ~flips[1][..., 0]).any()) and not bool((flips[1][..., 1:] & ~moved[..., 1:]).any())


@pytest.mark.parametrize("temperature", [None, 0.7])
def test_gradient_is_the_stated_one(temperature):
    channel = LearnedFlips(0.0, 8, temperature=temperature)
    bits = torch.randint(2, (1, 3, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    received = channel(bits, draw_generator(0, "a", "f", 0))
    with torch.no_grad():
        hard = channel(bits, draw_generator(0, "a", "f", 0))
    assert received.dtype == torch.float32 and torch.equal(received.detach(), hard.float())
    weight = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(2))
    (received * weight).sum().backward()

    draws = torch.rand(bits.shape, generator=draw_generator(0, "a", "f", 0), dtype=torch.float64)
    theta = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    p = 0.5 * torch.erfc((8 * torch.softmax(theta, 0)).sqrt())
    slope = torch.ones_like(draws)
    if temperature is not None:
        argument = (torch.log(p / (1 - p)) + torch.log((1 - draws) / draws)) / temperature
        slope = torch.sigmoid(argument) * (1 - torch.sigmoid(argument)) / (temperature * p * (1 - p))
    (weight.double() * (1 - 2.0 * bits.double()) * slope.detach() * p).sum().backward()
    assert channel.theta.grad.abs().max() > 0
    torch.testing.assert_close(channel.theta.grad.double(), theta.grad, rtol=1e-4, atol=1e-6)


def test_straight_through_is_right_in_the_mean_for_a_linear_loss():
    channel = LearnedFlips(0.0, 8)
    weight = torch.linspace(-1, 1, 8)
    channel.theta.data.copy_(torch.linspace(-0.5, 0.5, 8))
    channel(zeros(), draw_generator(0, "a", "f", 0)).mean((0, 1)).mul(weight).sum().backward()
    (exact,) = torch.autograd.grad((channel.flip_probabilities() * weight).sum(), channel.theta)
    torch.testing.assert_close(channel.theta.grad, exact, rtol=1e-4, atol=1e-7)


def module(**changes):
    settings = {"channel": LearnedFlips(0.0, 8), "link": Link(concealment=PosteriorMean()), "discriminators": []}
    return tiny_module(**(settings | changes))


def test_training_gives_energy_to_the_bits_that_move_the_audio():
    """The second dimension of the latents is cut off from the decoder: its bits lose energy to the others."""
    trained = module()
    quantizer = trained.codec.quantizer
    assert isinstance(quantizer, FSQ) and quantizer.levels == (4, 4, 4, 4)
    quantizer.project_out.weight.data[:, 1] = 0.0
    quantizer.project_out.weight.requires_grad_(False)
    quiet_trainer(max_steps=40).fit(trained, VoiceData())
    shares = trained.channel.energies().detach()
    dead = [4, 5]  # codeword bits of the second of four digits; the high bit of the last digit comes first
    assert shares[dead].max() < 1.0 - 0.01
    assert shares.mean().item() == pytest.approx(1.0, abs=1e-5)


def test_a_run_with_learned_flips_resumes_exactly_and_gives_its_shares_to_an_evaluation(tmp_path):
    runs = []
    for at in (None, 2):
        trained, resume = module(), None
        if at:
            trainer = quiet_trainer(max_steps=at)
            trainer.fit(trained, VoiceData())
            trainer.save_checkpoint(tmp_path / "last.ckpt")
            trained, resume = module(), tmp_path / "last.ckpt"
        trainer = quiet_trainer(max_steps=5)
        trainer.fit(trained, VoiceData(), ckpt_path=resume)
        runs.append(weights(trained))
        trainer.save_checkpoint(tmp_path / "whole.ckpt")
    assert all(torch.equal(runs[0][name], value) for name, value in runs[1].items())
    assert runs[0]["channel.theta"].abs().max() > 0
    loaded = LearnedFlips(3.0, 8, file=str(tmp_path / "whole.ckpt"))
    assert torch.equal(loaded.theta, runs[0]["channel.theta"])
    assert loaded.name == "learned-flips-of-file-3dB" and loaded.curve == "learned-flips-of-file"
    with pytest.raises(InvalidValue, match="8 bits"):
        LearnedFlips(3.0, 16, file=str(tmp_path / "whole.ckpt"))
    with pytest.raises(UnreadableFile, match="no checkpoint"):
        LearnedFlips(3.0, 8, file=str(tmp_path / "none.ckpt"))


def test_what_learns_nothing_is_refused():
    with pytest.raises(InvalidValue, match="RepeatLast"):
        quiet_trainer(max_steps=1).fit(module(link=Link(concealment=RepeatLast())), VoiceData())
    with pytest.raises(InvalidValue, match="one frame a row"):
        quiet_trainer(max_steps=1).fit(module(channel=LearnedFlips(0.0, 16)), VoiceData())
    for wrong in (
        {"ec_n0_db": 99.0},
        {"ec_n0_db": math.nan},
        {"ec_n0_db": 0.0, "bits": 0},
        {"ec_n0_db": 0.0, "temperature": 1.0},
    ):
        with pytest.raises(InvalidValue):
            LearnedFlips(**wrong)


def test_it_is_refused_where_it_would_learn_nothing_without_a_word():
    """Inside another channel it is not trained; behind a code certain bits that are wrong have no gradient."""
    with pytest.raises(InvalidValue, match="the channel itself"):
        module(channel=MixedChannel([LearnedFlips(0.0, 8)]))
    with pytest.raises(InvalidValue, match="behind error correction"):
        module(channel=LearnedFlips(0.0, 14), link=Link(concealment=PosteriorMean(), code=Hamming74()))
    with pytest.raises(InvalidValue, match="known error rate"):
        module(link=Link(concealment=PosteriorMean(), known_error_rate=True))


@pytest.mark.parametrize(
    "theta", [torch.full((8,), math.nan), torch.zeros(()), [0.0] * 8, torch.zeros(8, dtype=torch.long)]
)
def test_shares_that_are_no_finite_numbers_are_refused(tmp_path, theta):
    torch.save({"state_dict": {"channel.theta": theta}}, tmp_path / "a.ckpt")
    with pytest.raises(UnreadableFile, match="no finite numbers"):
        LearnedFlips(0.0, 8, file=str(tmp_path / "a.ckpt"))
