"""The command line of `train.py`."""

from codec.cli.command_line import CodecCLI
from codec.cli.sweeps import sweep

__all__ = ["CodecCLI", "sweep"]
