"""Where the time of a run went: what each stage did and cost, as a table and as sentences."""

from collections.abc import Sequence

from feature_store.handles import StageFigures

_MEGABYTE = 1_000_000
PROFILE_HEADER = (
    "stage",
    "seconds",
    "share",
    "rows",
    "",
    "rows/s",
    "tokens/s",
    "of GEMM speed",
    "cores",
    "peak memory",
)


def profile_rows(stages: Sequence[StageFigures], run_seconds: float) -> list[list[str]]:
    """Return a row of texts for each stage, and one for all else: ZenML, the checks before, the report."""
    measured = sum(stage.seconds for stage in stages)
    whole = max(run_seconds, measured)
    rows = [
        [
            stage.name,
            f"{stage.seconds:,.1f}",
            _share(stage.seconds, whole),
            f"{stage.rows:,}",
            f"{stage.unit}s",
            _told(stage.rate),
            _told(stage.token_rate),
            "-" if stage.gemm_share is None else f"{stage.gemm_share:.0%}",
            "-" if stage.cores is None else f"{stage.cores:.1f}",
            megabytes(stage.use.peak_memory),
        ]
        for stage in stages
    ]
    rest = whole - measured
    return [*rows, ["all else", f"{rest:,.1f}", _share(rest, whole), "-", "", *["-"] * 5]] if run_seconds else rows


def describe_profile(stages: Sequence[StageFigures]) -> list[str]:
    """Return sentences: how fast the model was, and how much memory was needed; none for what is not known."""
    told = []
    for stage in stages:
        if stage.token_rate is not None:
            share = "" if stage.gemm_share is None else f", {stage.gemm_share:.0%} of {_teraflops(stage.gemm_speed)}"
            told.append(f"{stage.name}: {stage.token_rate:,.0f} tokens/s{share}.")
    peak = max((stage.use.peak_memory for stage in stages), default=0)
    children = max((stage.use.children_memory for stage in stages), default=0)
    if peak:
        other = f", its children at most {megabytes(children)} together" if children else ""
        told.append(f"The process had at most {megabytes(peak)} in memory{other}.")
    return told


def _teraflops(speed: float) -> str:
    return f"this machine's GEMM speed ({speed / 1e12:,.2f} TFLOP/s)"


def megabytes(size: int) -> str:
    """Return a number of bytes as megabytes, ``-`` for an unknown one."""
    return f"{size / _MEGABYTE:,.0f} MB" if size else "-"


def _share(seconds: float, whole: float) -> str:
    return f"{seconds / whole:.0%}" if whole else "-"


def _told(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}"
