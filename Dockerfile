# mscord in a container; docs/containers.md says how to build, check and run it.
#   docker build -t mscord .                                        with the Spinal Cord Toolbox
#   docker build -t mscord --target app .                           without: the built-in localiser finds the cord
#   docker build -t mscord --target app --build-arg TORCH=cpu .     for machines without an NVIDIA card, a quarter of the size
ARG BASE=debian:bookworm-slim

# --- what mscord needs, in an environment of its own ---
FROM ${BASE} AS build
# Debian's own versions: the release (bookworm) holds them together.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
# Pip works from outside, and stays behind.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/mscord
ARG TORCH=cuda
# Where the CPU build of torch comes from; its checksum is in locks/cpu.txt.
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
COPY locks /src/locks
# Two small dependencies have no wheel; they are built with the locked setuptools and not with whichever is newest.
RUN --mount=type=cache,target=/root/.cache/pip \
    set -- /opt/pip/bin/pip --python /opt/mscord/bin/python install --no-build-isolation --require-hashes \
    && "$@" -r /src/locks/build.txt \
    && if [ "$TORCH" = cpu ]; then set -- "$@" --extra-index-url "$TORCH_CPU_INDEX"; fi \
    && "$@" -r "/src/locks/$TORCH.txt"
# Tests and what only compilers need: nothing that runs reads it.
RUN find /opt/mscord/lib -type d \( -name tests -o -path "*/torch/test" -o -path "*/torch/include" -o -path "*/torch/share" \) \
    -prune -exec rm -rf {} + \
    && find /opt/mscord/lib -path "*/torch/bin/*" ! -name torch_shm_manager -delete
COPY setup.cfg pyproject.toml README.md LICENSE NOTICE /src/
COPY cluster /src/cluster
COPY bids_app /src/bids_app
RUN /opt/pip/bin/pip --python /opt/mscord/bin/python install --no-cache-dir --no-build-isolation --no-deps --no-index /src \
    && TORCH="$TORCH" /opt/mscord/bin/python -c "import os, torch; assert bool(torch.version.cuda) == (os.environ['TORCH'] == 'cuda'), torch.__version__"

# --- mscord alone ---
FROM ${BASE} AS app
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/mscord /opt/mscord
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mscord" \
      org.opencontainers.image.description="Multiple sclerosis lesions in spinal cord MRI: a BIDS App. Research use only, not for diagnosis." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# Any uid, no HOME, read-only root: nothing is written but to the output, the work folder and /tmp.
ENV PATH=/opt/mscord/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NO_ET=1 \
    MSCORD_CONTAINER_TAG=mscord:${VERSION} \
    MSCORD_COMMIT=${REVISION}
ENTRYPOINT ["mscord"]

# --- the same, built only if it finds the lesion of its phantom ---
FROM app AS test
RUN mscord --self-test

# --- the Spinal Cord Toolbox, in its own folder with its own Python and its models ---
FROM ${BASE} AS sct
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential bzip2 ca-certificates git libdbus-1-3 libglib2.0-0 \
       libxkbcommon-x11-0 libxrender1 python3 python3-venv wget \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
ARG SCT_VERSION=7.3
# An archive by URL, or an archive or a folder of the build context.
ARG SCT_SOURCE=https://github.com/spinalcordtoolbox/spinalcordtoolbox/archive/refs/tags/${SCT_VERSION}.tar.gz
# Checksum of an archive that comes by URL; empty: not checked.
ARG SCT_SHA256=""
# hadolint ignore=DL3020
ADD ${SCT_SOURCE} /tmp/sct/
# Its launchers name their interpreter by absolute path: it is installed where it stays.
RUN for archive in /tmp/sct/*.tar.gz; do \
        if [ -f "$archive" ]; then \
            if [ -n "$SCT_SHA256" ]; then echo "$SCT_SHA256  $archive" | sha256sum --check; fi; \
            tar -xzf "$archive" -C /tmp/sct; \
        fi; \
    done \
    && installer=$(find /tmp/sct -maxdepth 2 -name install_sct -print -quit) \
    && mv "$(dirname "$installer")" /opt/sct
WORKDIR /opt/sct
# -g brings torch for CUDA; without it SCT works on the processor.
ARG SCT_INSTALL="-i -y -c"
ARG SCT_TASKS="spinalcord"
# Models that are absent would be downloaded at run time: the build fails without them.
# hadolint ignore=SC2086
RUN bash ./install_sct $SCT_INSTALL \
    && export SCT_DIR=/opt/sct PATH="/opt/sct/bin:$PATH" \
    && for task in $SCT_TASKS; do sct_deepseg "$task" -install; done \
    && [ -n "$(find data/deepseg_models -name source.json -print -quit)" ] \
    && sct_version \
    && chmod -R a+rX /opt/sct

# --- mscord with the Spinal Cord Toolbox: the default ---
FROM app AS full
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libdbus-1-3 libgl1 libglib2.0-0 libxkbcommon-x11-0 libxrender1 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=sct /opt/sct /opt/sct
ENV SCT_DIR=/opt/sct \
    PATH=/opt/mscord/bin:/opt/sct/bin:$PATH
RUN ["sct_version"]
