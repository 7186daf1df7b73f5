"""Errors of the pipeline: each says what happened, to which record, and what to do.

Terminal errors will fail again until somebody acts; transient ones are worth another try. The exit code of the
command line is a property of the error, so that a program can tell the cases apart.
"""


def first_line(error: Exception) -> str:
    """Return the beginning of the message of an error that is not ours."""
    return str(error).strip().split("\n", 1)[0][:300]


class PipelineError(Exception):
    """An expected failure. ``remedy`` is a sentence that tells the reader what to do."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}".rstrip())


class TerminalError(PipelineError):
    """Will fail again until somebody acts."""


class TransientError(PipelineError):
    """A service did not answer in time, after all retries; the same run may succeed later."""


class ConfigurationError(TerminalError):
    """The configuration is not valid: nothing was started."""

    exit_code = 2


class PreflightError(TerminalError):
    """Something outside of the configuration is not ready: nothing was started.

    ``problems`` holds every problem found, so that all can be mended at once.
    """

    exit_code = 3

    def __init__(self, problems: list[PipelineError]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"Preflight found {len(problems)} problem(s); nothing was started:{lines}")


class LockedError(TerminalError):
    """Another run is working on the same data folder."""

    exit_code = 4


class TooManyRejectsError(TerminalError):
    """More documents were rejected than the configuration allows: nothing was committed."""

    exit_code = 5


class ReconciliationError(TerminalError):
    """The index does not hold what the feature store says it should: the version pointer was not moved."""

    exit_code = 6


class PlanOutdatedError(TerminalError):
    """The source, the feature store or the configuration is no longer what the plan was made for."""

    exit_code = 8


class DataQualityError(TerminalError):
    """The documents are not as the configuration expects them: nothing was committed."""

    exit_code = 9


class PromotionRefusedError(TerminalError):
    """A collection must not serve: its gate does not open. What served goes on serving."""

    exit_code = 10
