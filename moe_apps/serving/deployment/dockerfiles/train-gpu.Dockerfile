# Training on NVIDIA GPUs; CUDA comes with the Python packages, the driver from the machine.
#   docker build -f train-gpu.Dockerfile -t moe-apps-gpu PATH_OF_THE_PROJECT
#   docker run --rm --gpus all -v "$PWD:/work" moe-apps-gpu train forecasting --data load.csv
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=3
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[cuda,samples,serving]" \
    && useradd --create-home --uid 1000 moe
USER moe
WORKDIR /work
ENTRYPOINT ["moe-apps"]
CMD ["--help"]
