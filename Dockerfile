# mscord without Spinal Cord Toolbox: the built-in localiser finds the cord.
#   docker build -t mscord .                                   CUDA build of torch, for --gpus all
#   docker build -t mscord --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu .
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/mscord
ARG TORCH_SPEC="torch==2.13.0"
ARG TORCH_INDEX_URL=""
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/mscord/bin/pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$TORCH_SPEC"
COPY setup.cfg pyproject.toml README.md LICENSE NOTICE /src/
COPY bids_app /src/bids_app
RUN --mount=type=cache,target=/root/.cache/pip /opt/mscord/bin/pip install /src

FROM ${BASE} AS app
LABEL org.opencontainers.image.title="mscord" \
      org.opencontainers.image.description="Multiple sclerosis lesions in spinal cord MRI: a BIDS App" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/mscord /opt/mscord
# Any uid, no HOME, read-only root: nothing is written but to the output, the work folder and /tmp.
ENV PATH=/opt/mscord/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NO_ET=1
ENTRYPOINT ["mscord"]
