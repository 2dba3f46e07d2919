"""Fused optimizers: by default, unscaled under fp16, skipping what is not finite; gradients of both update rules."""

import lightning as L
import pytest
import torch
from torch.nn.utils import parametrize

from codec import Adversary
from codec.errors import InvalidValue
from codec.training.losses.adversarial import mean_distance
from codec.training.optimizers import fuse, gradient_norm, make_optimizer, skip_unless_finite
from tests.support.training import VoiceData, discriminators, quiet_trainer, sgd, tiny_module


def parameter(value=1.0):
    return torch.nn.Parameter(torch.full((3,), value))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_is_fused_unless_its_user_has_chosen(kind):
    assert fuse(kind([parameter()])).param_groups[0]["fused"] is True
    assert fuse(kind([parameter()], foreach=True)).param_groups[0]["fused"] is None
    assert fuse(kind([parameter()], fused=False)).param_groups[0]["fused"] is False
    assert "fused" not in torch.optim.RMSprop([parameter()]).param_groups[0]
    fuse(torch.optim.RMSprop([parameter()]))


def test_a_fused_optimizer_leaves_unscaling_to_lightning():
    optimizer = torch.optim.AdamW([parameter()], fused=True)
    assert optimizer._step_supports_amp_scaling
    assert not fuse(optimizer)._step_supports_amp_scaling


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.0])
def test_a_gradient_that_is_not_finite_changes_neither_weights_nor_state(fused, value):
    weight = parameter()
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=fused)
    for gradient, skipped in ((1.0, 0), (value, int(value != 1.0))):
        before = weight.detach().clone()
        weight.grad = torch.full((3,), gradient)
        assert skip_unless_finite(optimizer, gradient_norm([weight.grad])) == skipped
        optimizer.step()
        assert torch.equal(weight.detach(), before) == bool(skipped)
    assert optimizer.state[weight]["step"] == (2 if value == 1.0 else 1)
    assert optimizer.state[weight]["exp_avg"].isfinite().all()


def test_feature_distances_of_half_precision_are_summed_in_float32():
    x, y = torch.randn(2, 4, 4096).bfloat16().unbind(0)
    wanted = (x.double() - y.double()).abs().mean()
    distance = mean_distance(x.requires_grad_(), y)
    assert distance.dtype == torch.float32 and distance.item() == pytest.approx(wanted.item(), rel=2e-3)
    distance.backward()
    torch.testing.assert_close(x.grad.float() * x.numel(), torch.sign(x - y).float(), rtol=0.01, atol=0.01)


class Gradients(L.Callback):
    """Keeps the gradients of each optimizer before it steps."""

    def __init__(self):
        self.kept = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        self.kept.append(torch.cat([g.flatten().clone() for g in grads]))


def gradients_of_a_step(simultaneous, *, rate):
    torch.manual_seed(0)
    adversary = Adversary(discriminators(), optimizer=lambda p: torch.optim.SGD(p, lr=rate), simultaneous=simultaneous)
    module, watch = tiny_module(adversary=adversary, optimizer=sgd, gradient_clip=0.0), Gradients()
    quiet_trainer(max_steps=1, callbacks=[watch]).fit(module, VoiceData())
    return watch.kept


def test_simultaneous_gradients_equal_those_in_turn_where_the_discriminators_stand_still():
    """With rate 0 the update rules agree: the discriminators' step changes nothing between the two gradients."""
    for together, in_turn in zip(
        gradients_of_a_step(True, rate=0.0), gradients_of_a_step(False, rate=0.0), strict=True
    ):
        torch.testing.assert_close(together, in_turn, rtol=1e-4, atol=1e-6 * float(in_turn.abs().max()))


def test_simultaneous_gradients_are_those_against_the_discriminators_before_their_step():
    still, moved = gradients_of_a_step(True, rate=0.0), gradients_of_a_step(True, rate=0.5)
    assert torch.equal(still[1], moved[1])
    assert not torch.allclose(gradients_of_a_step(False, rate=0.5)[1], moved[1], rtol=1e-3)


def test_a_frozen_weight_of_a_discriminator_stays():
    parts = discriminators()
    frozen = next(parts[0].parameters()).requires_grad_(False)
    before = frozen.clone()
    module = tiny_module(adversary=Adversary(parts, simultaneous=True))
    quiet_trainer(max_steps=1).fit(module, VoiceData())
    assert torch.equal(frozen, before)


@pytest.mark.parametrize(("simultaneous", "passes", "foldings"), [(False, 3, 2), (True, 2, 1)])
def test_discriminators_pass_and_fold_their_weights_as_often_as_stated(monkeypatch, simultaneous, passes, foldings):
    """In turn one pass is over both signals stacked; a folding computes the normalised weight of a convolution."""
    adversary = Adversary(discriminators(), simultaneous=simultaneous)
    module, counts = tiny_module(adversary=adversary), {"passes": 0, "foldings": 0}
    first = module.discriminators[0].parts[0].layers[0]
    first.register_forward_hook(lambda *_: counts.update(passes=counts["passes"] + 1))
    first.parametrizations.weight[0].register_forward_hook(lambda *_: counts.update(foldings=counts["foldings"] + 1))
    quiet_trainer(max_steps=1).fit(module, VoiceData())
    assert counts == {"passes": passes, "foldings": foldings}
    assert not parametrize._cache_enabled


def test_an_optimizer_that_cannot_be_made_names_its_option():
    def without_rates(_parameters):
        raise RuntimeError("no rates")

    with pytest.raises(InvalidValue) as caught:
        make_optimizer(without_rates, [parameter()], option="adversary.optimizer")
    assert caught.value.what == "adversary.optimizer" and isinstance(caught.value.__cause__, RuntimeError)
    assert "RuntimeError: no rates, test_optimizers.py line" in str(caught.value)
