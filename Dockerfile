# syntax=docker/dockerfile:1
FROM python:3.11.15-slim-bookworm AS builder

# Indexes other than pip's own default. TORCH_INDEX_URL is one that has torch for processors only: that build is some
# gigabytes smaller than the one for graphics cards. EXTRAS are those of pyproject.toml, such as `kubernetes,ray`.
ARG PIP_INDEX_URL=
ARG TORCH_INDEX_URL=
ARG EXTRAS=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

RUN python -m venv /opt/venv
ENV PATH="/opt/venv/bin:$PATH"

# The lock also pins the tools of development: as constraints it brings in only what the pipeline depends on.
COPY pyproject.toml requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c 'import os, tomllib; \
        project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
        extras = [project["optional-dependencies"][name] for name in os.environ["EXTRAS"].split(",") if name]; \
        print(*sum([project["dependencies"], *extras], []), sep="\n")' > /tmp/dependencies.txt && \
    if [ -n "$TORCH_INDEX_URL" ]; then \
        pip install --no-deps --index-url "$TORCH_INDEX_URL" "$(grep '^torch==' requirements.lock)"; \
    fi && \
    pip install --constraint requirements.lock --requirement /tmp/dependencies.txt

COPY README.md LICENSE cli.py feature_pipeline.py retrieval_evaluation_pipeline.py training_dataset_pipeline.py ./
COPY commands commands
COPY feature_store feature_store
COPY inference inference
COPY pipelines pipelines
COPY steps steps
COPY warehouse warehouse
COPY configs configs
RUN pip install --no-cache-dir --no-deps --editable . && python -m compileall -q .


FROM python:3.11.15-slim-bookworm

# Readers and writers of the volumes: 1000 is also the user of the ZenML server's image.
RUN groupadd --gid 1000 pipeline && \
    useradd --uid 1000 --gid pipeline --no-create-home --home-dir /tmp pipeline && \
    install --directory --owner=pipeline --group=pipeline /data /zenml/.zenconfig/local_stores

COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /app /app

# Everything that is written at run time is in /data or /tmp: the image works with a read-only root. There is no `.zen`
# folder for ZenML to write to, so it is told where the code is.
ENV PATH="/opt/venv/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data \
    HF_HOME=/data/huggingface \
    HF_HUB_OFFLINE=1 \
    ZENML_CONFIG_PATH=/data/zenml \
    ZENML_CUSTOM_SOURCE_ROOT=/app \
    ZENML_ENABLE_REPO_INIT_WARNINGS=false \
    ZENML_ANALYTICS_OPT_IN=false

WORKDIR /app
USER 1000:1000
VOLUME /data
CMD ["zenml", "pipeline", "run", "feature_pipeline"]
