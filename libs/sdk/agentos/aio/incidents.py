"""Incidents: opened once per key, closed with a cause and a learning on record."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentos.aio.connection import Connection
from agentos.aio.listing import AsyncListing
from agentos.models import Incident, IncidentOpened, Learning, LearningLogged, Written


class Incidents:
    """Things that went wrong."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def open(
        self,
        title: str,
        *,
        summary: str | None = None,
        severity: str | None = None,
        category: str | None = None,
        details: Mapping[str, Any] | None = None,
        room_id: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        entity_type: str | None = None,
        entity_id: str | None = None,
        incident_key: str | None = None,
        correlation_id: str | None = None,
    ) -> IncidentOpened:
        """Open an incident.

        Args:
            severity: ``low``, ``medium``, ``high`` or ``critical``.
            incident_key: of several incidents with the same key there is one (the API's ``idempotency_key``).
        """
        body = {
            "title": title,
            "summary": summary,
            "severity": severity,
            "category": category,
            "details": details,
            "room_id": room_id,
            "thread_id": thread_id,
            "run_id": run_id,
            "entity_type": entity_type,
            "entity_id": entity_id,
            "idempotency_key": incident_key,
            "correlation_id": correlation_id,
        }
        return (await self._connection.post("/v1/incidents", body)).read(IncidentOpened)

    async def get(self, incident_id: str) -> Incident:
        """One incident, as new as the store is."""
        return (await self._connection.get(f"/v1/incidents/{incident_id}")).read(Incident, "incident")

    async def learning(self, incident_id: str) -> Sequence[Learning]:
        """What was learnt from it, first to last."""
        return (await self._connection.get(f"/v1/incidents/{incident_id}")).read(list[Learning], "learning")

    def list(
        self,
        *,
        room_id: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        min_position: str | Written | None = None,
    ) -> AsyncListing[Incident]:
        """Incidents, last changed first."""
        query = {"room_id": room_id, "status": status, "limit": limit}
        return AsyncListing(self._connection, "/v1/incidents", "incidents", Incident, query, min_position)

    async def acknowledge(self, incident_id: str) -> Written:
        """Tell that somebody looks after it."""
        return (await self._connection.post(f"/v1/incidents/{incident_id}/acknowledge", {})).read(Written)

    async def explain(
        self, incident_id: str, *, summary: str | None = None, analysis: Mapping[str, Any] | None = None
    ) -> Written:
        """Put its cause on record (``rca``)."""
        body = {"summary": summary, "analysis": analysis}
        return (await self._connection.post(f"/v1/incidents/{incident_id}/rca", body)).read(Written)

    async def learn(self, incident_id: str, note: str, *, tags: Sequence[str] = ()) -> LearningLogged:
        """Put on record what was learnt from it."""
        body = {"note": note, "tags": list(tags)}
        return (await self._connection.post(f"/v1/incidents/{incident_id}/learning", body)).read(LearningLogged)

    async def close(self, incident_id: str, *, reason: str | None = None) -> Written:
        """Close it, once a cause and a learning are on record."""
        return (await self._connection.post(f"/v1/incidents/{incident_id}/close", {"reason": reason})).read(Written)
