"""Labels of resources as ``GET /v1/resources/labels`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

RESOURCE_LABELS: Final = load("proj_resource_labels", "resource_labels.sql", {"labelled": {"resource.labelled"}})
