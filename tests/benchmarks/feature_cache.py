"""Features of w2v-BERT read from a `TeacherCache` against computing them: `python -m tests.benchmarks.feature_cache`.

Sixteen layers at full size with random weights, four clips of two seconds, in turns; the system has the files cached.
"""

import statistics
import tempfile
import time

import torch

from codec import TeacherCache, W2VBertEncoder


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        encoder = W2VBertEncoder(cache=TeacherCache(folder)).eval()
        audio = encoder.whole_frames(0.1 * torch.randn(4, 1, 32_000))
        encoder(audio)  # stores the features
        seconds: dict[str, list[float]] = {"computed": [], "read": []}
        for _ in range(3):
            for name in seconds:
                start = time.perf_counter()
                encoder.frozen(audio) if name == "computed" else encoder(audio)
                seconds[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    print(
        f"computed {statistics.median(seconds['computed']):.1f} s, read with the adapter "
        f"{1000 * statistics.median(seconds['read']):.0f} ms: {min(ratios):.0f} to {max(ratios):.0f} times as fast"
    )


if __name__ == "__main__":
    main()
