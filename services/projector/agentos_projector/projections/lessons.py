"""Lessons as ``GET /v1/lessons`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

LESSONS: Final = load("proj_lessons", "lessons.sql", {"logged": {"lesson.logged"}})
