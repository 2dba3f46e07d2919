"""Long clips: predict gets them whole, in pieces that equal the undivided clip; test and validate say what they cut."""

import gc
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import highpass_biquad

from data import DataError, FolderSource, ManifestSource, SpeechDataModule
from data.audio.files import Segment
from data.audio.pieces import LongClip, PieceReader
from data.audio.reading import read_whole
from data.datasets import ClipDataset, PieceDataset
from data.datasets.pieces import PieceSampler
from data.errors import AudioReadError
from data.sampling import ShardSampler
from tests.data.test_datamodule import place
from tests.support.speech import speech_like, write_speech


def predicted(source: FolderSource | ManifestSource, **options: Any) -> list[dict[str, Any]]:
    module = SpeechDataModule(predict_from=source, **{"num_workers": 0, **options})
    module.setup("predict")
    return list(module.predict_dataloader())


def joined(batches: list[dict[str, Any]], name: str = "audio") -> torch.Tensor:
    return torch.cat([batch[name][0] for batch in batches], -1)


@pytest.mark.parametrize(("rate", "highpass_hz"), [
    (16_000, None), (44_100, None), (11_025, None), (16_000, 30.0), (48_000, 10.0), (8_000, None),
])  # fmt: skip
def test_pieces_together_are_the_whole_clip(tmp_path: Path, rate: int, highpass_hz: float | None) -> None:
    source = FolderSource(str(write_speech(tmp_path / "c", [1.1, 7.77, 3.0], rates=(rate,))))
    options: Any = {"output_sample_rate": 24_000, "highpass_hz": highpass_hz}
    batches = predicted(source, piece_seconds=2.5, **options)
    by_clip = {name: [b for b in batches if b["id"] == [name]] for name in ("0.wav", "1.wav", "2.wav")}
    assert [len(found) for found in by_clip.values()] == [1, 4, 2]
    assert [int(b["piece"][0]) for b in by_clip["1.wav"]] == [0, 1, 2, 3]
    assert "piece" not in by_clip["0.wav"][0]
    undivided = predicted(source, **options)
    assert torch.equal(by_clip["0.wav"][0]["audio"], undivided[0]["audio"])
    for whole in undivided:
        pieces = by_clip[whole["id"][0]]
        assert {int(b.get("samples", [whole["audio"].shape[-1]])[0]) for b in pieces} == {whole["audio"].shape[-1]}
        for name in ("audio", "target"):
            found, wanted = joined(pieces, name), whole[name][0]
            assert found.shape == wanted.shape
            lead = wanted.shape[-1] // 50 if highpass_hz else 0  # the means that are subtracted differ
            near = {None: 2e-6, 30.0: 2e-4, 10.0: 1e-3}[highpass_hz]
            torch.testing.assert_close(found, wanted, atol=2e-3 if highpass_hz else near, rtol=0)
            torch.testing.assert_close(found[:, lead:], wanted[:, lead:], atol=near, rtol=0)


def test_a_clip_above_full_scale_is_divided_by_one_peak(tmp_path: Path) -> None:
    wave = speech_like(0, 6.0)
    wave[70_000] = 3.0  # in one piece only
    (tmp_path / "c").mkdir()
    soundfile.write(tmp_path / "c/loud.wav", wave, 16_000, subtype="FLOAT")
    batches = predicted(FolderSource(str(tmp_path / "c")), piece_seconds=2.0)
    (whole,) = read_whole(tmp_path / "c/loud.wav", (16_000,))
    assert whole.abs().max() == 1.0 and len(batches) == 3
    torch.testing.assert_close(joined(batches), whole, atol=1e-6, rtol=0)


def test_segments_of_long_files_come_in_pieces(tmp_path: Path) -> None:
    write_speech(tmp_path / "c", [12.0])
    (tmp_path / "c/list.jsonl").write_text('{"path": "0.wav", "offset": 1.5, "duration": 7.25}\n')
    batches = predicted(ManifestSource(str(tmp_path / "c/list.jsonl"), split=None), piece_seconds=3.0)
    (whole,) = read_whole(tmp_path / "c/0.wav", (16_000,), segment=Segment(1.5, 7.25))
    assert len(batches) == 3
    torch.testing.assert_close(joined(batches), whole, atol=1e-6, rtol=0)


def test_items_and_places_are_inverse() -> None:
    long = {1: LongClip(3, 1, 1), 2: LongClip(2, 1, 1), 5: LongClip(4, 1, 1)}
    clips: Any = [None] * 7
    dataset = PieceDataset(ClipDataset(clips, None), clips, reader=PieceReader((1,)), long=long)  # type: ignore[arg-type]
    expected = [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (4, 0), (5, 0), (5, 1), (5, 2), (5, 3), (6, 0)]
    assert [dataset._place(i) for i in range(len(dataset))] == expected
    assert list(dataset.items(range(7))) == list(range(13))
    assert list(PieceSampler(dataset, ShardSampler(7, 1, world_size=2))) == [1, 2, 3, 6, 8, 9, 10, 11]


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("workers", [0, 2])
def test_all_pieces_of_a_clip_come_in_order_on_one_rank(tmp_path: Path, world_size: int, workers: int) -> None:
    if workers and world_size > 2:
        pytest.skip("as with two ranks")
    source = FolderSource(str(write_speech(tmp_path / "c", [5.0, 1.2, 7.0, 4.1])))
    found: dict[str, list[tuple[int, int]]] = {}
    for rank in range(world_size):
        module = SpeechDataModule(predict_from=source, num_workers=workers, piece_seconds=2.0)
        place(module, rank, world_size)
        module.setup("predict")
        last = ""
        for batch in module.predict_dataloader():
            name = batch["id"][0]
            assert name == last or name not in found
            last = name
            if "piece" in batch:
                found.setdefault(name, []).append((int(batch["piece"][0]), int(batch["pieces"][0])))
            else:
                found[name] = []
    assert found == {
        "0.wav": [(0, 3), (1, 3), (2, 3)],
        "1.wav": [],
        "2.wav": [(0, 4), (1, 4), (2, 4), (3, 4)],
        "3.wav": [(0, 3), (1, 3), (2, 3)],
    }


def test_what_test_and_validate_cut_is_said_once_with_number_and_seconds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = FolderSource(str(write_speech(tmp_path / "c", [5.0, 1.2, 7.5])))
    for stage in ("test", "validate"):
        caplog.clear()
        module = SpeechDataModule(source, source, test=source, num_workers=0, max_clip_seconds=2.0)
        with caplog.at_level(logging.WARNING):
            module.setup(stage)
        (message,) = [r.getMessage() for r in caplog.records]
        assert "2 of 3 clips" in message and "max_clip_seconds=2" in message and "8.5 s" in message
    caplog.clear()
    for quiet in (
        SpeechDataModule(source, source, num_workers=0, max_clip_seconds=9.0, val_seconds=1.0),  # cut on purpose
        SpeechDataModule(source, source, num_workers=0, max_clip_seconds=9.0),
    ):
        with caplog.at_level(logging.WARNING):
            quiet.setup("fit")
    place(module, 1, 2)
    with caplog.at_level(logging.WARNING):
        module.setup("test")
    assert not caplog.records


@pytest.mark.parametrize("broken", [0, 1, 3])
def test_of_a_clip_that_breaks_nothing_arrives_after_the_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: int
) -> None:
    """As when a file is replaced while it is read: its later pieces would follow none."""
    read = PieceReader.read

    def breaking(self: PieceReader, path: str, segment: Segment | None, clip: LongClip, piece: int) -> Any:
        if path.endswith("0.wav") and piece == broken:
            raise AudioReadError(path, "was replaced while it was read")
        return read(self, path, segment, clip, piece)

    monkeypatch.setattr(PieceReader, "read", breaking)
    source = FolderSource(str(write_speech(tmp_path / "c", [7.0, 5.0])))
    batches = predicted(source, piece_seconds=2.0)
    found = [(batch["id"][0], int(batch["piece"][0])) for batch in batches]
    assert found == [*(("0.wav", piece) for piece in range(broken)), *(("1.wav", piece) for piece in range(3))]
    assert sum("was replaced" in record.getMessage() for record in caplog.records) == 1


def test_the_length_of_a_piece_is_checked() -> None:
    with pytest.raises(DataError, match="piece_seconds 0 must"):
        SpeechDataModule(piece_seconds=0)
    assert np.isfinite(SpeechDataModule().piece_seconds)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_filtered_clip_is_the_same_in_pieces_of_any_length(tmp_path: Path, rate: int) -> None:
    """Codes of pauses follow differences of 1e-4; a mean of each piece's own made a step of 1e-3 at its beginning."""
    wave = speech_like(0, 9.0, rate=rate) + np.linspace(0.2, -0.1, 9 * rate, dtype=np.float32)
    wave[2 * rate : 7 * rate] *= 1e-3
    (tmp_path / "c").mkdir()
    soundfile.write(tmp_path / "c/long.wav", wave, rate, subtype="FLOAT")
    source = FolderSource(str(tmp_path / "c"))
    reference, *others = (
        joined(predicted(source, piece_seconds=seconds, highpass_hz=30.0, loudness=-30.0))
        for seconds in (60.0, 8.9, 1.7, 3.0)  # undivided first
    )
    for found in others:
        torch.testing.assert_close(found, reference, atol=1e-7, rtol=1e-6)
    exact = highpass_biquad(torch.from_numpy(wave)[None].double() - wave.mean(dtype=float), rate, 30.0)
    if rate == 16_000:
        gain = reference.abs().max() / exact.abs().max()
        torch.testing.assert_close(reference.double(), exact * gain, atol=1e-6, rtol=0)


def test_what_the_collector_frees_is_freed_before_workers_are_forked(tmp_path: Path) -> None:
    """A decoder with threads in a reference cycle would wait in the worker for threads that it does not have."""
    freed: list[bool] = []

    class Decoder:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            freed.append(True)

    source = FolderSource(str(write_speech(tmp_path / "c", [1.0])))
    module = SpeechDataModule(predict_from=source, num_workers=1)
    place(module, 0, 1)
    module.setup("predict")
    gc.collect()
    gc.disable()
    try:
        Decoder()
        iterator = iter(module.predict_dataloader())
        next(iterator)
        assert freed
    finally:
        gc.enable()
