"""Learned concealment: causal up to its look-ahead, exact where a frame was received, and only for its own codec."""

import io
import warnings

import pytest
import torch

from callbacks.analysis.macs import count_macs
from codec import (
    FSQ,
    RVQ,
    BinarySymmetricChannel,
    FrameErasureChannel,
    InvalidValue,
    LatentPredictor,
    LearnedCodebook,
    LearnedConcealment,
    Link,
    MeanLatent,
    PermutedMap,
    PosteriorMean,
    RepeatLast,
    UnreadableFile,
)
from codec.channels.receiving.learned_concealment import save_predictor
from codec.channels.receiving.reception import Reception

QUANTIZER = FSQ(6, (4, 4, 2))
FRAMES = 40


def predictor(lookahead: int = 0, *, trained: bool = True, quantizer=QUANTIZER) -> LatentPredictor:
    torch.manual_seed(1)
    made = LatentPredictor(quantizer.dim, width=8, layers=2, lookahead=lookahead)
    if trained:  # as if: otherwise it repeats
        for weight in (made.head.weight, made.skip.weight):
            torch.nn.init.normal_(weight, std=0.5)
    made.attach(quantizer)
    return made.eval().requires_grad_(False)


def draws(clips: int = 3, frames: int = FRAMES, seed: int = 0):
    """Codes of some clips, their latents, and which frames were received."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(32, (clips, 1, frames), generator=generator)
    received = (torch.rand(clips, frames, generator=generator) > 0.4).float()
    return codes, QUANTIZER.decode(codes).detach(), received


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lookahead", [0, 1, 3])
def test_later_frames_change_nothing_before_them_but_the_look_ahead(lookahead):
    _, latents, received = draws()
    network = predictor(lookahead)
    whole = network(latents, received)
    for cut in (7, 20):
        other = latents.clone()
        other[..., cut:] = torch.randn(3, 6, FRAMES - cut, generator=torch.Generator().manual_seed(cut))
        mask = torch.cat((received[:, :cut], 1 - received[:, cut:]), 1)
        changed = network(other, mask)
        close(changed[..., : cut - lookahead], whole[..., : cut - lookahead])
        assert (changed[..., cut - lookahead] - whole[..., cut - lookahead]).abs().max() > 1e-3  # no further back
        short = network(latents[..., :cut], received[:, :cut])  # the length of the clip does not matter
        close(short[..., : cut - lookahead], whole[..., : cut - lookahead])


@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize("piece", [1, 7])
def test_frame_by_frame_it_gives_the_same(lookahead, piece):
    _, latents, received = draws()
    network, state, found = predictor(lookahead), None, []
    ending = torch.zeros(3, 6, lookahead), torch.zeros(3, lookahead)
    stream = torch.cat((latents, ending[0]), -1), torch.cat((received, ending[1]), -1)
    for z, r in zip(stream[0].split(piece, -1), stream[1].split(piece, -1), strict=True):
        predicted, state = network.step(z, r, state)
        found.append(predicted)
    close(torch.cat(found, -1)[..., lookahead:], network(latents, received))


def test_a_clip_does_not_depend_on_the_others():
    _, latents, received = draws()
    network = predictor(1)
    whole = network(latents, received)
    for clip in range(3):
        close(network(latents[clip : clip + 1], received[clip : clip + 1]), whole[clip : clip + 1])


def test_the_values_of_lost_frames_do_not_matter_and_autocast_neither():
    _, latents, received = draws()
    network = predictor()
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    other = torch.where(received[:, None] == 0, noise, latents)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(other, received)
    assert torch.equal(found, network(latents, received)) and found.dtype == torch.float32


def test_untrained_it_repeats_the_last_frame():
    codes, _, _ = draws()
    connection = Link(concealment=LearnedConcealment.of(predictor(trained=False))).connect(QUANTIZER)
    repeating = Link(concealment=RepeatLast()).connect(QUANTIZER)
    channel = FrameErasureChannel(0.4, 2)
    found, expected = (c.transmit(codes, channel, torch.Generator().manual_seed(5)) for c in (connection, repeating))
    first = (channel(connection.send(codes), torch.Generator().manual_seed(5)) != 0.5).all(-1).float().cummax(-1).values
    close(found * first[:, None], expected * first[:, None])


@pytest.mark.parametrize("lookahead", [0, 2])
def test_received_frames_pass_bit_for_bit_and_only_lost_ones_are_predicted(lookahead):
    codes, latents, received = draws()
    network = predictor(lookahead)
    connection = Link(concealment=LearnedConcealment.of(network)).connect(QUANTIZER)
    bits = connection.send(codes).float()
    bits[received == 0] = 0.5
    found = connection.latents(connection.receive(bits))
    assert torch.equal(found.mT[received == 1], latents.mT[received == 1])
    close(found.mT[received == 0], network(latents, received).mT[received == 0])
    assert connection.delay_frames == lookahead
    assert torch.equal(connection.latents(connection.receive(connection.send(codes))), latents)  # hard bits, no loss


def test_partly_received_frames_get_the_posterior_mean_and_count_by_their_reliability():
    codes, latents, _ = draws(1)
    network = predictor()
    concealment = LearnedConcealment.of(network)
    connection = Link(concealment=concealment).connect(QUANTIZER)
    bits = connection.send(codes).float()  # [1, F, 5]
    bits[:, 3, 1], bits[:, 4, :] = 0.5, 0.5
    bits[:, 6] = 0.9 * bits[:, 6] + 0.05
    reception = connection.receive(bits)
    found, mean = connection.latents(reception), PosteriorMean()(connection, reception)
    reliability = concealment.received(connection, reception)[1][0]
    close(reliability[[0, 3, 4, 6]], torch.tensor([1, 0.8, 0, 0.9]))
    for frame in (3, 6):
        close(found[..., frame], mean[..., frame])
    assert torch.equal(found[..., 5], latents[..., 5])
    seen = torch.where(torch.isin(torch.arange(FRAMES), torch.tensor([3, 6])), mean, latents)
    close(found[..., 4], network(seen, reliability[None])[..., 4])
    meaned = Link(concealment=LearnedConcealment.of(network, partly=MeanLatent())).connect(QUANTIZER)
    close(meaned.latents(reception)[..., 3], MeanLatent()(connection, reception)[..., 3])


def test_a_frame_whose_certain_bits_stand_for_no_code_is_lost():
    quantizer = FSQ(6, (3, 3))  # 9 codes in 16 codewords
    concealment = LearnedConcealment.of(predictor(quantizer=quantizer))
    connection = Link(concealment=concealment).connect(quantizer)
    bits = connection.send(torch.zeros(1, 1, 3, dtype=torch.long))
    bits[:, 1] = 1
    for received in (bits, bits.float()):
        assert concealment.received(connection, connection.receive(received))[1].tolist() == [[1, 0, 1]]


def test_of_several_codebooks_a_frame_is_lost_if_all_are():
    quantizer = RVQ(6, [LearnedCodebook(4, 6), LearnedCodebook(4, 6)])
    for table in quantizer.codebooks:
        table.table.data.normal_()
    concealment = LearnedConcealment.of(predictor(quantizer=quantizer))
    connection = Link(concealment=concealment).connect(quantizer)
    bits = torch.ones(1, 3, 4)
    bits[:, 1, 2:], bits[:, 2] = 0.5, 0.5
    reception = connection.receive(bits)
    assert concealment.received(connection, reception)[1].tolist() == [[1, 0.5, 0]]
    close(connection.latents(reception)[..., 1], PosteriorMean()(connection, reception)[..., 1])


def test_it_works_with_mixed_digits_and_states_its_delay():
    concealment = LearnedConcealment.of(predictor(2))
    connection = Link(PermutedMap(), concealment).connect(QUANTIZER)
    assert connection.delay_frames == 2
    codes, latents, _ = draws()
    assert torch.equal(connection.transmit(codes, BinarySymmetricChannel(0.0), torch.Generator()), latents)
    beside = Link(concealment=PosteriorMean(lost=concealment)).connect(QUANTIZER)  # needs no prior for that
    assert beside.delay_frames == 2


def test_files_round_trip_and_other_codecs_are_refused(tmp_path):
    network = predictor(1)
    save_predictor(network, tmp_path / "p.ckpt")
    concealment = LearnedConcealment(tmp_path / "p.ckpt")
    for name, value in network.state_dict().items():
        assert torch.equal(concealment.predictor.state_dict()[name], value)
    assert concealment.delay_frames == 1
    Link(concealment=concealment).connect(QUANTIZER)
    for other in (FSQ(6, (4, 4, 2)), FSQ(6, (4, 2, 4)), FSQ(5, (4, 4, 2))):  # other weights, levels, width
        for wrapped in (concealment, PosteriorMean(lost=concealment)):
            with pytest.raises(InvalidValue, match=r"p\.ckpt is of a codec with another quantizer"):
                Link(concealment=wrapped).connect(other)
    with pytest.raises(InvalidValue, match="dim of the predictor 6 must be the codec's width 5"):
        network.attach(FSQ(5, (4, 4)))


def test_damaged_and_other_files_are_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="There is no predictor"):
        LearnedConcealment(tmp_path / "none.ckpt")
    save_predictor(predictor(), tmp_path / "p.ckpt")
    content = torch.load(tmp_path / "p.ckpt", weights_only=True)
    whole = (tmp_path / "p.ckpt").read_bytes()
    changes = [
        {"predictor": content["predictor"] | {"width": 100_000}},
        {"predictor": content["predictor"] | {"dim": "6"}},
        {"predictor": None},
        {"state_dict": {k: v * float("nan") for k, v in content["state_dict"].items()}},
        {"state_dict": {}},
    ]
    files = [b"", b"nothing", whole[: len(whole) // 2], whole.replace(b"\x3f", b"\x3e", 40)]
    for change in changes:
        stream = io.BytesIO()
        torch.save(content | change, stream)
        files.append(stream.getvalue())
    for damaged in files:
        (tmp_path / "q.ckpt").write_bytes(damaged)
        with pytest.raises(UnreadableFile, match="is damaged or no checkpoint of a ConcealmentModule"):
            LearnedConcealment(tmp_path / "q.ckpt")


@pytest.mark.parametrize(("arguments", "says"), [
    ({"dim": 0}, "dim 0"), ({"dim": 4, "width": 0}, "width 0"), ({"dim": 4, "layers": 0}, "layers 0"),
    ({"dim": 4, "lookahead": -1}, "lookahead -1"),
])  # fmt: skip
def test_bad_sizes_are_refused(arguments, says):
    with pytest.raises(InvalidValue, match=says):
        LatentPredictor(**arguments)


def test_its_multiply_accumulates_are_its_products():
    """Per frame: two maps of the input, 2 layers of 6 w² products, and the head."""
    width, dim = 8, 6
    per_frame = (dim + 2) * (dim + width) + 2 * 6 * width**2 + width * dim

    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = predictor()

        def forward(self, latents):
            return self.network(latents, torch.ones(len(latents), latents.shape[-1]))

    with warnings.catch_warnings():
        assert count_macs(Alone(), (1, dim, FRAMES)) == FRAMES * per_frame


def test_reception_of_lost_frames_alone_is_finite():
    connection = Link(concealment=LearnedConcealment.of(predictor())).connect(QUANTIZER)
    reception = connection.receive(torch.full((2, 9, 5), 0.5))
    assert isinstance(reception, Reception) and connection.latents(reception).isfinite().all()
