"""Train, score and use neural speech codecs: `python train.py {fit,validate,test,predict,sweep} --config …`."""

import sys

from lightning import LightningModule

import callbacks
from codec import UserError
from codec.cli import CodecCLI, sweep
from data import DataError, SpeechDataModule

CALLBACKS = {  # on in every run, each configured under its own key
    "channels": callbacks.ChannelEvaluation,
    "checkpoint": callbacks.RunCheckpoint,
    "ema": callbacks.CodecEMA,
    "usage": callbacks.CodebookUsage,
    "throughput": callbacks.Throughput,
    "curves": callbacks.TrainingCurves,
    "predictions": callbacks.PredictionWriter,
    "preflight": callbacks.Preflight,
}


def main() -> None:
    """Parse the command line, build trainer, model and data, and run."""
    if sys.argv[1:2] == ["sweep"]:
        return sweep(main)
    CodecCLI(LightningModule, SpeechDataModule, usual_callbacks=CALLBACKS, user_errors=(UserError, DataError))


if __name__ == "__main__":
    main()
