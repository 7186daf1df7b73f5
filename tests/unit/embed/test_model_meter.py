"""The machine is measured where that is worth it, and where it was this machine that embedded."""

from dataclasses import dataclass

import pytest

from steps.embed import model_meter
from steps.embed.model_meter import TEXTS_WORTH_MEASURING, ModelMeter


@dataclass
class Counting:
    operations_embedded: int = 1000
    precision: str = "bfloat16"


@pytest.fixture
def measured(monkeypatch):
    precisions = []
    monkeypatch.setattr(model_meter, "measure_gemm", lambda precision: precisions.append(precision) or 5e12)
    return precisions


def test_the_machine_is_measured_at_the_precision_of_the_encoder(measured):
    encoder = Counting()
    meter = ModelMeter(encoder)
    encoder.operations_embedded = 5000
    assert meter.gemm_speed(TEXTS_WORTH_MEASURING + 1) == 5e12
    assert measured == ["bfloat16"]


@pytest.mark.parametrize(
    ("texts", "operations"), [(TEXTS_WORTH_MEASURING, 5000), (10**6, 1000)], ids=["few texts", "embedded elsewhere"]
)
def test_the_machine_is_not_measured_for_little_or_for_what_others_did(measured, texts, operations):
    encoder = Counting()
    meter = ModelMeter(encoder)
    encoder.operations_embedded = operations
    assert meter.gemm_speed(texts) == 0.0
    assert measured == []
