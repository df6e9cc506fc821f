#!/bin/bash
# A session with curl alone: a room, a thread, a message, and a run with a step, a tool call and an artifact.
# Shows each answer; ends with 0 when all of them were as they should be.
set -euo pipefail
api=${AGENTOS_URL:-http://127.0.0.1:7717}

field() { python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
post() {
    echo "POST $1 $2" >&2
    curl -sS --fail-with-body "$api$1" -H 'content-type: application/json' -H "idempotency-key: $RANDOM-$RANDOM-$$" \
        -d "$2" | tee /dev/stderr
    echo >&2
}
get() { curl -sS --fail-with-body "$api$1"; }

room=$(post /v1/rooms '{"title": "Made with curl"}' | field room_id)
thread=$(post "/v1/rooms/$room/threads" '{"title": "A run by hand"}' | field thread_id)
post "/v1/threads/$thread/messages" '{"content_md": "Start, please.", "sender_id": "ada"}' >/dev/null

run=$(post /v1/runs "{\"room_id\": \"$room\", \"thread_id\": \"$thread\", \"title\": \"By hand\"}" | field run_id)
post "/v1/runs/$run/start" '{}' >/dev/null
step=$(post "/v1/runs/$run/steps" '{"kind": "look", "title": "Look at /var"}' | field step_id)
call=$(post "/v1/steps/$step/toolcalls" '{"tool_name": "df", "input": {"path": "/var"}}' | field tool_call_id)
post "/v1/toolcalls/$call/succeed" '{"output": {"used": 0.91}}' >/dev/null
post "/v1/steps/$step/artifacts" '{"kind": "note", "content": {"type": "text", "text": "91 %"}}' >/dev/null
post "/v1/runs/$run/complete" '{"summary": "/var is at 91 %", "output": {"used": 0.91}}' >/dev/null

get "/v1/runs/$run" | python3 -c '
import json, sys
run = json.load(sys.stdin)["run"]
assert run["status"] == "succeeded", run
print(run["run_id"], run["status"], run["output"])'
get "/v1/events?run_id=$run" | python3 -c '
import json, sys
for event in json.load(sys.stdin)["events"]:
    print(event["stream_seq"], event["event_type"])'
