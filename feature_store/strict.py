"""What all parts of a configuration are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# No double underscore: it separates an index from its fingerprint.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=63)]


class Strict(BaseModel):
    """A part of the configuration: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
