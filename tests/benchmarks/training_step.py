"""Time of our adversarial step over that of a plain step, in one run.

    python -m tests.benchmarks.training_step [PAIRS]

The plain step runs the codec once for the discriminators and again for itself, runs the discriminators on real and
generated audio in passes of their own, and lets the codec's loss compute gradients for the discriminators that nobody
uses.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from codec import CodecModule
from codec.training.adversary import discriminate_both
from codec.training.alternating import frozen
from codec.training.losses import LossInputs
from tests.support.building import build

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def shared_step(module: CodecModule, audio: torch.Tensor) -> None:
    """What `CodecModule.training_step` computes."""
    output = module.codec(audio)
    scores = discriminate_both(module.discriminators, audio, output.audio.detach())
    module.adversarial_loss.discriminator(*scores).backward()
    with frozen(module.discriminators):
        inputs = LossInputs(module.codec, output, audio)
        *_, judged = module._judged_terms(inputs, audio, output.audio)
        module._generator_terms(inputs, {}, judged)["generator"].backward()
    module.zero_grad()


def plain_step(module: CodecModule, audio: torch.Tensor) -> None:
    """The same losses and codec gradients without reuse."""
    with torch.no_grad():
        fake = module.codec(audio).audio
    scores = [[j.score for d in module.discriminators for j in d(x)] for x in (audio, fake)]
    module.adversarial_loss.discriminator(*scores).backward()
    output = module.codec(audio)
    real, fake_ = ([j for d in module.discriminators for j in d(x)] for x in (audio, output.audio))
    losses = {
        "mel": module.reconstruction_loss.distance(output.audio, audio),
        "adversarial": module.adversarial_loss.generator([j.score for j in fake_]),
        "feature_matching": module.feature_matching_loss(
            LossInputs(module.codec, output, audio, real=list(real), fake=fake_)
        ),
    }
    module._weighted_sum(losses).backward()
    module.zero_grad()


def seconds(step: Callable[[CodecModule, torch.Tensor], None], module: CodecModule, audio: torch.Tensor) -> float:
    start = time.perf_counter()
    step(module, audio)
    return time.perf_counter() - start


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    module = build(yaml.safe_load(CONFIG.read_text())["model"], CodecModule)
    audio = 0.1 * torch.randn(8, 1, 6400)
    for step in (shared_step, plain_step):
        step(module, audio)
    ratios = [seconds(shared_step, module, audio) / seconds(plain_step, module, audio) for _ in range(pairs)]
    print(
        f"shared step / plain step: median {statistics.median(ratios):.2f}, "
        f"from {min(ratios):.2f} to {max(ratios):.2f} over {pairs} pairs"
    )


if __name__ == "__main__":
    main()
