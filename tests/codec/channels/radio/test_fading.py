"""Flat fading: autocorrelation, laws of the power, crossings, error rates, common random numbers, protection."""

import math

import pytest
import torch
from scipy.special import j0
from scipy.stats import binomtest, ks_2samp

from codec.channels import (
    BPSK,
    QAM16,
    QPSK,
    AWGNChannel,
    ConvolutionalCode,
    FadingChannel,
    MixedChannel,
    OFDMChannel,
    ProtectedChannel,
    average_fade_duration,
    draw_generator,
    level_crossing_rate,
    outage,
)
from codec.channels.radio import clarke
from codec.channels.radio.clarke import arrival_cosines, clarke_process


def random_bits(*shape, seed=0):
    return torch.randint(2, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def send(channel, bits, repeat=0):
    return channel(bits, draw_generator(0, "clip", channel.family, repeat))


@pytest.mark.parametrize("span", [0.0, 0.3, 5.0, 80.0, 3000.0, 40_000.0])
def test_the_covariance_of_the_process_is_the_bessel_function(span):
    """Also where it would come back, beyond the Bessel function's order, without the margin of waves."""
    cosines, arguments = arrival_cosines(span), torch.linspace(0.0, span, 41, dtype=torch.float64)
    phases = arguments[:, None] * cosines
    expected = torch.as_tensor(j0(arguments.numpy()))
    assert (phases.cos().mean(1) - expected).abs().max() < 1e-12
    assert phases.sin().mean(1).abs().max() < 1e-12


@pytest.mark.parametrize(("doppler", "step"), [(10.0, 0.02), (70.0, 0.005)])
def test_gains_are_gaussian_with_the_stated_autocorrelation(doppler, step):
    count, length = 20_000, 8
    gains = clarke_process(length, step, doppler, seeded(1), processes=count)
    products = gains * gains[:, :1].conj()
    expected = torch.as_tensor(j0(2 * math.pi * doppler * step * torch.arange(length).numpy()))
    for part, wanted in ((products.real, expected), (products.imag, torch.zeros(length))):
        spread = part.std(0) / math.sqrt(count) + 1e-12
        assert ((part.mean(0) - wanted) / spread).abs().max() < 4.5
    square = (gains * gains[:, :1]).mean(0)  # circular
    assert square.abs().max() < 4.5 / math.sqrt(count) * 1.5
    powers = gains[:, -1].abs().square()
    assert abs(powers.square().mean().item() - 2.0) < 4.5 * math.sqrt(20 / count)  # E|h|⁴ = 2, variance 24 − 4
    for x in (0.05, 0.5, 2.0):
        assert binomtest(int((powers < x).sum()), count, 1 - math.exp(-x)).pvalue > 1e-4


def test_the_process_is_the_sum_of_its_waves_however_it_is_cut(monkeypatch):
    length, step, doppler = 101, 0.02, 25.0
    together = clarke_process(length, step, doppler, seeded(2), processes=3)
    cosines = arrival_cosines(2 * math.pi * doppler * step * (length - 1))
    parts = torch.randn(3, len(cosines), 2, generator=seeded(2), dtype=torch.float64) / math.sqrt(2 * len(cosines))
    phases = 2 * math.pi * doppler * step * torch.arange(length, dtype=torch.float64)[:, None] * cosines
    expected = torch.view_as_complex(parts) @ torch.exp(1j * phases).T
    assert torch.allclose(together, expected, atol=1e-11)
    monkeypatch.setattr(clarke, "CHUNK", 64)
    assert torch.allclose(clarke_process(length, step, doppler, seeded(2), processes=3), expected, atol=1e-11)


def test_extremes_of_motion_are_one_gain_and_independent_gains():
    still = FadingChannel(0.0, doppler_hz=0.0).gains(50, 4, seeded())
    assert (still == still[0, 0]).all()
    moving = FadingChannel(0.0, doppler_hz=math.inf).gains(60_000, 1, seeded())[:, 0]
    assert (moving[1:] * moving[:-1].conj()).mean().abs() < 4.5 / math.sqrt(60_000)


@pytest.mark.parametrize("k_factor_db", [None, 0.0, 8.0, math.inf])
def test_powers_have_the_stated_law(k_factor_db):
    """Mean power 1 and outage at several margins, over gains that are independent but for the line of sight."""
    channel, count = FadingChannel(0.0, k_factor_db=k_factor_db, doppler_hz=math.inf), 20_000
    powers = channel.gains(count, 1, seeded(3))[:, 0].abs().square()
    assert abs(powers.mean().item() - 1.0) < 4.5 * powers.std().item() / math.sqrt(count) + 1e-9
    for margin_db in (10.0, 3.0, -1.0):
        below = int((powers < 10 ** (-margin_db / 10)).sum())
        assert binomtest(below, count, outage(margin_db, k_factor_db)).pvalue > 1e-4


@pytest.mark.parametrize("k_factor_db", [None, 3.0, math.inf])
def test_gains_of_a_clip_correlate_as_stated(k_factor_db):
    """(K + J₀) / (K + 1) over many clips, whose phases are uniform."""
    channel, count, generator = FadingChannel(0.0, k_factor_db=k_factor_db, doppler_hz=20.0), 600, seeded(3)
    gains = torch.stack([channel.gains(3, 1, generator)[:, 0] for _ in range(count)])  # [clips, 3]
    scattered = 1.0 if k_factor_db is None else 0.0 if math.isinf(k_factor_db) else 1 / (10 ** (k_factor_db / 10) + 1)
    expected = 1 - scattered + scattered * j0(2 * math.pi * 20.0 * 0.04)
    products = (gains[:, 2] * gains[:, 0].conj()).real
    assert abs(products.mean().item() - expected) < 4.5 * products.std().item() / math.sqrt(count) + 1e-9
    assert gains[:, 0].mean().abs() < 4.5 / math.sqrt(count)


@pytest.mark.parametrize("k_factor_db", [None, 6.0])
def test_fades_are_as_frequent_and_as_long_as_their_formulas_say(k_factor_db):
    doppler, blocks, seconds = 10.0, 20, 20.0  # a gain a millisecond
    channel = FadingChannel(0.0, k_factor_db=k_factor_db, doppler_hz=doppler, blocks_per_frame=blocks)
    generator, margin_db = seeded(4), 5.0
    gains = torch.stack([channel.gains(int(seconds * 50), blocks, generator).flatten() for _ in range(24)])
    below = (gains.abs().square() < 10 ** (-margin_db / 10)).double()
    rates = (below.diff(dim=1) > 0).sum(1).double() / seconds
    spread = rates.std().item() / math.sqrt(len(rates))
    expected = level_crossing_rate(margin_db, doppler, k_factor_db)
    assert spread < 0.08 * expected
    assert abs(rates.mean().item() - expected) < 4 * spread + 0.005 * expected
    share = below.mean(1)
    duration = share.mean().item() / rates.mean().item()
    assert duration == pytest.approx(average_fade_duration(margin_db, doppler, k_factor_db), rel=0.08)
    assert abs(share.mean().item() - outage(margin_db, k_factor_db)) < 4 * share.std().item() / math.sqrt(len(share))


@pytest.mark.parametrize("modulation", [BPSK(), QPSK(), QAM16()])
@pytest.mark.parametrize("k_factor_db", [None, 5.0, math.inf])
@pytest.mark.parametrize("ec_n0_db", [0.0, 8.0])
def test_hard_decisions_err_as_often_as_the_mean_over_the_gains_says(modulation, k_factor_db, ec_n0_db):
    """One symbol a frame, gains independent from frame to frame; the bits of a symbol go together."""
    channel = FadingChannel(ec_n0_db, modulation=modulation, k_factor_db=k_factor_db, doppler_hz=math.inf, soft=False)
    bits = random_bits(60_000, modulation.bits_per_symbol)
    received = send(channel, bits)
    assert received.dtype == torch.uint8
    wrong = (received != bits).double().mean(1)
    assert wrong.sum() > 10 or channel.error_rate < 1e-3
    assert abs(wrong.mean().item() - channel.error_rate) < 4.5 * max(
        wrong.std().item(), math.sqrt(channel.error_rate)
    ) / math.sqrt(len(wrong))


def test_error_rates_are_those_of_the_text_books():
    assert FadingChannel(10.0).error_rate == pytest.approx((1 - math.sqrt(10 / 11)) / 2)
    assert FadingChannel(10.0, modulation=QPSK()).error_rate == FadingChannel(10.0).error_rate
    assert FadingChannel(30.0).error_rate == pytest.approx(1 / 4000, rel=0.01)  # 1 / (4γ)
    for level in (-3.0, 0.0, 7.0):
        flat = FadingChannel(level, k_factor_db=math.inf, modulation=QPSK())
        assert flat.error_rate == pytest.approx(AWGNChannel(level).error_rate, rel=1e-12)
    rates = [FadingChannel(8.0, k_factor_db=k).error_rate for k in (None, -5.0, 0.0, 5.0, 10.0, math.inf)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("modulation", [BPSK(), QPSK()])
def test_without_fading_the_channel_is_white_gaussian_noise(modulation):
    bits = random_bits(4000, 16)
    flat, white = FadingChannel(1.0, k_factor_db=math.inf, modulation=modulation), AWGNChannel(1.0, soft=True)
    found, expected = send(flat, bits), send(white, bits)
    for bit in (0, 1):
        assert ks_2samp(found[bits == bit].numpy(), expected[bits == bit].numpy()).pvalue > 1e-4
    wrong = int(((found > 0.5) != bits.bool()).sum())
    assert binomtest(wrong, bits.numel(), white.error_rate).pvalue > 1e-4


@pytest.mark.parametrize("modulation", [QPSK(), QAM16(exact=True)])
def test_soft_decisions_are_calibrated(modulation):
    channel = FadingChannel(0.0, modulation=modulation, doppler_hz=40.0)
    bits = random_bits(20, 1000, 8)
    ones = send(channel, bits)
    assert ones.dtype == torch.float32 and ones.min() > 0 and ones.max() < 1
    for low in torch.arange(0.0, 1.0, 0.1).tolist():
        inside = (ones >= low) & (ones < low + 0.1)
        deviation = torch.where(inside, bits - ones.double(), 0).sum((1, 2))
        assert deviation.sum().abs() < 4.5 * deviation.square().sum().sqrt()


@pytest.mark.parametrize("make", [FadingChannel, OFDMChannel])
@pytest.mark.parametrize("modulation", [BPSK(), QPSK(), QAM16()])
def test_settings_of_a_family_meet_the_same_gains_and_noise(make, modulation):
    bits, before = random_bits(500, 16), None
    for level in (12.0, 6.0, 0.0, -6.0):
        soft, hard = make(level, modulation=modulation), make(level, modulation=modulation, soft=False)
        assert soft.family == hard.family == make(3.0).family
        found = send(hard, bits)
        assert torch.equal((send(soft, bits) > 0.5).to(torch.uint8), found)
        wrong = found != bits
        if modulation.kind != "16qam" and before is not None:
            assert (before <= wrong).all() and before.sum() < wrong.sum()
        before = wrong


def test_gains_depend_neither_on_bits_per_frame_nor_on_the_modulation():
    for make in (FadingChannel, OFDMChannel):
        gains = make(0.0, doppler_hz=9.0).gains(80, 16, seeded(5))
        assert torch.equal(make(7.0, modulation=QAM16(), doppler_hz=9.0).gains(80, 8, seeded(5)), gains[:, :8])
    line = FadingChannel(0.0, k_factor_db=3.0, doppler_hz=9.0)
    scattered = FadingChannel(0.0, doppler_hz=9.0)
    assert line.family == scattered.family
    ratio = 10**0.3
    sight = line.gains(80, 1, seeded(5)) - scattered.gains(80, 1, seeded(5)) * math.sqrt(1 / (ratio + 1))
    assert torch.allclose(sight, sight[:1, :1], atol=1e-12)
    assert sight[0, 0].abs().item() == pytest.approx(math.sqrt(ratio / (ratio + 1)))


@pytest.mark.parametrize("make", [FadingChannel, OFDMChannel])
def test_each_clip_of_a_batch_has_its_own_gains_and_noise(make):
    bits = torch.zeros(3, 60, 16, dtype=torch.uint8)
    received = make(3.0, modulation=QPSK())(bits, seeded(6))
    assert received.shape == bits.shape
    assert not torch.equal(received[0], received[1])
    assert torch.equal(make(3.0, modulation=QPSK())(bits[0], seeded(6)), received[0])


def test_blocks_divide_a_frame():
    gains = FadingChannel(0.0, blocks_per_frame=2, doppler_hz=30.0).gains(20, 5, seeded(7))
    assert (gains[:, :3] == gains[:, :1]).all() and (gains[:, 3:] == gains[:, 3:4]).all()
    assert (gains[:, 0] != gains[:, 4]).all()
    every = FadingChannel(0.0, blocks_per_frame=40, doppler_hz=30.0).gains(20, 5, seeded(7))
    assert all(len(set(row)) == 5 for row in every.tolist())


@pytest.mark.parametrize("make", [FadingChannel, OFDMChannel])
def test_bits_that_fill_the_last_symbol_count_as_sent(make):
    channel, bits = make(12.0, modulation=QAM16()), random_bits(2, 4000, 5)
    assert channel.channel_bits(10, 5) == 80
    assert channel.channel_bits(10, 8) == 80
    received = send(channel, bits)
    assert received.shape == bits.shape
    assert 0 < ((received > 0.5) != bits.bool()).double().mean() < 0.1
    assert torch.equal(send(make(math.inf, modulation=QAM16()), bits), bits.float())


@pytest.mark.parametrize("make", [FadingChannel, OFDMChannel])
@pytest.mark.parametrize("modulation", [BPSK(), QAM16()])
def test_extremes_are_exact(make, modulation):
    bits = random_bits(3, 500, 8)
    assert torch.equal(send(make(math.inf, modulation=modulation, soft=False), bits), bits)
    assert torch.equal(send(make(math.inf, modulation=modulation), bits), bits.float())
    assert torch.equal(send(make(200.0, modulation=modulation, soft=False), bits), bits)
    assert (send(make(-math.inf, modulation=modulation), bits) == 0.5).all()
    nothing = make(-math.inf, modulation=modulation, soft=False)
    wrong = int((send(nothing, bits) != bits).sum())
    assert nothing.error_rate == 0.5
    assert binomtest(wrong, bits.numel(), 0.5).pvalue > 1e-4
    assert send(make(0.0), bits[:, :0]).shape == (3, 0, 8)


@pytest.mark.parametrize("make", [FadingChannel, OFDMChannel])
def test_a_code_helps_where_it_is_interleaved_over_fades(make):
    channel, code = make(4.0, modulation=QPSK(), doppler_hz=10.0), ConvolutionalCode()
    bits = random_bits(4, 400, 15)
    wrong = {}
    for depth in (1, 20):
        protected = ProtectedChannel(channel, code, interleave=depth)
        assert protected.channel_bits(400, 15) == 388 * 30 + 12 * 32  # 12 bits of the tail in 12 rows, filled up
        wrong[depth] = ((send(protected, bits) > 0.5) != bits.bool()).double().mean().item()
    assert wrong[20] < 0.7 * wrong[1] < channel.error_rate
    mixed = MixedChannel([channel, AWGNChannel(3.0)])
    assert send(mixed, bits).dtype == torch.float32


def test_slow_fading_spares_most_clips_and_ruins_others():
    """Of quasi-static clips, those whose power is below a margin err more often than it says; the rest less often."""
    channel = FadingChannel(10.0, doppler_hz=0.0, soft=False)
    bits = random_bits(800, 60, 8)
    rates = (send(channel, bits) != bits).double().mean((1, 2))
    margin_db = 10.0 - 10 * math.log10(0.5)  # |h|² Ec/N0 is 0.5, a rate of Q(1) = 0.159
    expected = outage(margin_db)
    assert abs((rates > 0.1587).double().mean().item() - expected) < 4 * math.sqrt(expected / 800) + 0.01
    assert abs(rates.mean().item() - channel.error_rate) < 4.5 * rates.std().item() / math.sqrt(800)
    assert (rates == 0).double().mean() > 0.6


def test_powers_agree_with_those_of_sionna():
    with torch.random.fork_rng():  # its import seeds the global generator
        sionna = pytest.importorskip("sionna.phy.channel.rayleigh_block_fading")
        pytest.importorskip("sionna.phy").config.seed = 0  # else that of the clock
        gains, _ = sionna.RayleighBlockFading(1, 1, 1, 1, precision="double", device="cpu")(4000, 1)
    ours = FadingChannel(0.0, doppler_hz=math.inf).gains(4000, 1, seeded(9)).flatten()
    assert ks_2samp(gains.flatten().abs().numpy(), ours.abs().numpy()).pvalue > 1e-4
    assert ks_2samp(gains.flatten().real.numpy(), ours.real.numpy()).pvalue > 1e-4


def test_names_tell_settings_apart():
    settings = [
        FadingChannel(3.0),
        FadingChannel(4.0),
        FadingChannel(3.0, soft=False),
        FadingChannel(3.0, modulation=QAM16()),
        FadingChannel(3.0, modulation=QAM16(exact=True)),
        FadingChannel(3.0, k_factor_db=3.0),
        FadingChannel(3.0, k_factor_db=math.inf),
        FadingChannel(3.0, doppler_hz=50.0),
        FadingChannel(3.0, doppler_hz=math.inf),
        FadingChannel(3.0, blocks_per_frame=2),
        FadingChannel(3.0, frame_seconds=0.04),
        OFDMChannel(3.0),
        OFDMChannel(3.0, subcarriers=12),
    ]
    assert len({channel.name for channel in settings}) == len(settings)
    assert settings[0].curve == settings[1].curve != settings[2].curve


@pytest.mark.parametrize(("make", "match"), [
    (lambda: FadingChannel(math.nan), "ec_n0_db nan"),
    (lambda: OFDMChannel(201.0), "ec_n0_db 201"),
    (lambda: FadingChannel(0.0, k_factor_db=150.0), "k_factor_db 150"),
    (lambda: FadingChannel(0.0, doppler_hz=-1.0), "doppler_hz -1"),
    (lambda: FadingChannel(0.0, doppler_hz=math.nan), "doppler_hz nan"),
    (lambda: FadingChannel(0.0, frame_seconds=0.0), "frame_seconds 0"),
    (lambda: FadingChannel(0.0, blocks_per_frame=0), "blocks_per_frame 0"),
    (lambda: FadingChannel(0.0)(torch.zeros(8, dtype=torch.uint8), torch.Generator()), "one frame of n bits a row"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("make", [FadingChannel, OFDMChannel])
def test_a_protected_clip_meets_the_fades_of_an_unprotected_one(make, monkeypatch):
    """Frames of any width: gains are drawn before the noise, whose number depends on the width."""
    met, decide = [], QPSK.decide
    monkeypatch.setattr(QPSK, "decide", lambda self, received, gain: met.append(gain) or decide(self, received, gain))
    channel = make(3.0, modulation=QPSK(), soft=False)
    for bits in (8, 16):
        send(channel, random_bits(80, bits))
    assert torch.equal(met[0], met[1][..., :4])
