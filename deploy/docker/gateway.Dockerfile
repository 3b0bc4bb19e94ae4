# syntax=docker/dockerfile:1
# The gateway:
#   docker build -f deploy/docker/gateway.Dockerfile -t gator/gateway:0.1.0 .
# PYTHON_IMAGE takes a digest (python:3.11.14-slim-bookworm@sha256:...) or a mirror of yours.
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# The certificates of the base image: it may hold those of a proxy of yours.
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1 UV_SYSTEM_CERTS=1
WORKDIR /build
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache \
    python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --quiet --disable-pip-version-check "$(grep '^uv==' requirements.lock)" \
    && python3 -m venv --without-pip /opt/gator
# Packages first: they change seldom.
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache \
    /opt/uv/bin/uv pip install --quiet --python /opt/gator/bin/python --constraint requirements.lock \
      --requirements pyproject.toml --extra gateway --extra otel
COPY README.md LICENSE ./
COPY services services
RUN --mount=type=cache,target=/root/.cache \
    /opt/uv/bin/uv pip install --quiet --python /opt/gator/bin/python --constraint requirements.lock \
      --build-constraint requirements.lock --no-deps .

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="gator gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/gator /opt/gator
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    GATOR_GATEWAY_LISTEN=0.0.0.0:50051 \
    GATOR_GATEWAY_HEALTH_LISTEN=0.0.0.0:50060
USER 10001:10001
EXPOSE 50051 50060
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s \
    CMD ["/opt/gator/bin/python", "-m", "rpckit.probe", "127.0.0.1:50060"]
ENTRYPOINT ["/opt/gator/bin/python", "-m", "gateway"]
