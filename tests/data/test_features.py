"""`python -m data.features`: what a frozen model makes of every clip, read back by its id, whoever computed it."""

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from codec import load_codec
from data import DataError, FeatureShards, FolderSource
from data.audio.reading import read_whole
from data.features import extract, main
from data.prepare import Filters, LocalPool, pack
from data.prepare.recipes.features import FeatureJob, build_model
from tests.support.folders import contents

Write = Callable[..., Path]
TINY = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


class Bands(nn.Module):
    """Random features of frames of 100 samples; refuses what has no frame, and cannot bear one length."""

    def __init__(self, dim: int = 4, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.project, self.activation = nn.Linear(100, dim), activation or nn.Identity()

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """`[B, dim, F]` of audio `[B, 1, T]`."""
        frames = audio.shape[-1] // 100
        if not frames:
            raise ValueError("too short")
        if frames == 77:
            raise RuntimeError("out of memory")
        scale = torch.nan if frames == 66 else 1
        return scale * self.activation(self.project(audio[..., : 100 * frames].view(len(audio), frames, 100))).mT

    def codes(self, audio: torch.Tensor) -> torch.Tensor:
        return self(audio).argmax(1, keepdim=True)

    def flat(self, audio: torch.Tensor) -> torch.Tensor:
        return self(audio).flatten()


def make_bands(dim: int) -> Bands:
    return Bands(dim)


@pytest.fixture
def corpus(write: Write, tmp_path: Path) -> Path:
    for number in range(6):
        write(f"corpus/s{number % 2}/{number}.{('wav', 'flac')[number % 2]}", 0.3 + number / 5)
    return tmp_path / "corpus"


def test_codes_of_a_pretrained_codec_are_those_of_the_codec(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "codes"
    model = ["--model", "codec.load_codec", "--init", "path=small_fsq", "--call", "encode", "--dtype", "int32"]
    assert main([str(corpus), str(out), *model, "--shard-size", "30K", "--workers", "2"]) == 0
    codes, codec = FeatureShards(str(out)), load_codec("small_fsq")
    clips = list(FolderSource(str(corpus)).clips())
    assert list(codes.ids()) == [clip.id for clip in clips] and len(list(out.glob("*.tar"))) > 1
    for clip in clips:
        audio = read_whole(clip.path, (16000,))[0][None]
        assert codes[clip.id].dtype == torch.int32 and torch.equal(codes[clip.id].long(), codec.encode(audio)[0])
    assert codec.decode(codes[clips[0].id][None]).shape[-1] > 4000, "codes decode as they were stored"


@pytest.mark.filterwarnings("ignore")
def test_w2v_bert_gives_the_features_that_training_computes(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    init = ["--init", "layers=1", "--init", f"config={json.dumps(TINY)}"]
    command = [str(corpus), str(tmp_path / "out"), "--model", "codec.W2VBert", *init]
    assert main([*command, "--max-seconds", "1"]) == 0
    features = FeatureShards(str(tmp_path / "out"), name="corpus")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("codec.W2VBert", {"layers": 1, "config": TINY})
    audio = read_whole(corpus / "s1/1.flac", (16000,))[0]
    assert (features["corpus/s1/1.flac"] - model(audio[None])[0]).abs().max() < 1e-5
    assert "corpus/s1/5.flac" not in features and len(features) == 4


def test_shards_do_not_depend_on_workers_interruptions_or_random_state(corpus: Path, tmp_path: Path) -> None:
    source, path = FolderSource(str(corpus)), f"{__name__}.Bands"
    init = {"dim": 3, "activation": {"class_path": "torch.nn.ReLU"}}
    for workers in (1, 3):
        torch.manual_seed(workers)
        options = {"shard_bytes": 30_000, "engine": LocalPool(workers)}
        extract(source, tmp_path / f"out{workers}", FeatureJob(path, init), **options)
    whole = contents(tmp_path / "out1")
    assert whole == contents(tmp_path / "out3")
    (tmp_path / "out1/shard-00001.tar").unlink()
    (tmp_path / "out1/manifest.tsv").unlink()
    extract(source, tmp_path / "out1", FeatureJob(path, init), shard_bytes=30_000)
    assert contents(tmp_path / "out1") == whole
    assert (FeatureShards(str(tmp_path / "out1"))[0] >= 0).all()
    with pytest.raises(DataError, match="other files or options"):
        extract(source, tmp_path / "out1", FeatureJob(path, {**init, "dim": 2}), shard_bytes=30_000)


def test_features_are_a_data_set_for_loaders(corpus: Path, tmp_path: Path) -> None:
    extract(FolderSource(str(corpus)), tmp_path / "out", FeatureJob(f"{__name__}:make_bands", {"dim": 5}))
    features = FeatureShards(str(tmp_path / "out"))
    loaded = list(DataLoader(features, batch_size=None, num_workers=1))
    assert len(loaded) == len(features) == 6
    assert all(torch.equal(value, features[place]) for place, value in enumerate(loaded))
    assert loaded[0].shape == (5, 48) and "s0/0.wav" in features and "s0/1.wav" not in features
    with pytest.raises(KeyError):
        features["s0/1.wav"]


def test_what_the_model_refuses_is_named_and_the_rest_stays(corpus: Path, write: Write, tmp_path: Path) -> None:
    write("corpus/short.wav", 0.001)
    write("corpus/nan.wav", 66 * 100 / 16000)
    (corpus / "bad.wav").write_text("no sound")
    job = FeatureJob(f"{__name__}.Bands", filters=Filters(max_seconds=1.2))
    packed = extract(FolderSource(str(corpus)), tmp_path / "out", job)
    reasons = {Path(path).name: reason for path, reason in packed.bad.items()}
    assert set(reasons) == {"short.wav", "nan.wav", "bad.wav"} and packed.clips == 5
    assert "too short" in reasons["short.wav"] and "NaN" in reasons["nan.wav"]
    assert packed.filtered == {"too long": 1}


def test_other_contents_of_a_file_are_another_corpus(corpus: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.bin"
    weights.write_bytes(b"1")
    first = FeatureJob("x.y", {"path": str(weights)}).description()
    weights.write_bytes(b"2")
    assert FeatureJob("x.y", {"path": str(weights)}).description() != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "no.such.Model"], "--model no.such.Model cannot be imported"),
        (["--model", "codec.Nothing"], "--model codec.Nothing cannot be imported"),
        (["--model", "plain"], "--model plain cannot be imported"),
        (["--model", "{here}.Bands", "--init", "dims=3"], "cannot be built .*dims"),
        (["--model", "{here}.Bands", "--init", "dim=much"], "cannot be built .*much"),
        (["--model", "{here}.Bands", "--init", "dim"], "--init 'dim' is not NAME=VALUE"),
        (["--model", "{here}.Bands", "--call", "encode"], "has no method 'encode'"),
        (["--model", "{here}.Bands", "--call", "flat"], r"returns shape \[\d+\], not \[1, ..., F\]"),
        (["--model", "{here}.Bands", "--dtype", "int16"], "--dtype int16 does not hold the model's values"),
        (["--model", "{here}.Bands", "--sample-rate", "0"], "--sample-rate 0 must be at least 1 Hz"),
        (["--model", "{here}.Bands", "--sample-rate", "25667"], "fails on .*out of memory"),
        (["--model", "codec.load_codec", "--init", "path=small_fsq", "--sample-rate", "8000"], "give 16000"),
        (["--model", "codec.load_codec", "--init", "path=small"], "There is no checkpoint small"),
        (["--model", "{tmp}/no.yaml"], "no.yaml is not a block of class_path and init_args"),
    ],
)
def test_mistakes_are_one_sentence(
    corpus: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [option.format(here=__name__, tmp=tmp_path) for option in options]
    assert main([str(corpus), str(tmp_path / "out"), *options, "--workers", "1"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and re.search(message, error), error


def test_a_yaml_block_names_the_model(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(f"class_path: {__name__}.Bands\ninit_args:\n  dim: 7\n")
    assert main([str(corpus), str(tmp_path / "out"), "--model", str(tmp_path / "model.yaml"), "--init", "dim=6"]) == 0
    assert FeatureShards(str(tmp_path / "out"))[0].shape[0] == 6


def test_shards_of_audio_are_no_features(corpus: Path, tmp_path: Path) -> None:
    pack(FolderSource(str(corpus)), tmp_path / "audio")
    with pytest.raises(DataError, match="holds no features"):
        FeatureShards(str(tmp_path / "audio"))


def test_a_cut_shard_is_named(corpus: Path, tmp_path: Path) -> None:
    extract(FolderSource(str(corpus)), tmp_path / "out", FeatureJob(f"{__name__}.Bands"))
    (tmp_path / "out/shard-00000.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"shard-00000\.tar: unreadable"):
        FeatureShards(str(tmp_path / "out"))[0]


def test_stored_arrays_are_plain_numpy_files(corpus: Path, tmp_path: Path) -> None:
    extract(FolderSource(str(corpus)), tmp_path / "out", FeatureJob(f"{__name__}.Bands", dtype="float16"))
    with tarfile.open(tmp_path / "out/shard-00000.tar") as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "files", filter="data")
    assert names[0] == "s0/0.wav.npy" and np.load(tmp_path / "files" / names[0]).dtype == np.float16
