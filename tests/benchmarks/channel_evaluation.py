"""Time of a whole channel evaluation over the time of its metrics alone, on the same cores.

    python -m tests.benchmarks.channel_evaluation [--clips 24] [--seconds 4] [--repeats 3] [--folder DIR]
    python -m tests.benchmarks.channel_evaluation --metrics all --clips 8 --rounds 2

Prints the ratio; the aim is at most 1.15. The metrics alone are calls of `pesq` in both modes and `pystoi.stoi` plain
and extended, or with `--metrics all` the metrics of configs/evaluate/field.yaml, timed in turn with the evaluation, in
a bare process pool that has started, imported the packages, loaded their models and holds the signals already. The
evaluation is timed from its first clip to its report, with the start of its processes, figures and files; it makes up
for decoding by analysing each pair once for STOI and ESTOI.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_signals: list[tuple[np.ndarray, np.ndarray]] = []
_metrics: list[Any] = []  # empty for the packages' own calls of PESQ and STOI


def every_metric() -> list[Any]:
    """The metrics of configs/evaluate/field.yaml."""
    from callbacks.metrics import (
        DNSMOS,
        PESQ,
        PLCMOS,
        STOI,
        CharacterErrorRate,
        DistillMOS,
        MelDistance,
        SpeakerSimilarity,
        ViSQOL,
        WordErrorRate,
    )

    intrusive = [PESQ("wb"), PESQ("nb"), STOI(), STOI(extended=True), ViSQOL(), MelDistance()]
    rates = [WordErrorRate(), CharacterErrorRate(), SpeakerSimilarity()]
    return [*intrusive, *rates, DNSMOS(), DNSMOS("p808"), PLCMOS(), DistillMOS()]


def load(path: str, every: bool) -> None:
    """In a worker: hold all signals, and import what the calls need."""
    _metrics.extend(every_metric() if every else [])
    import pesq  # noqa: F401
    import pystoi  # noqa: F401

    with np.load(path) as archive:
        count = len(archive.files) // 2
        _signals.extend((archive[f"r{i}"], archive[f"d{i}"]) for i in range(count))


def call(index: int) -> Any:
    """The PESQ and STOI calls that one signal needs, or all metrics."""
    from pesq import pesq
    from pystoi import stoi

    reference, degraded = _signals[index]
    if _metrics:
        from callbacks.scoring.signals import score

        return score(_metrics, reference, degraded, sample_rate=RATE)
    quality = [pesq(RATE, reference, degraded, mode) for mode in ("wb", "nb")]
    return (*quality, *(stoi(reference, degraded, RATE, extended=extended) for extended in (False, True)))


def time_calls_alone(signals: list[tuple[np.ndarray, np.ndarray]], workers: int, folder: Path, *, every: bool) -> float:
    path = str(folder / "signals.npz")
    arrays = {f"{kind}{i}": pair[k] for i, pair in enumerate(signals) for k, kind in enumerate("rd")}
    np.savez(path, **arrays)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    with ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=load, initargs=(path, every)
    ) as pool:
        list(pool.map(call, [0] * 4 * workers))  # start every process
        start = time.perf_counter()
        list(pool.map(call, range(len(signals))))
        elapsed = time.perf_counter() - start
    for variable in THREAD_VARIABLES:
        os.environ.pop(variable)
    return elapsed


def synthetic_clip(seed: int, seconds: float) -> np.ndarray:
    """Harmonics of a gliding pitch under a syllable envelope, with pauses: [T], float32."""
    generator = np.random.default_rng(seed)
    moments = np.arange(int(seconds * RATE)) / RATE
    pitch = 100 + 80 * generator.random() + 25 * np.sin(2 * np.pi * 0.9 * moments + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voiced = sum(np.sin(k * phase + seed) / k for k in range(1, 30))
    envelope = np.clip(0.4 + 0.6 * np.sin(2 * np.pi * 3.5 * moments + generator.random()), 0, None)
    envelope *= np.sin(2 * np.pi * 0.4 * moments + seed) > -0.8
    signal = envelope * voiced + 0.003 * generator.standard_normal(len(moments))
    return (0.5 * signal / np.abs(signal).max()).astype(np.float32)


def read_clips(folder: Path | None, count: int, seconds: float) -> list[np.ndarray]:
    if folder is None:
        return [synthetic_clip(seed, seconds) for seed in range(count)]
    import soundfile

    from callbacks.metrics.resampling import resample

    clips = []
    for path in sorted(folder.rglob("*.flac"))[:count]:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        clips.append(resample(audio[: int(seconds * rate), 0], rate, RATE).astype(np.float32))
    return clips


def build_module() -> Any:
    """A module around the quickstart-sized codec, and a metric that keeps what it was given to score."""
    import torch
    from lightning.pytorch import LightningModule

    from codec.codec import NeuralCodec
    from codec.decoders.backbones import ConvNeXtBackbone
    from codec.decoders.vocos import VocosDecoder
    from codec.encoders.spectral import SpectralEncoder
    from codec.quantizers import FSQ

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            encoder = SpectralEncoder(dim=192, hop_length=320, width=192, depth=3)
            decoder = VocosDecoder(ConvNeXtBackbone(dim=192, width=256, depth=5), hop_length=320)
            self.codec = NeuralCodec(encoder, FSQ(192, [4] * 8), decoder, sample_rate=RATE)

        def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
            return {"codes": self.codec.encode(batch["audio"])}

    return Module()


def evaluate(module: Any, clips: list[np.ndarray], arguments: argparse.Namespace, folder: Path) -> tuple[float, Any]:
    """Wall time of the evaluation of a warm trainer, from its first clip to its report."""
    import torch
    from lightning.pytorch import Callback, LightningModule, Trainer
    from torch.utils.data import DataLoader, IterableDataset

    from callbacks.channel.evaluation import ChannelEvaluation

    class Clips(IterableDataset[dict[str, Any]]):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            for number, audio in enumerate(clips):
                yield {"audio": torch.from_numpy(audio)[None, None], "id": [f"clip_{number:03d}"]}

    class Clock(Callback):
        start = end = 0.0

        def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.start = time.perf_counter()

        def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.end = time.perf_counter()

    clock = Clock()
    evaluation = ChannelEvaluation(
        audio_clips=arguments.audio_clips,
        num_workers=arguments.workers,
        repeats=arguments.repeats,
        metrics=every_metric() if arguments.metrics == "all" else None,
    )
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, default_root_dir=folder, callbacks=[clock, evaluation],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.test(module, DataLoader(Clips(), batch_size=None), verbose=False)
    return clock.end - clock.start, evaluation


def decoded_signals(module: Any, clips: list[np.ndarray], evaluation: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Exactly the pairs that the evaluation has scored."""
    import torch

    from callbacks.channel.transmission import decode_receptions, transmit
    from codec.training.comparison_module import EvaluatedSystem

    pairs, system = [], EvaluatedSystem("", module.codec)
    for number, audio in enumerate(clips):
        with torch.no_grad():
            codes = module.codec.encode(torch.from_numpy(audio)[None, None])
        sent = transmit(
            system.connection, codes, evaluation.channels,
            clip_id=f"clip_{number:03d}", seed=evaluation.seed, repeats=evaluation.repeats,
        )  # fmt: skip
        decoded = decode_receptions(
            system, sent, sample_rate=RATE, length=len(audio), batch_size=evaluation.decode_batch
        )
        pairs += [(audio, signal) for signal in decoded]
    return pairs


def train_briefly(module: Any, clips: list[np.ndarray], steps: int) -> None:
    """A few steps on short spectra, so that the signals are no silence and PESQ finds utterances."""
    import torch

    def spectra(audio: torch.Tensor) -> torch.Tensor:
        return torch.stft(audio[:, 0], 512, 128, window=torch.hann_window(512), return_complex=True).abs()

    optimizer = torch.optim.Adam(module.codec.parameters(), lr=1e-3)
    generator = np.random.default_rng(0)
    for _ in range(steps):
        stretches = []
        for _ in range(4):
            clip = clips[generator.integers(len(clips))]
            start = generator.integers(len(clip) - RATE + 1)
            stretches.append(torch.from_numpy(clip[start : start + RATE]))
        audio = torch.stack(stretches)[:, None]  # [B, 1, T]
        optimizer.zero_grad()
        (spectra(module.codec(audio).audio) - spectra(audio)).abs().mean().backward()
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, default=None, help="FLAC files instead of synthetic clips")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--audio-clips", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="draws per clip and channel, of which there are 8")
    parser.add_argument("--steps", type=int, default=60, help="training steps of the codec before")
    parser.add_argument("--metrics", choices=("default", "all"), default="default")
    arguments = parser.parse_args()
    clips = read_clips(arguments.folder, arguments.clips, arguments.seconds)
    module = build_module()
    train_briefly(module, clips, arguments.steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        evaluate(module, clips[:1], arguments, folder)  # warm: imports and first figures
        encoded: list[int] = []
        counter = module.codec.encoder.register_forward_hook(lambda *_: encoded.append(1))
        first, evaluation = evaluate(module, clips, arguments, folder)
        counter.remove()
        pairs = decoded_signals(module, clips, evaluation)
        every = arguments.metrics == "all"
        whole, alone = [first], [time_calls_alone(pairs, arguments.workers, folder, every=every)]
        for _ in range(arguments.rounds - 1):  # in turn, so that other load on the machine meets both
            whole.append(evaluate(module, clips, arguments, folder)[0])
            alone.append(time_calls_alone(pairs, arguments.workers, folder, every=every))
    parameters = sum(parameter.numel() for parameter in module.codec.parameters())
    draws = len(clips) * len(evaluation.channels) * evaluation.repeats
    print(f"codec {parameters / 1e6:.1f} M parameters, {len(clips)} clips, encoder run {len(encoded)} times")
    print(f"{draws} draws, {len(pairs)} different signals, which are decoded in batches and scored")
    kind = "all metrics" if every else "PESQ and STOI calls"
    print(f"{kind} alone, {arguments.workers} processes: {seconds(alone)}")
    print(f"whole channel evaluation: {seconds(whole)}")
    print(f"ratio of the shortest: {min(whole) / min(alone):.3f} (aim: at most 1.15)")


def seconds(times: list[float]) -> str:
    return ", ".join(f"{value:.2f} s" for value in times)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
