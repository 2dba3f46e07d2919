"""Train, score and use neural speech codecs: `python train.py {fit,validate,test,predict,sweep} --config …`."""

import sys

from lightning import LightningModule

from callbacks import ChannelEvaluation, PredictionWriter, Preflight
from codec.cli.command_line import CodecCLI
from codec.cli.sweeps import sweep
from data import SpeechDataModule


def main() -> None:
    """Parse the command line, build trainer, model and data, and run."""
    if sys.argv[1:2] == ["sweep"]:
        return sweep(main)
    callbacks = {"channels": ChannelEvaluation, "predictions": PredictionWriter, "preflight": Preflight}
    CodecCLI(LightningModule, SpeechDataModule, forced_callbacks=callbacks)


if __name__ == "__main__":
    main()
