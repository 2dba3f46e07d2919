"""The two ceilings of the card: bandwidth of a large copy, and rate of a large bfloat16 matrix product."""

import torch

from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting
from tests.gpu.acceptance.timing import median_seconds


def copy_bandwidth(setting: Setting) -> float:
    """TB/s of a device-to-device copy, bytes read plus bytes written."""
    count = setting.pick(2**30, 2**22)
    source = torch.randn(count // 4, device=setting.device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), setting.device)
    assert torch.equal(target[-1000:], source[-1000:])
    return 2 * count / seconds / 1e12


def matmul_rate(setting: Setting) -> float:
    """TFLOP/s of a square bfloat16 matrix product."""
    size = setting.pick(8192, 256)
    a, b = (torch.randn(size, size, device=setting.device).bfloat16() for _ in range(2))
    out = torch.empty_like(a)
    seconds = median_seconds(lambda: torch.mm(a, b, out=out), setting.device)
    return 2 * size**3 / seconds / 1e12


def run(setting: Setting, report: Report) -> None:
    """Measure both; on a GPU they are at least two thirds of what an H100 is known to reach."""
    bandwidth, rate = copy_bandwidth(setting), matmul_rate(setting)
    if setting.full:
        report.at_least("copy, TB/s", bandwidth, 2.0)
        report.at_least("matrix product in bfloat16, TFLOP/s", rate, 500.0)
    else:
        report.value("copy, TB/s", bandwidth)
        report.value("matrix product in bfloat16, TFLOP/s", rate)
