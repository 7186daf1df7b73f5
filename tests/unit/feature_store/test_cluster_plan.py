"""How many encoders a Ray cluster gets, and where. No cluster is needed for that, but Ray has to be installed."""

import pytest

from feature_store.config import ExecutorConfig
from feature_store.errors import ConfigurationError

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")

from feature_store.executors.cluster import Node, Place, plan_encoders

SMALL, LARGE = Node("s", "10.0.0.1", 4, 0), Node("l", "10.0.0.2", 16, 0)
GPU, HEAD = Node("g", "10.0.0.3", 32, 4), Node("h", "10.0.0.4", 0, 0)


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        ([SMALL, LARGE, HEAD], {}, [Place(16, 0, "l"), Place(4, 0, "s")]),
        ([SMALL, LARGE], {"cores_per_encoder": 3}, [Place(3, 0, "l"), Place(3, 0, "s")]),
        ([SMALL, LARGE], {"encoders": 1}, [Place(16, 0, "l")]),
        ([SMALL, LARGE], {"encoders": 3}, [Place(8, 0, "l"), Place(4, 0, "s"), Place(8, 0, "l")]),
        ([SMALL], {"encoders": 8}, [Place(0.5, 0, "s")] * 8),
        ([LARGE, GPU], {}, [Place(1, 1, None)] * 4),
        ([LARGE, GPU], {"gpus_per_encoder": 0.5, "cores_per_encoder": 2}, [Place(2, 0.5, None)] * 8),
        ([LARGE, GPU], {"gpus_per_encoder": 2, "encoders": 1}, [Place(1, 2, None)]),
        ([SMALL, GPU], {"gpus_per_encoder": 0}, [Place(32, 0, "g"), Place(4, 0, "s")]),
    ],
    ids=["nodes", "cores", "one", "more than nodes", "more than cores", "GPUs", "shared GPUs", "two GPUs", "no GPU"],
)
def test_encoders_have_a_gpu_each_or_a_node_each(nodes, settings, expected):
    assert plan_encoders(ExecutorConfig(kind="ray", **settings), nodes) == expected


@pytest.mark.parametrize("settings", [{"gpus_per_encoder": 1}, {"cores_per_encoder": 17}], ids=["GPU", "cores"])
def test_an_encoder_that_fits_nowhere_is_refused(settings):
    with pytest.raises(ConfigurationError, match=r"No node .* has room .* 10\.0\.0\.1: 4 cores, 0 GPUs") as caught:
        plan_encoders(ExecutorConfig(kind="ray", **settings), [SMALL, LARGE])
    assert "executor.cores_per_encoder" in caught.value.remedy
