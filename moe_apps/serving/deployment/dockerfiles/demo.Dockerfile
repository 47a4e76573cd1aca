# The demo pages; they listen on port 7860. Domains without a run in runs/ get a small one there.
#   docker build -f demo.Dockerfile -t moe-apps-demo PATH_OF_THE_PROJECT
#   docker run --rm -p 127.0.0.1:7860:7860 -v "$PWD/runs:/work/runs" moe-apps-demo [DOMAIN ...]
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=3 GRADIO_ANALYTICS_ENABLED=False
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[audio,demos,images,samples]" \
    && useradd --create-home --uid 1000 moe
USER moe
WORKDIR /work
EXPOSE 7860
ENTRYPOINT ["moe-apps", "demo", "--runs", "/work/runs", "--host", "0.0.0.0"]
