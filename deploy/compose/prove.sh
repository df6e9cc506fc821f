#!/bin/bash
# Builds the image, starts a compose stack of its own (other name, port, passwords and volumes than the real one), uses it,
# kills services in it, and removes it. Images that are on the machine are not pulled: PULL=missing allows it.
set -euo pipefail
cd "$(dirname "$0")"
docker compose version >/dev/null 2>&1 || { echo "compose proof SKIPPED: no docker compose here"; exit 0; }
docker info >/dev/null 2>&1 || { echo "compose proof SKIPPED: no Docker engine answers"; exit 0; }

work=$(mktemp -d)
export COMPOSE_PROJECT_NAME=agentos-proof AGENTOS_IMAGE=agentos:proof
AGENTOS_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export AGENTOS_PORT
compose() { docker compose --env-file "$work/env" "$@"; }
finish() {
    local code=$?
    [ "$code" = 0 ] || compose logs --no-color --tail 40 || true
    compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$work"
    [ "$code" = 0 ] && echo "compose proof PASSED" || echo "compose proof FAILED"
}
trap finish EXIT
step() { echo "[$SECONDS s] $*"; }

# Waits until a service was started anew and is healthy again. Its container may be the same, its start is another.
returned() { # service, time of the start before
    local id state
    id=$(compose ps --all --quiet "$1")
    for _ in $(seq 120); do
        state=$(docker inspect -f '{{.State.StartedAt}} {{.State.Health.Status}}' "$id")
        [ "${state% *}" != "$2" ] && [ "${state#* }" = healthy ] && return 0
        sleep 0.5
    done
    echo "$1 did not return: $state" >&2
    return 1
}
started() { docker inspect -f '{{.State.StartedAt}}' "$(compose ps --quiet "$1")"; }
url=http://127.0.0.1:$AGENTOS_PORT

./secrets.sh "$work/env"
compose config --quiet
step "building"
compose build --quiet
step "starting"
compose up --detach --wait --wait-timeout 120 --pull "${PULL:-never}" --quiet-pull
step "using: room, thread, message, live stream, read side, chain"
room=$(python3 smoke.py "$url")
for service in api projector engine policy gateway; do
    before=$(started "$service")
    step "kill -9 of everything in $service"
    compose exec -T "$service" sh -c 'kill -9 -1' || true # docker kill would count as a wish that it stays away
    returned "$service" "$before"
    python3 smoke.py "$url" "$room" >/dev/null
done
step "stopping and starting all: the volumes keep what was said"
compose down --timeout 10
compose up --detach --wait --wait-timeout 120 --pull never
python3 smoke.py "$url" "$room" >/dev/null
step "losing the whole NATS volume"
compose down --timeout 10
docker volume rm agentos-proof_nats >/dev/null
compose up --detach --wait --wait-timeout 120 --pull never
python3 smoke.py "$url" "$room" >/dev/null
step "done"
