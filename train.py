"""Train, score and use neural speech codecs: `python train.py {fit,validate,test,predict} --config configs/….yaml`."""

from lightning import LightningModule

from callbacks import ChannelEvaluation, PredictionWriter
from codec.cli import CodecCLI
from data import SpeechDataModule


def main() -> None:
    """Parse the command line, build trainer, model and data, and run."""
    callbacks = {"channels": ChannelEvaluation, "predictions": PredictionWriter}
    CodecCLI(LightningModule, SpeechDataModule, forced_callbacks=callbacks)


if __name__ == "__main__":
    main()
