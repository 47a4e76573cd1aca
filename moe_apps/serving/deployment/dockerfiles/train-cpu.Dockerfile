# Training and everything else on CPUs. Build it from the root of the project:
#   docker build -f train-cpu.Dockerfile -t moe-apps PATH_OF_THE_PROJECT
#   docker run --rm -v "$PWD:/work" moe-apps train forecasting --data load.csv --output runs/load
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=3
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[samples,serving]" \
    && useradd --create-home --uid 1000 moe
USER moe
WORKDIR /work
ENTRYPOINT ["moe-apps"]
CMD ["--help"]
