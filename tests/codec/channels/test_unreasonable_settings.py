"""Settings that would exhaust memory, run for hours or mean nothing are refused in one sentence, or simply work."""

import math

import pytest
import torch

from codec import (
    BSQ,
    LDPC5G,
    ChannelOptimizedCodebook,
    ConvolutionalCode,
    FadingChannel,
    FrameErasureChannel,
    GammaDelay,
    InsertionDeletionChannel,
    InvalidValue,
    LatentPredictor,
    Link,
    Markers,
    OFDMChannel,
    OptimizedProtection,
    PacketLossChannel,
    ProtectedChannel,
    SwitchingChannel,
    ThreeStateLossChannel,
    UnequalProtection,
)
from tests.support.small_codec import small_codec


@pytest.mark.parametrize("make", [
    lambda: OptimizedProtection([None], math.nan),
    lambda: OptimizedProtection([None], math.inf),
    lambda: LDPC5G(4000, rate=0.22),
    lambda: SwitchingChannel([FrameErasureChannel(0.1)] * 2, [1e308, 1e308]),
    lambda: ThreeStateLossChannel(1e-320, 0.1, 0.1, 0.1),
    lambda: OFDMChannel(0.0, subcarriers=10**12),
    lambda: LatentPredictor(8, lookahead=10**12),
    lambda: FadingChannel(0.0, doppler_hz=2e9),
    lambda: OFDMChannel(0.0, doppler_hz=93, frame_seconds=20.0),
    lambda: ProtectedChannel(FrameErasureChannel(0.1), ConvolutionalCode(), interleave=10**9),
    lambda: InsertionDeletionChannel(0.01, 0.01, most_insertions=10**12),
    lambda: GammaDelay(1e-200, 0.02),
    lambda: ChannelOptimizedCodebook(16, 4, bit_error_rate=0.5),
    lambda: BSQ(8, inverse_temperature=1e300),
    lambda: BSQ(8, entropy_weight=1e300),
    lambda: BSQ(-1),
    lambda: Link(code=UnequalProtection([None, ConvolutionalCode()], [0, 1, 1])).connect(small_codec().quantizer),
])  # fmt: skip
def test_they_are_refused(make):
    with pytest.raises(InvalidValue):
        make()


def test_packets_and_markers_longer_than_any_clip_are_taken_as_they_are():
    bits, generator = torch.zeros(1, 5, 8, dtype=torch.uint8), torch.Generator().manual_seed(0)
    assert PacketLossChannel(1.0, 10**12)(bits, generator).unique().tolist() == [0.5]
    assert Markers([0, 1], spacing=10**12).sent_bits(40) in (40, 42)
    assert len(Markers([0, 1], spacing=10**12).layout(40)) in (40, 42)


@pytest.mark.parametrize("shape", [(0, 8), (0, 4, 8), (2, 0, 8)])
def test_nothing_sent_is_nothing_received(shape):
    empty, generator = torch.zeros(shape, dtype=torch.uint8), torch.Generator().manual_seed(0)
    for channel in (SwitchingChannel([FrameErasureChannel(0.1)] * 2, [3, 3]), PacketLossChannel(0.5, 2)):
        assert channel(empty, generator).shape == shape
