"""Published scores on LibriSpeech test-clean, for comparison with the results: Llasa (arXiv 2502.04128), table 1."""

from typing import NamedTuple


class Published(NamedTuple):
    """A codec's published scores; the rate in kbit/s."""

    codec: str
    rate: float
    pesq_wb: float
    pesq_nb: float
    stoi: float


PUBLISHED = (
    Published("DAC, 12 codebooks", 6.0, 4.01, 4.15, 0.95),
    Published("EnCodec, 8 codebooks", 6.0, 2.77, 3.18, 0.94),
    Published("EnCodec, 2 codebooks", 1.5, 1.56, 1.94, 0.85),
    Published("Mimi, 8 codebooks", 1.1, 2.25, 2.80, 0.91),
    Published("BigCodec", 1.04, 2.68, 3.27, 0.93),
    Published("DAC, 2 codebooks", 1.0, 1.13, 1.40, 0.73),
    Published("WavTokenizer-75", 0.9, 2.13, 2.63, 0.90),
    Published("X-Codec 2", 0.8, 2.43, 3.04, 0.92),
)
