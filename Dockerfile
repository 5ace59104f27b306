# Tidecast in a container: any verb of `tidecast`, by default a worker.
#
# PyPI's PyTorch for x86-64 brings the CUDA libraries along, gigabytes that a worker on a CPU never uses. To leave them out,
# name the index of CPU builds that PyTorch's install page gives:
#     docker build --build-arg TORCH_INDEX_URL=... -t tidecast .
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build
ARG TORCH_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/tidecast
ENV PATH=/opt/tidecast/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
# First and by itself: the largest layer is built again only when the constraints change.
RUN pip install -c constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
# For the compiled kernel; without a compiler the image would run the slower reference.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml setup.py LICENSE README.md ./
COPY stream stream
COPY models models
COPY workers workers
RUN pip install -c constraints.txt '.[confluent]'

FROM python:${PYTHON_VERSION}-slim
RUN groupadd --system --gid 10001 tidecast \
    && useradd --system --uid 10001 --gid tidecast --home-dir /home/tidecast --create-home tidecast
COPY --from=build /opt/tidecast /opt/tidecast
ENV PATH=/opt/tidecast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    MKL_NUM_THREADS=1
USER 10001:10001
WORKDIR /home/tidecast
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 CMD ["tidecast", "worker", "--health"]
ENTRYPOINT ["tidecast"]
CMD ["worker"]
