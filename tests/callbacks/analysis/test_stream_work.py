"""Work of live streams: no more than that of the whole clip, within the limits that a configuration is made for."""

import pytest
import yaml

from callbacks.analysis.stream_work import stream_work
from codec import InvalidValue
from codec.checkpoints.building import build_codec
from tests.support.causal_codecs import STREAMING_CODECS, streaming_codec
from tests.support.paths import CONFIGS
from tests.support.small_codec import small_codec


@pytest.mark.parametrize("frames", [1, 2, 7, 50])
@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_a_stream_computes_no_more_than_the_whole(name, frames):
    codec = streaming_codec(name)
    for part, work in stream_work(codec, chunk=frames).items():
        assert work.stream <= 1.1 * work.whole, part
        assert work.stream > 0.5 * work.whole or "attention" in name, part


def test_the_small_streaming_codec_keeps_the_limits_of_the_lrac_challenge():
    """30 ms, 700 MFLOP/s in all, 300 at the receiver, two FLOP for a multiply-accumulate, and the FFTs."""
    codec = build_codec(yaml.safe_load((CONFIGS / "small/streaming.yaml").read_text())["model"]["init_args"]["codec"])
    latency = codec.streaming_encoder().latency + codec.streaming_decoder().latency
    assert latency == pytest.approx(0.03, abs=1e-9) and codec.bit_rate == 800
    work = stream_work(codec, chunk=1)
    receiver = work["decoder"].flops + work["quantizer"].flops
    assert receiver < 300e6
    assert work["encoder"].flops + work["quantizer"].flops + receiver < 700e6
    assert all(part.stream <= 1.1 * part.whole for part in work.values())


def test_a_steps_work_is_what_its_layers_multiply():
    codec = streaming_codec("small")
    work = stream_work(codec, chunk=3)
    head = 16 * (codec.decoder.n_fft + 2)
    blocks = 2 * (7 * 16 + 2 * 16 * 48)
    assert work["decoder"].stream == 200 * (16 * 7 * 16 + blocks + head)
    assert work["decoder"].transforms == pytest.approx(200 * 5 * 80 * 6.3219, rel=1e-4)
    assert work["decoder"].flops == 2 * work["decoder"].stream + work["decoder"].transforms
    assert work["quantizer"].transforms == 0


def test_codecs_that_do_not_stream_are_refused():
    with pytest.raises(InvalidValue, match="cannot stream"):
        stream_work(small_codec())
    with pytest.raises(InvalidValue, match="chunk 0 must be at least 1"):
        stream_work(streaming_codec("small"), chunk=0)
