"""What is said when an event carried a secret: the secret is gone before it is hashed, the fact stays on record."""

from agentos_shared.dlp import SCANNER_VERSION, Scan
from agentos_shared.domain import principals
from agentos_shared.domain.envelope import Event, NewEvent


def events_of(source: Event, scan: Scan) -> tuple[NewEvent, NewEvent]:
    """``event.redacted`` and ``secret.leaked.detected`` for an event whose data were redacted."""
    actor = principals.actor(source.workspace_id, "service", "dlp")

    def about(event_type: str, data: dict[str, object]) -> NewEvent:
        return NewEvent(
            event_type=event_type,
            stream=source.stream,
            workspace_id=source.workspace_id,
            entity_type="event",
            entity_id=source.event_id,
            actor=actor,
            correlation_id=source.correlation_id,
            data=data,
            zone=source.zone,
            mission_id=source.mission_id,
            room_id=source.room_id,
            thread_id=source.thread_id,
            run_id=source.run_id,
            step_id=source.step_id,
            causation_id=source.event_id,
        )

    return (
        about(
            "event.redacted",
            {
                "target_event_id": source.event_id,
                "reason": "dlp_secret_detected",
                "intended_redaction_level": "partial",
            },
        ),
        about(
            "secret.leaked.detected",
            {
                "source_event_id": source.event_id,
                "source_event_type": source.event_type,
                "scanner_version": SCANNER_VERSION,
                "match_count": scan.match_count,
                "rule_ids": scan.rule_ids,
                "matches": [{"rule_id": match.rule_id, "match_preview": match.match_preview} for match in scan.matches],
            },
        ),
    )
