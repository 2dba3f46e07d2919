"""`python -m codec`: encode, transmit, decode and info, with files, folders and pipes."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from codec import (
    BinarySymmetricChannel,
    GrayMap,
    Link,
    RepeatLast,
    load_codec,
    save_codec,
)
from codec.__main__ import main
from codec.channels.base import draw_generator
from codec.transport.header import Layout, read_header
from codec.transport.impairments import Impairments
from tests.support.paths import ROOT
from tests.support.small_codec import small_codec
from tests.support.streams import read


def run(*words: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert end.value.code == 0, end.value.code


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert end.value.code == 2
    return capsys.readouterr().err


def audio_of(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    return (0.1 * noise).clip(-1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small codec's file, and clips."""
    found = tmp_path_factory.mktemp("link")
    save_codec(small_codec(), found / "codec.safetensors")
    soundfile.write(found / "clip.wav", audio_of(3.3), 16_000)
    soundfile.write(found / "odd.flac", np.stack([audio_of(1.01, 44_100), audio_of(1.01, 44_100, 1)], 1), 44_100)
    return found


def encoded(folder: Path, name: str, *options: object, clip: str = "clip.wav") -> Path:
    run("encode", folder / clip, folder / name, "--codec", folder / "codec.safetensors", *options)
    return folder / name


def test_files_are_encoded_and_decoded_as_by_the_codec(folder):
    stream = encoded(folder, "a.nsc")
    run("decode", stream, folder / "a.wav", "--codec", folder / "codec.safetensors")
    codec = load_codec(folder / "codec.safetensors")
    audio = torch.from_numpy(soundfile.read(folder / "clip.wav", dtype="float32")[0])[None, None]
    codes = codec.encode(audio)
    reader, payload = read(stream.read_bytes())
    assert torch.equal(payload, Link().connect(codec.quantizer).send(codes)[0]) and reader.length == audio.shape[-1]
    expected = codec.decode(codes, length=audio.shape[-1])[0, 0].detach().clamp(-1, 1)
    found, rate = soundfile.read(folder / "a.wav", dtype="float32")
    assert rate == 16_000 and len(found) == audio.shape[-1]
    assert np.abs(found - expected.numpy()).max() < 1.1 / 32768
    assert len(stream.read_bytes()) == 64 + codes.shape[-1]  # 8 bits a frame


def test_any_rate_and_number_of_channels(folder):
    stream = encoded(folder, "odd.nsc", clip="odd.flac")
    assert read_header(stream.read_bytes()).length == -(-44_541 * 16_000 // 44_100)


def test_files_whose_header_states_no_length_are_read_to_their_end(folder, tmp_path):
    data = bytearray((folder / "clip.wav").read_bytes())
    for sizes in ((0, 0), (2**32 - 1, 2**32 - 1)):
        data[4:8], data[40:44] = (size.to_bytes(4, "little") for size in sizes)
        (tmp_path / "pipe.wav").write_bytes(data)
        run("encode", tmp_path / "pipe.wav", tmp_path / "pipe.nsc", "--codec", folder / "codec.safetensors")
        assert (tmp_path / "pipe.nsc").read_bytes() == encoded(folder, "a.nsc").read_bytes()
    flac = tmp_path / "endless.flac"
    soundfile.write(flac, soundfile.read(folder / "clip.wav", dtype="int16")[0], 16_000)
    data = bytearray(flac.read_bytes())
    data[21] &= 0xF0  # samples in the first block's 36 bits
    data[22:26] = bytes(4)
    flac.write_bytes(data)
    run("encode", flac, tmp_path / "flac.nsc", "--codec", folder / "codec.safetensors")
    assert (tmp_path / "flac.nsc").read_bytes() == (folder / "a.nsc").read_bytes()


def test_flips_are_those_of_the_channel(folder):
    stream = encoded(folder, "a.nsc")
    run("transmit", stream, folder / "b.nsc", "--ber", "0.1", "--seed", "3")
    sent, received = (read((folder / name).read_bytes())[1] for name in ("a.nsc", "b.nsc"))
    channel = BinarySymmetricChannel(0.1)
    assert torch.equal(received, channel(sent, draw_generator(3, "stream", channel.family, 0)))
    run("transmit", stream, folder / "c.nsc", "--ber", "0.1", "--seed", "3")
    assert (folder / "b.nsc").read_bytes() == (folder / "c.nsc").read_bytes()


def test_losses_are_concealed_as_by_the_link(folder):
    stream = encoded(folder, "a.nsc")
    options = ("--channel", "codec.PacketLossChannel", "--channel.loss_rate", "0.2", "--channel.frames_per_packet", "3")
    run("transmit", stream, folder / "lossy.nsc", *options)
    assert read_header((folder / "lossy.nsc").read_bytes()).layout is Layout.PROBABILITIES
    run("decode", folder / "lossy.nsc", folder / "lossy.wav", "--codec", folder / "codec.safetensors")
    codec = load_codec(folder / "codec.safetensors")
    connection = Link(concealment=RepeatLast()).connect(codec.quantizer)
    bits = read((folder / "lossy.nsc").read_bytes())[1]
    audio = codec.decode_latents(connection.latents(connection.receive(bits[None])))[0, 0, : round(3.3 * 16_000)]
    found = soundfile.read(folder / "lossy.wav", dtype="float32")[0]
    assert 0.1 < float((bits == 0.5).float().mean()) < 0.35
    assert np.abs(found - audio.detach().clamp(-1, 1).numpy()).max() < 1.1 / 32768


def test_packets_lost_and_reordered_give_whole_audio_the_same_each_time(folder, capsys):
    stream = encoded(folder, "p.nsc", "--packet_frames", "2", "--crc")
    for name in ("x", "y"):
        run("transmit", stream, folder / f"{name}.nsc", "--packet_loss", "0.1", "--reorder", "3")
        run("decode", folder / f"{name}.nsc", folder / f"{name}.wav", "--codec", folder / "codec.safetensors")
    told = capsys.readouterr().out
    found = soundfile.read(folder / "x.wav", dtype="int16")[0]
    assert len(found) == round(3.3 * 16_000) and np.array_equal(
        found, soundfile.read(folder / "y.wav", dtype="int16")[0]
    )
    reader, payload = read((folder / "x.nsc").read_bytes())
    concealed = int((payload == 0.5).any(1).sum())
    assert 0 < concealed == reader.arrivals.lost_frames and f"{concealed} concealed" in told
    order = [packet_first for packet_first in firsts((folder / "x.nsc").read_bytes())]
    late = [max(order[:i], default=0) - first for i, first in enumerate(order)]
    assert order != sorted(order) and 0 < max(late) <= 3 * 2 + 2


def firsts(data: bytes) -> list[int]:
    from tests.support.streams import packets_of

    header = read_header(data)
    return [int.from_bytes(packet[6:10], "big") for packet in packets_of(data, header)]


def test_a_link_around_the_channel_mends_flips_and_its_map_is_stated(folder):
    stream = encoded(folder, "a.nsc")
    link = ("--link.code", "codec.ConvolutionalCode", "--link.index_map", "codec.GrayMap")
    run("transmit", stream, folder / "l.nsc", "--ber", "0.03", "--codec", folder / "codec.safetensors", *link)
    codec = load_codec(folder / "codec.safetensors")
    reader, payload = read((folder / "l.nsc").read_bytes())
    codes = Link().connect(codec.quantizer).receive(read(stream.read_bytes())[1][None]).codes
    sent = Link(index_map=GrayMap()).connect(codec.quantizer).send(codes)[0]
    assert "GrayMap" in reader.header.index_map
    assert float(((payload > 0.5) != (sent > 0)).float().mean()) < 0.005


def test_error_correction_inside_the_stream(folder):
    stream = encoded(folder, "e.nsc", "--link.code", "codec.ConvolutionalCode", "--link.interleave", "8")
    run("transmit", stream, folder / "e2.nsc", "--ber", "0.03")
    sent, received = (read((folder / name).read_bytes())[1] for name in ("e.nsc", "e2.nsc"))
    assert float(((received > 0.5) != (sent > 0)).float().mean()) < 0.01
    run("transmit", stream, folder / "e3.nsc", "--channel", "codec.AWGNChannel", "--channel.es_n0_db", "1",
        "--channel.soft", "true")  # fmt: skip
    soft = read((folder / "e3.nsc").read_bytes())[1]
    assert float(((soft > 0.5) != (sent > 0)).float().mean()) < 0.01


def test_a_channel_by_its_name_in_a_configuration(folder, capsys):
    stream = encoded(folder, "a.nsc")
    suite = "configs/evaluate/channel_suite.yaml"
    run("transmit", stream, folder / "s.nsc", "--evaluation", suite, "--setting", "gilbert-elliott-0.05-20-0.5")
    assert "gilbert-elliott-0.05-20-0.5" in capsys.readouterr().out
    told = refused(capsys, "transmit", stream, folder / "s.nsc", "--evaluation", suite, "--setting", "bsc-7")
    assert "bsc-7" in told and "bsc-0.05" in told


def test_pipes_carry_what_files_hold(folder, monkeypatch):
    stream = encoded(folder, "a.nsc").read_bytes()
    out = through(
        monkeypatch, (folder / "clip.wav").read_bytes(), "encode", "-", "-", "--codec", folder / "codec.safetensors"
    )
    assert read(out)[1].equal(read(stream)[1]) and read_header(out).length is None
    wav = through(monkeypatch, out, "decode", "-", "-", "--codec", folder / "codec.safetensors")
    samples = np.frombuffer(wav[44:], "<i2")
    raw = through(monkeypatch, out, "decode", "-", "-", "--raw", "--codec", folder / "codec.safetensors")
    assert wav[:4] == b"RIFF" and len(samples) == round(3.3 * 16_000) and raw == wav[44:]
    words = ("encode", "-", "-", "--raw", "16000", "--codec", folder / "codec.safetensors")
    bare = soundfile.read(folder / "clip.wav", dtype="int16")[0].astype("<i2").tobytes()
    assert read(through(monkeypatch, bare, *words))[1].equal(read(stream)[1])


def through(monkeypatch: pytest.MonkeyPatch, data: bytes, *words: object) -> bytes:
    class Standard:
        def __init__(self, data: bytes) -> None:
            self.buffer = io.BytesIO(data)
            self.buffer.seekable = lambda: False  # type: ignore[method-assign]

    given, taken = Standard(data), Standard(b"")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", given)
        patch.setattr(sys, "stdout", taken)
        run(*words)
    return taken.buffer.getvalue()


def test_folders_keep_their_paths_and_one_bad_file_does_not_stop_the_others(folder, tmp_path, capsys):
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("in/one.wav", "in/deep/two.flac"):
        soundfile.write(tmp_path / name, audio_of(0.2), 16_000)
    run("encode", tmp_path / "in", tmp_path / "out", "--codec", folder / "codec.safetensors")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.nsc")) == ["out/deep/two.nsc", "out/one.nsc"]
    (tmp_path / "out/bad.nsc").write_bytes(b"no stream at all")
    told = refused(capsys, "decode", tmp_path / "out", tmp_path / "wav", "--codec", folder / "codec.safetensors")
    assert "bad.nsc" in told and len(list((tmp_path / "wav").rglob("*.wav"))) == 2
    assert not list(tmp_path.rglob("*.partial"))
    soundfile.write(tmp_path / "in/one.flac", audio_of(0.2), 16_000)
    told = refused(capsys, "encode", tmp_path / "in", tmp_path / "out", "--codec", folder / "codec.safetensors")
    assert "one.flac" in told and "one.wav" in told


def test_an_empty_file_has_no_frames(folder, tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    run("encode", tmp_path / "empty.wav", tmp_path / "empty.nsc", "--codec", folder / "codec.safetensors")
    run("transmit", tmp_path / "empty.nsc", tmp_path / "sent.nsc", "--ber", "0.1")
    run("decode", tmp_path / "sent.nsc", tmp_path / "again.wav", "--codec", folder / "codec.safetensors")
    assert soundfile.info(tmp_path / "again.wav").frames == 0


def test_a_wrong_codec_is_refused_and_another_decoder_taken_on_demand(folder, tmp_path, capsys):
    stream = encoded(folder, "a.nsc")
    other = small_codec()
    with torch.no_grad():
        other.decoder.head.weight += 0.1
    save_codec(other, tmp_path / "other.safetensors")
    told = refused(capsys, "decode", stream, tmp_path / "x.wav", "--codec", tmp_path / "other.safetensors")
    assert "fingerprint" in told and not (tmp_path / "x.wav").exists()
    run("decode", stream, tmp_path / "x.wav", "--codec", tmp_path / "other.safetensors", "--any_codec")
    save_codec(small_codec((4,) * 3), tmp_path / "fewer.safetensors")
    refused(capsys, "decode", stream, tmp_path / "x.wav", "--codec", tmp_path / "fewer.safetensors", "--any_codec")
    assert "pretrained" in refused(capsys, "decode", stream, tmp_path / "y.wav")


def test_info_states_what_is_there(folder, capsys):
    stream = encoded(folder, "p.nsc", "--packet_frames", "2", "--crc")
    capsys.readouterr()
    run("info", stream, "--as_json")
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["layout"], facts["crc"], facts["codec_bit_rate"]) == (330, "packets", True, 800.0)
    assert facts["bytes"] == stream.stat().st_size and facts["packets"] == 165
    run("info", stream)
    assert "fingerprint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("encode", "none.wav", "x.nsc"), "none.wav"),
        (("encode", "FOLDER/codec.safetensors", "x.nsc"), "audio"),
        (("encode", "FOLDER/clip.wav", "x.nsc", "--packet_frames", "256"), "255"),
        (("encode", "FOLDER/clip.wav", "x.nsc", "--crc"), "packet_frames"),
        (("encode", "FOLDER/clip.wav", "x.nsc", "--block_frames", "9"), "block_frames"),
        (("encode", "FOLDER/clip.wav", "x.nsc", "--device", "cuda:99"), "device"),
        (("encode", "FOLDER/clip.wav", "FOLDER/clip.wav"), "is the input"),
        (("encode", "FOLDER/clip.wav", "x.nsc", "--codec", "small"), "small"),
        (("encode", "FOLDER/clip.wav", "x.nsc", "--raw", "0"), "raw"),
        (("transmit", "FOLDER/a.nsc", "x.nsc"), "--ber"),
        (("transmit", "FOLDER/a.nsc", "x.nsc", "--ber", "2"), "bit_error_rate"),
        (("transmit", "FOLDER/a.nsc", "x.nsc", "--packet_loss", "0.1"), "packet_frames"),
        (("transmit", "FOLDER/a.nsc", "x.nsc", "--ber", "0.1", "--setting", "bsc-0"), "evaluation"),
        (("transmit", "FOLDER/a.nsc", "x.nsc", "--reorder", "-1"), "reorder"),
        (("decode", "FOLDER/clip.wav", "x.wav"), "stream"),
        (("decode", "FOLDER/a.nsc", "x.mp4", "--codec", "FOLDER/codec.safetensors"), ".flac"),
        (("decode", "FOLDER/a.nsc", "x.wav", "--ber", "0.5"), "ber"),
        (("info", "FOLDER/clip.wav"), "stream"),
        (("encode", "FOLDER/clip.wav", "x.nsc", "--link.concealment", "codec.RepeatLast"), "decode"),
        (("encode", "FOLDER/clip.wav", "x.nsc", "--device", "meta"), "device"),
        (("transmit", "FOLDER/a.nsc", "x.nsc", "--packet_loss", "0.1", "--link.index_map", "codec.GrayMap"), "--ber 0"),
        (("transmit", "FOLDER/a.nsc", "x.nsc", "--ber", "0.1", "--system", "FSQ"), "evaluation"),
        (("transmit", "FOLDER/a.nsc", "x.nsc", "--ber", "0.1", "--codec", "small_fsq"), "link"),
        (("transmit", "FOLDER/a.nsc", "x.nsc", "--ber", "0.1", "--link.concealment", "codec.RepeatLast"), "decode"),
        (
            (
                "decode",
                "FOLDER/a.nsc",
                "x.wav",
                "--link.concealment",
                "codec.LearnedConcealment",
                "--link.concealment.file",
                "nofile",
            ),
            "nofile",
        ),
    ],
    ids=str,
)
def test_mistakes_are_one_sentence(folder, tmp_path, monkeypatch, capsys, words, said):
    encoded(folder, "a.nsc")
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    told = refused(capsys, *(word.replace("FOLDER", str(folder)) for word in words))
    assert said in told and told.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_packet_with_flipped_bits_and_a_checksum_is_lost(folder, capsys):
    for name, options in (("with", ("--crc",)), ("without", ())):
        stream = encoded(folder, f"{name}.nsc", "--packet_frames", "2", *options)
        run("transmit", stream, folder / "flipped.nsc", "--ber", "0.01")
        reader, payload = read((folder / "flipped.nsc").read_bytes())
        sent = read(stream.read_bytes())[1]
        wrong = (payload != sent).any(1).view(-1, 2).any(1)  # packets
        if options:
            assert reader.arrivals.damaged == int(wrong.sum()) > 5 and bool(
                (payload[wrong.repeat_interleave(2)] == 0.5).all()
            )
        else:
            assert reader.arrivals.damaged == 0 and int(wrong.sum()) > 5 and payload.dtype == torch.uint8


def test_each_file_of_a_folder_has_errors_of_its_own(folder, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"in/{name}.wav", audio_of(0.5), 16_000)
    run("encode", tmp_path / "in", tmp_path / "sent", "--codec", folder / "codec.safetensors")
    for out in ("a", "b"):
        run("transmit", tmp_path / "sent", tmp_path / out, "--ber", "0.2")
    one, two, again = (read((tmp_path / name).read_bytes())[1] for name in ("a/one.nsc", "a/two.nsc", "b/one.nsc"))
    assert torch.equal(one, again) and not torch.equal(one, two)


def test_a_receiver_that_knows_the_error_rate_gets_probabilities(folder):
    stream = encoded(folder, "a.nsc")
    options = ("--link.known_error_rate", "true", "--codec", folder / "codec.safetensors")
    run("transmit", stream, folder / "known.nsc", "--ber", "0.1", *options)
    reader, payload = read((folder / "known.nsc").read_bytes())
    assert reader.header.layout is Layout.PROBABILITIES
    torch.testing.assert_close(payload.unique(), torch.tensor([0.1, 0.9]))


def test_named_pipes_and_links_as_outputs_stay(folder, tmp_path):
    stream = encoded(folder, "a.nsc")
    (tmp_path / "real.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
    os.mkfifo(tmp_path / "fifo")
    run("decode", stream, tmp_path / "link.wav", "--codec", folder / "codec.safetensors")
    assert (tmp_path / "link.wav").is_symlink() and (tmp_path / "real.wav").stat().st_size > 1000
    taken: list[bytes] = []
    reader = threading.Thread(target=lambda: taken.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    run("encode", folder / "clip.wav", tmp_path / "fifo", "--codec", folder / "codec.safetensors")
    reader.join()
    assert read(taken[0])[1].equal(read(stream.read_bytes())[1]) and (tmp_path / "fifo").is_fifo()


def test_without_a_command_its_usage_is_shown(capsys):
    assert "encode" in refused(capsys)


@pytest.mark.parametrize(
    "text",
    ["bit_error_rates: 0.1", "bit_error_rates: [a]", "channels: 5", "channels: [{class_path: codec.Foo}]", "{link: 5}"],
)
def test_configurations_of_another_form_are_refused(folder, tmp_path, capsys, text):
    stream = encoded(folder, "a.nsc")
    (tmp_path / "c.yaml").write_text(
        f"channels:\n  {text}\n" if text[0] != "{" else f"channels: {{bit_error_rates: [0.1], {text[1:-1]}}}\n"
    )
    capsys.readouterr()
    words = ("transmit", stream, tmp_path / "x.nsc", "--evaluation", tmp_path / "c.yaml", "--setting", "bsc-0.1")
    told = refused(capsys, *words)
    assert "c.yaml" in told and told.count("\n") == 1


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("index_map", "{"), ("index_map", "[" * 4000), ("index_map", "1" * 4500), ("index_map", "[]"),
        ("index_map", '{"class_path":"codec.BinarySwitchingMap","init_args":{"prior":5}}'),
        ("index_map", '{"class_path":"codec.PermutedMap","init_args":{"seed":0.5}}'),
        ("protection", '{"code":{"class_path":"codec.Repetition","init_args":{"times":1.5}}}'),
        ("protection", '{"code":{"class_path":"codec.Hamming74"},"protected_bits":[true]}'),
        ("protection", '{"code":{"class_path":"codec.LDPC5G","init_args":{"iterations":65536}}}'),
    ],
    ids=range(9),
)  # fmt: skip
def test_hostile_headers_are_one_sentence(folder, tmp_path, capsys, field, text):
    header = read_header(encoded(folder, "a.nsc").read_bytes())
    header = replace(header, block_frames=50 if field == "protection" else 0, **{field: text})
    (tmp_path / "bad.nsc").write_bytes(header.pack() + bytes(2000))
    capsys.readouterr()
    told = refused(capsys, "decode", tmp_path / "bad.nsc", tmp_path / "x.wav", "--codec", folder / "codec.safetensors")
    assert told.count("\n") == 1 and not (tmp_path / "x.wav").exists()
    if (field == "index_map" and text[0] not in "[{") or text in ("{", "[" * 4000):
        refused(capsys, "info", tmp_path / "bad.nsc")


def test_headers_that_contradict_the_codec_are_refused(folder, tmp_path, capsys):
    header = read_header(encoded(folder, "a.nsc").read_bytes())
    for changes in ({"codebook_sizes": (3, 5)}, {"output_sample_rate": 48_000}, {"hop_length": 320}):
        (tmp_path / "bad.nsc").write_bytes(replace(header, **changes).pack() + bytes(2000))
        refused(capsys, "decode", tmp_path / "bad.nsc", tmp_path / "x.wav", "--codec", folder / "codec.safetensors")


@pytest.mark.parametrize("reorder", [0, 1, 3])
def test_a_packet_is_overtaken_by_up_to_so_many(reorder):
    impairments = Impairments(reorder=reorder)
    order = [int.from_bytes(p, "big") for i in range(5000) for p in impairments.push(i.to_bytes(4, "big"))]
    order += [int.from_bytes(packet, "big") for packet in impairments.finish()]
    place = {packet: i for i, packet in enumerate(order)}
    overtaken = [sum(place[later] < place[p] for later in range(p + 1, min(5000, p + 20))) for p in range(5000)]
    assert sorted(order) == list(range(5000)) and max(overtaken) == reorder


def test_losses_are_nested_and_as_frequent_as_stated():
    lost = []
    for loss in (0.1, 0.3):
        impairments = Impairments(loss=loss, reorder=2)
        kept = {p for i in range(4000) for p in impairments.push(i.to_bytes(4, "big"))} | set(impairments.finish())
        lost.append(4000 - len(kept))
        assert (
            abs(impairments.lost - 4000 * loss) < 4 * (4000 * loss * (1 - loss)) ** 0.5 and impairments.lost == lost[-1]
        )
    assert lost[0] < lost[1]


@pytest.mark.slow
def test_a_stopped_command_leaves_nothing(folder, tmp_path):
    words = [sys.executable, "-m", "codec", "encode", "-", str(tmp_path / "x.nsc"), "--raw", "16000", "--codec"]
    process = subprocess.Popen(
        [*words, str(folder / "codec.safetensors")], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    process.stdin.write(bytes(640_000))
    process.stdin.flush()
    for _ in range(600):
        if list(tmp_path.iterdir()):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143 and not list(tmp_path.iterdir())
