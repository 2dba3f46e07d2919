"""What a command shows: a line of progress now and then, sizes, no advertisements; the last resort for errors."""

import errno
import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelSummary, RichModelSummary, TQDMProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

import train
from codec.cli import CodecCLI, terminal
from codec.cli.last_resort import FirstBatch, failed_write, quiet_log_writer, refusal
from codec.cli.wrong_values import wrong_value
from tests.support.command_line import run
from tests.support.paths import ROOT
from tests.support.training import VoiceData, quiet_trainer, tiny_module


def test_redirected_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10**6, 3))  # three seconds pass at each look
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(now)))
    quiet_trainer(max_steps=12, enable_progress_bar=True, callbacks=[terminal.ProgressLines()]).fit(
        tiny_module(discriminator_start=100), VoiceData()
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Training: batch ")]
    assert 2 <= len(lines) <= 5
    assert lines[-1].startswith("Training: batch 12 of 12, ") and "mel " in lines[-1]


@pytest.mark.parametrize(("size", "unit"), [(1, "clip"), (4, "batch")])
def test_an_evaluation_counts_clips_or_batches_of_them(
    capsys: pytest.CaptureFixture[str], size: int, unit: str
) -> None:
    data = SimpleNamespace(clips_per_batch=size)
    runner = SimpleNamespace(
        datamodule=data, num_test_batches=[7], num_val_batches=[7], state=SimpleNamespace(fn="test")
    )
    lines = terminal.ProgressLines()
    lines.on_test_start(runner, None)  # type: ignore[arg-type]
    lines.on_test_batch_end(runner, None, None, None, 6)
    lines.on_validation_batch_end(runner, None, None, None, 6)
    told = capsys.readouterr().out
    assert f"Testing: {unit} 7 of 7" in told and f"Validating: {unit} 7 of 7" in told


def test_bars_stay_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")  # comes with transformers
    kinds = []
    for terminals in (True, False):
        monkeypatch.setattr(terminal.sys.stdout, "isatty", lambda answer=terminals: answer, raising=False)
        shown: list[Any] = [TQDMProgressBar(), RichModelSummary()]
        terminal.plain_output(shown, own=[])
        kinds.append([type(callback).__name__ for callback in shown])
    assert kinds == [["BatchProgressBar", "Sizes"], ["ProgressLines", "Sizes"]]
    own = ModelSummary(max_depth=3)
    shown = [own]
    terminal.plain_output(shown, own=[own])
    assert shown == [own]


def test_sizes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    quiet_trainer(max_steps=1, callbacks=[terminal.Sizes()]).fit(tiny_module(), VoiceData())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "codec.encoder", "codec.quantizer", "codec.decoder", "discriminators", "parameters"
    ]  # fmt: skip


def test_advertisements_are_dropped_and_messages_stay(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = list(logger.filters)
    try:
        terminal.silence_libraries()
        with caplog.at_level(logging.INFO):
            rank_zero_info("💡 Tip: try litlogger")
            rank_zero_info("Restoring states from the checkpoint path at last.ckpt")
            rank_zero_info("Loaded model weights from the checkpoint at last.ckpt")
            rank_zero_info("GPU available: False, used: False")
    finally:
        logger.filters = before
    assert [record.getMessage() for record in caplog.records] == ["GPU available: False, used: False"]


def raised(function: Any) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def own_mistake() -> None:
    raise TypeError("a mistake of ours")


def test_errors_of_libraries_about_options_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = raised(lambda: quiet_trainer(val_check_interval=1.5))
    assert isinstance(error, MisconfigurationException)
    assert "1.5 for val_check_interval" in str(refusal(error)) and "CODEC_TRACEBACK" in str(refusal(error))
    missing = refusal(raised(lambda: (tmp_path / "none" / "file").write_text("")))
    assert missing is not None and missing.startswith(f"{tmp_path}/none/file cannot be used (No such file")
    assert refusal(raised(own_mistake)) is None
    monkeypatch.setenv("CODEC_TRACEBACK", "1")
    assert refusal(error) is None


def test_a_full_disk_is_one_sentence_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    error = BufferError("Existing exports of data")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device", "training.png")
    told = str(failed_write(error))
    assert told.startswith("training.png could not be written (No space left on device): make room")
    assert "A file of the run" in str(failed_write(OSError(errno.EDQUOT, "Quota exceeded")))
    assert failed_write(OSError(errno.ENOENT, "No such file")) is None and failed_write(ValueError("none")) is None
    monkeypatch.setenv("CODEC_TRACEBACK", "1")
    assert failed_write(error) is None


def test_a_log_that_cannot_be_written_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    others: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", others.append)
    for _ in range(2):
        quiet_log_writer()

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kind = type("_AsyncWriterThread", (threading.Thread,), {"__module__": "tensorboard.summary"})
    for thread in (kind(target=fail), threading.Thread(target=fail)):
        thread.start()
        thread.join()
    assert capfd.readouterr().err == "TensorBoard's log could not be written (No space left on device).\n"
    assert len(others) == 1


def test_an_interrupt_before_the_run_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(cli: CodecCLI) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CodecCLI, "before_instantiate_classes", interrupt)
    with pytest.raises(SystemExit, match="Interrupted"):
        run(monkeypatch, "fit", "--config", ROOT / "configs" / "quickstart.yaml")


def test_the_first_batch_is_noticed() -> None:
    callback = FirstBatch()
    quiet_trainer(max_steps=0, callbacks=[callback]).fit(tiny_module(), VoiceData())
    assert not callback.reached
    quiet_trainer(max_steps=1, callbacks=[callback]).fit(tiny_module(), VoiceData())
    assert callback.reached


def test_a_wrong_type_is_one_sentence() -> None:
    message = (
        'Parser key "trainer.devices":\n  Does not validate against any of the Union subtypes\n'
        "  Subtypes: [list[int], <class 'str'>, typing.Literal['a', 'b'], <class 'NoneType'>]\n  Errors:\n"
        "    - Expected a <class 'list'>\n    - Expected a <class 'NoneType'>\n"
        "  Given value type: <class 'dict'>\n  Given value: {}\n"
    )
    assert wrong_value(message) == "trainer.devices {} is not accepted: it takes list[int], str, 'a', 'b', null."
    assert wrong_value("another") is None and wrong_value('Parser key "a": of another form') is None


@pytest.mark.parametrize(("option", "value", "said"), [
    ("codec.init_args.quantizer.init_args.levels", "[4, x]", "x is not accepted by codec.FSQ: it takes int."),
    ("codec.init_args.quantizer", "nothere.FSQ", "nothere.FSQ cannot be loaded (No module named 'nothere')."),
    ("adversary.start", "-1.5", "-1.5 is not accepted by codec.CodecModule: it takes int."),
    ("optimization.optimizer.init_args.lr", "fast", "fast is not accepted: it takes float, Tensor."),
    ("adversary.discriminators.init_args.periods",
     "[{class_path: codec.MultiPeriodDiscriminator, init_args: {periods: [2, x]}}]",
     "x is not accepted by codec.MultiPeriodDiscriminator: it takes int."),
    ("losses.init_args.wait", "[{class_path: codec.MultiScaleMelLoss, init_args: {wait: 1}}]",
     "is no option of codec.MultiScaleMelLoss. Did you mean 'weight' instead of 'wait'?"),
])  # fmt: skip
def test_a_wrong_value_inside_a_part_is_one_sentence(monkeypatch, capsys, option, value, said) -> None:
    """jsonargparse's own text lists every type that it tried, on up to twenty lines."""
    typed = option.partition(".init_args.")[0] if value.startswith("[{") else option
    words = ["--config", str(ROOT / "configs/quickstart.yaml"), f"--model.init_args.{typed}", value]
    monkeypatch.setattr("sys.argv", ["train.py", "fit", *words])
    with pytest.raises(SystemExit) as stop:
        train.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: model.init_args.{option} {said}"
