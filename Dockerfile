# One image for every service and for the migration job; the command says which.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS web
WORKDIR /src
COPY apps/web/package.json apps/web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY apps/web ./
RUN npx vite build --outDir /ui

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_CACHE_DIR=/var/cache/pip
RUN python -m venv --without-pip /opt/agentos
WORKDIR /src
# Dependencies first: they change less often than the code.
COPY deploy/requirements-build.lock deploy/requirements-image.lock deploy/
RUN --mount=type=cache,target=/var/cache/pip \
    pip install --require-hashes -r deploy/requirements-build.lock \
    && pip --python /opt/agentos/bin/python install --require-hashes -r deploy/requirements-image.lock
COPY libs/shared libs/shared
COPY libs/runtime libs/runtime
COPY libs/sdk libs/sdk
COPY services/api services/api
COPY services/engine services/engine
COPY services/gateway services/gateway
COPY services/policy services/policy
COPY services/projector services/projector
COPY apps/cli apps/cli
COPY --from=web /ui services/api/agentos_api/ui
RUN AGENTOS_SKIP_UI=1 pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels \
        ./libs/shared ./libs/runtime ./libs/sdk ./services/api ./services/engine ./services/gateway ./services/policy ./services/projector ./apps/cli \
    && pip --python /opt/agentos/bin/python install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Agent OS" \
      org.opencontainers.image.description="Event-sourced control plane for AI agents" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin agentos \
    && install --directory --owner=agentos --group=agentos --mode=700 /var/lib/agentos/blobs /var/lib/agentos/keys
COPY --from=build /opt/agentos /opt/agentos
ENV PATH=/opt/agentos/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /
EXPOSE 7717
CMD ["agentos-api"]
