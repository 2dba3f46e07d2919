"""A trainer made in Python: strategies and precisions that do not work are refused; TF32 in training alone."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import DoublePrecision, HalfPrecision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from codec.errors import InvalidValue
from codec.training.comparison_module import ComparisonModule, System
from codec.training.distributed.ddp import AlternatingDDPStrategy
from codec.training.distributed.fsdp import AlternatingFSDPStrategy
from codec.training.distributed.supported import check_options, check_trainer
from codec.training.float32_precision import Float32Precision
from tests.support.small_codec import small_codec
from tests.support.training import VoiceData, quiet_trainer, tiny_module


@pytest.mark.parametrize("strategy", ["ddp", "ddp_find_unused_parameters_true", "ddp_spawn", DDPStrategy])
@pytest.mark.parametrize("module", [tiny_module, lambda: ComparisonModule([System("one", codec=small_codec())])])
def test_a_module_refuses_plain_ddp(strategy, module):
    module = module()
    module.trainer = quiet_trainer(devices=2, strategy=strategy if isinstance(strategy, str) else strategy())
    with pytest.raises(InvalidValue, match=r"^trainer\.strategy DDPStrategy must be ddp_alternating, .*: take ddp_alt"):
        module.setup("fit")


def test_several_devices_that_chose_ddp_by_themselves_are_refused():
    module = tiny_module()
    module.trainer = quiet_trainer(devices=2)
    with pytest.raises(InvalidValue) as error:
        module.setup("fit")
    assert error.value.value == "DDPStrategy"


@pytest.mark.parametrize("strategy", ["ddp_alternating", "fsdp_alternating", AlternatingDDPStrategy()])
def test_a_module_takes_strategies_that_leave_averaging_to_it(strategy):
    check_trainer(quiet_trainer(devices=2, strategy=strategy))


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_converted_weights_are_refused_before_the_first_batch(precision):
    with pytest.raises(InvalidValue, match=f"^trainer.precision {precision} must be 32-true, .*: take bf16-mixed"):
        quiet_trainer(max_steps=1, precision=precision).fit(tiny_module(), VoiceData())


@pytest.mark.parametrize("plugin", [DoublePrecision(), HalfPrecision("bf16-true")])
def test_a_precision_given_as_a_plugin_is_refused_alike(plugin):
    with pytest.raises(InvalidValue, match=plugin.precision):
        check_trainer(quiet_trainer(plugins=[plugin]))


@pytest.mark.parametrize("precision", [32, "32", "32-true", "bf16-mixed", "bf16", "16-mixed", None])
@pytest.mark.parametrize("strategy", ["auto", "ddp_alternating", AlternatingFSDPStrategy(), SingleDeviceStrategy()])
def test_options_that_work_are_accepted(precision, strategy):
    check_options({"strategy": strategy, "precision": precision})


@pytest.mark.parametrize("precision", [32, "32-true", "bf16-mixed"])
def test_a_trainer_of_such_a_precision_is_accepted_too(precision):
    check_trainer(quiet_trainer(precision=precision))


@pytest.fixture
def settings():
    """settings(): the two settings of PyTorch, which are put back afterwards."""

    def read():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = read()
    yield read
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def pretend(device, stage):
    return SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)), state=SimpleNamespace(fn=stage))


def test_training_on_a_gpu_uses_tf32_for_products_and_convolutions_and_evaluation_for_neither(settings):
    before, callback, trainer = settings(), Float32Precision(), pretend("cuda", "fit")
    callback.setup(trainer, None, "fit")
    seen = []
    for hook in ("on_validation_start", "on_validation_end", "on_train_start", "on_validation_start",
                 "on_validation_end"):  # fmt: skip
        getattr(callback, hook)(trainer, None)
        seen.append(settings())
    assert seen == [("highest", False), ("high", True), ("high", True), ("highest", False), ("high", True)]
    callback.teardown(trainer, None, "fit")
    assert settings() == before


@pytest.mark.parametrize("hook", ["on_test_start", "on_predict_start", "on_validation_start"])
def test_scores_and_codes_are_computed_in_full_float32(settings, hook):
    before, callback, trainer = settings(), Float32Precision(), pretend("cuda", "test")
    callback.setup(trainer, None, "test")
    getattr(callback, hook)(trainer, None)
    assert settings() == ("highest", False)
    callback.on_exception(trainer, None, OSError())
    assert settings() == before


def test_other_devices_keep_their_setting(settings):
    before, callback = settings(), Float32Precision()
    callback.setup(pretend("cpu", "fit"), None, "fit")
    callback.on_train_start(pretend("cpu", "fit"), None)
    assert settings() == before


def test_modules_bring_the_setting_along():
    seen = []

    class Look(L.Callback):
        def on_train_start(self, trainer, pl_module):
            seen.extend(type(callback) for callback in trainer.callbacks)

    trainer = quiet_trainer(max_steps=1, callbacks=[Look()])
    for _ in range(2):
        trainer.fit(tiny_module(), VoiceData())
    assert seen.count(Float32Precision) == 1
    comparison = ComparisonModule([System("one", codec=small_codec())])
    assert [type(callback) for callback in comparison.configure_callbacks()] == [Float32Precision]
