# The image of compose.yaml: the locked environment, the flows and the configs. Run by a user who is not root.
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# libgomp1: scikit-learn's threads. git: MLflow and Prefect look for it.
RUN apt-get update && apt-get install -y --no-install-recommends git libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 trueup \
    && mkdir -p /app /home/trueup/home /home/trueup/prefect && chown -R trueup /home/trueup
WORKDIR /app
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE prefect.yaml ./
COPY trueup ./trueup
COPY tasks ./tasks
COPY flows ./flows
RUN pip install --no-deps --no-build-isolation --editable .
COPY configs ./configs
USER trueup
CMD ["trueup", "--help"]
