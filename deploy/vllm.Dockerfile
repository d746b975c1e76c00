# vLLM on GPUs with the SLO-aware scheduler: docker build -f deploy/vllm.Dockerfile -t slosched-vllm .
# Documentation: it is as large as vLLM's own image, and needs GPUs to be tried.
FROM vllm/vllm-openai:v0.32.0
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY slosched slosched
COPY solvers solvers
COPY server server
RUN python3 -m pip install --no-cache-dir . \
    && useradd --system --uid 10001 --create-home slosched
# Not beside the sources, or these would be compiled in place of what is installed.
WORKDIR /opt
COPY scripts/compile_kernels.py ./
RUN NUMBA_CACHE_DIR=/opt/slosched-kernels python3 compile_kernels.py --whole-seconds
COPY --chmod=755 deploy/with-kernels.sh /usr/local/bin/with-kernels
USER 10001
WORKDIR /home/slosched
ENV NUMBA_CACHE_DIR=/tmp/numba
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["with-kernels", "slosched", "serve"]
CMD ["--help"]
