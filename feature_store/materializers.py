"""How ZenML keeps a handle: as JSON, with figures for the metadata tab and views for the visualisation tab."""

from pathlib import PurePosixPath
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from feature_store.handles import Handle
from feature_store.views import VIEWS, figures_of, views_of

_KINDS = {
    ".md": VisualizationType.MARKDOWN,
    ".html": VisualizationType.HTML,
    ".csv": VisualizationType.CSV,
}


class HandleMaterializer(BaseMaterializer):
    """Stores any of the handles. Its name and module are part of the stored data: leave an alias when it moves."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = tuple(VIEWS)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: Handle) -> None:
        """Write the handle."""
        with self.artifact_store.open(self._path("handle.json"), "w") as file:
            file.write(data.model_dump_json(indent=2))

    def load(self, data_type: type[Any]) -> Handle:
        """Read the handle."""
        with self.artifact_store.open(self._path("handle.json"), "r") as file:
            handle: Handle = data_type.model_validate_json(file.read())
        return handle

    def save_visualizations(self, data: Handle) -> dict[str, VisualizationType]:
        """Write the views."""
        kinds = {}
        for name, content in views_of(data).items():
            path = self._path(name)
            with self.artifact_store.open(path, "w") as file:
                file.write(content)
            kinds[path] = _KINDS[PurePosixPath(name).suffix]
        return kinds

    def extract_metadata(self, data: Handle) -> dict[str, Any]:
        """Return the handle's figures, flat, without those that are 0.

        ZenML writes each figure in two transactions: the many zeros of a run without changes would take a good part of
        its time.
        """
        return {name: value for name, value in figures_of(data).items() if value != 0}

    def _path(self, name: str) -> str:
        return f"{self.uri}/{name}"
