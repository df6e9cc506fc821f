#!/bin/bash
# Writes the passwords of the stack into .env beside this file, once: existing ones stay.
set -euo pipefail
umask 077
file=${1:-"$(dirname "$0")/.env"}
touch "$file"
chmod 600 "$file"
for name in OWNER API PROJECTOR ENGINE POLICY GATEWAY NATS_SUPERVISOR NATS_API NATS_PROJECTOR NATS_ENGINE NATS_POLICY NATS_GATEWAY NATS_INTEGRATION; do
    grep -q "^AGENTOS_${name}_PASSWORD=." "$file" ||
        printf 'AGENTOS_%s_PASSWORD=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >>"$file"
done
