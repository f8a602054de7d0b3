# The image of compose.yaml: the locked environment, the flows and the configs. Run by a user who is not root.
ARG BASE=python:3.11-slim

FROM ${BASE} AS environment
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.lock /build/
# The lock names every package, so pip resolves nothing. It compiles what it installs to bytecode.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/venv/bin/pip install --no-deps --require-hashes --requirement /build/requirements.lock

FROM ${BASE}
# libgomp1: scikit-learn's threads. git: MLflow and Prefect look for it.
RUN apt-get update && apt-get install --yes --no-install-recommends git libgomp1 && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 trueup && useradd --create-home --uid 10001 --gid 10001 trueup \
    && install --directory --owner trueup --group trueup /home/trueup/home /home/trueup/prefect
COPY --from=environment /opt/venv /opt/venv
WORKDIR /app
COPY pyproject.toml README.md LICENSE prefect.yaml ./
COPY trueup ./trueup
COPY tasks ./tasks
COPY flows ./flows
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation --editable .
COPY configs ./configs
RUN python -m compileall -q trueup tasks flows configs
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HEALTH_URL=http://127.0.0.1:8200/health/live
USER 10001:10001
EXPOSE 8200
# Of `trueup serve`. Another program in this image sets HEALTH_URL to an address of its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=12 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
CMD ["trueup", "--help"]
LABEL org.opencontainers.image.title="trueup" org.opencontainers.image.licenses="Apache-2.0"
