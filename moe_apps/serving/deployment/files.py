"""Writes the files of a deployment: for TensorFlow Serving, Docker Compose and Kubernetes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml
from google.protobuf import text_format

from moe_apps.errors import RunError
from moe_apps.serving.deployment.protocol import BatchingParameters, MonitoringConfig
from moe_apps.serving.deployment.served_models import ServedModel, served_models
from moe_apps.serving.server.sources import IMAGE_BASE

METRICS_PATH = "/monitoring/prometheus/metrics"
IMAGE = "tensorflow/serving:2.21.0"
CPUS = 2
DOCKERFILES = Path(__file__).with_name("dockerfiles")
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_REST, _GRPC = 8501, 8500


def write_deployment(folder: Path, to: Path) -> list[Path]:
    """Write all files to start TensorFlow Serving with the models of a folder.

    `models.config` (both newest versions of each model, labels stable and canary),
    `batching.config`, `monitoring.config`, `prometheus.yaml`, `compose.yaml`, `kubernetes.yaml`,
    Dockerfiles for training, and a README that says how each is used.

    Args:
        folder: has the models, as `moe-apps export` wrote them.
        to: folder for the files; those of an earlier call are replaced.

    Returns:
        The files.

    Raises:
        RunError: there are no models, or the files cannot be written.
    """
    models = served_models(folder)
    texts = {
        "models.config": text_format.MessageToString(_models_config(models)),
        "batching.config": text_format.MessageToString(_batching()),
        "monitoring.config": text_format.MessageToString(_monitoring()),
    }
    documents = {
        "prometheus.yaml": [_prometheus()],
        "compose.yaml": [_compose(models, folder)],
        "kubernetes.yaml": _kubernetes(models, texts),
    }
    texts |= {name: yaml.safe_dump_all(parts, sort_keys=False) for name, parts in documents.items()}
    texts |= {file.name: file.read_text() for file in sorted(DOCKERFILES.iterdir())}
    texts["README.md"] = _readme(models, folder)
    return _written(texts, to)


def _models_config(models: Sequence[ServedModel]) -> Any:
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    message = ModelServerConfig()
    for model in models:
        config = message.model_config_list.config.add(
            name=model.name,
            base_path=str(IMAGE_BASE / model.name),
            model_platform="tensorflow",
            version_labels=model.labels,
        )
        config.model_version_policy.specific.versions.extend(model.versions)
    return message


def _batching() -> Any:
    message = BatchingParameters()
    message.max_batch_size.value = BATCH_SIZES[-1]
    message.batch_timeout_micros.value = 1000
    message.max_enqueued_batches.value = 64
    message.num_batch_threads.value = CPUS
    # Batches are filled up to one of these sizes: fewer shapes, and answers do not depend on it.
    message.allowed_batch_sizes.extend(BATCH_SIZES)
    # Filling up short rows would change what the models see.
    message.pad_variable_length_inputs = False
    return message


def _monitoring() -> Any:
    message = MonitoringConfig()
    message.prometheus_config.enable = True
    message.prometheus_config.path = METRICS_PATH
    return message


def _arguments(models: Sequence[ServedModel]) -> list[str]:
    arguments = [
        "--model_config_file=/config/models.config",
        "--model_config_file_poll_wait_seconds=30",
        "--allow_version_labels_for_unavailable_models=true",
        "--monitoring_config_file=/config/monitoring.config",
        "--rest_api_timeout_in_ms=30000",
    ]
    if not any(model.unbatched for model in models):
        arguments += [
            "--enable_batching=true",
            "--batching_parameters_file=/config/batching.config",
        ]
    return arguments


def _memory(models: Sequence[ServedModel]) -> int:
    """MiB: the server itself, and two versions of each model with room to work."""
    return 1024 + sum(4 * -(-model.bytes // 2**20) for model in models)


def _compose(models: Sequence[ServedModel], folder: Path) -> dict[str, Any]:
    # The image has no curl.
    ask = f"GET /v1/models/{models[0].name} HTTP/1.0\\r\\n\\r\\n"
    check = f"exec 3<>/dev/tcp/127.0.0.1/{_REST} && printf '{ask}' >&3 && grep -q AVAILABLE <&3"
    return {
        "services": {
            "serving": {
                "image": IMAGE,
                "command": _arguments(models),
                "ports": [f"127.0.0.1:{port}:{port}" for port in (_GRPC, _REST)],
                "volumes": [f"{folder.resolve()}:{IMAGE_BASE}:ro", "./:/config:ro"],
                "healthcheck": {
                    "test": ["CMD", "bash", "-c", check],
                    "interval": "10s",
                    "timeout": "5s",
                    "start_period": "60s",
                    "retries": 3,
                },
                "deploy": {
                    "resources": {"limits": {"cpus": str(CPUS), "memory": f"{_memory(models)}M"}}
                },
                "read_only": True,
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges:true"],
                "stop_grace_period": "30s",
                "restart": "unless-stopped",
            },
            "prometheus": {
                "image": "prom/prometheus",
                "volumes": ["./prometheus.yaml:/etc/prometheus/prometheus.yml:ro"],
                "ports": ["127.0.0.1:9090:9090"],
                "depends_on": {"serving": {"condition": "service_healthy"}},
            },
        }
    }


def _prometheus() -> dict[str, Any]:
    return {
        "scrape_configs": [
            {
                "job_name": "serving",
                "scrape_interval": "15s",
                "metrics_path": METRICS_PATH,
                "static_configs": [{"targets": [f"serving:{_REST}"]}],
            }
        ]
    }


def _kubernetes(models: Sequence[ServedModel], configs: dict[str, str]) -> list[dict[str, Any]]:
    labels = {"app": "moe-apps-serving"}
    about = {"name": "moe-apps-serving", "labels": labels}
    ask = {"httpGet": {"path": f"/v1/models/{models[0].name}", "port": _REST}}
    container = {
        "name": "serving",
        "image": IMAGE,
        "args": _arguments(models),
        "ports": [
            {"name": "grpc", "containerPort": _GRPC},
            {"name": "rest", "containerPort": _REST},
        ],
        # Loading may take its time; after that a server that does not answer is replaced.
        "startupProbe": {**ask, "periodSeconds": 5, "failureThreshold": 60},
        "readinessProbe": {**ask, "periodSeconds": 5},
        "livenessProbe": {**ask, "periodSeconds": 20, "timeoutSeconds": 5},
        "resources": {
            "requests": {"cpu": "1", "memory": f"{_memory(models)}Mi"},
            "limits": {"cpu": str(CPUS), "memory": f"{_memory(models)}Mi"},
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": str(IMAGE_BASE), "readOnly": True},
            {"name": "config", "mountPath": "/config", "readOnly": True},
        ],
    }
    scraped = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(_REST),
        "prometheus.io/path": METRICS_PATH,
    }
    claim = {"claimName": "moe-apps-models", "readOnly": True}
    pod = {
        "metadata": {"labels": labels, "annotations": scraped},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 30,
            "containers": [container],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": claim},
                {"name": "config", "configMap": {"name": about["name"]}},
            ],
        },
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": configs},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": about,
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": pod,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {
                "selector": labels,
                "ports": [
                    {"name": "grpc", "port": _GRPC, "targetPort": "grpc"},
                    {"name": "rest", "port": _REST, "targetPort": "rest"},
                ],
            },
        },
    ]


def _readme(models: Sequence[ServedModel], folder: Path) -> str:
    rows = "".join(
        f"| {model.name} | {', '.join(map(str, model.versions))} "
        f"| {', '.join(f'{label}: {number}' for label, number in model.labels.items())} |\n"
        for model in models
    )
    reasons = "".join(
        f"- {model.name}, {signature}: {reason}\n"
        for model in models
        for signature, reason in model.unbatched.items()
    )
    batching = (
        "Batching in the server is off, since it would refuse these:\n\n" + reasons
        if reasons
        else "Batching in the server is on: every signature goes by rows.\n"
    )
    return f"""# TensorFlow Serving for {folder.name}

Written by `moe-apps serve-config`; call it again after an export. Nothing here was started on the
machine that wrote it: that needs Docker or Kubernetes.

| model | versions served | labels |
|---|---|---|
{rows}
    docker compose up                     # {IMAGE}, and Prometheus on port 9090
    kubectl apply -f kubernetes.yaml      # wants a volume claim moe-apps-models with the models
    docker build -f train-cpu.Dockerfile -t moe-apps PATH_OF_THE_PROJECT
    docker build -f train-gpu.Dockerfile -t moe-apps-gpu PATH_OF_THE_PROJECT

{batching}
`models.config` is read again every 30 seconds, so a new version is served once it is named there.
To make the canary stable, take the older version out and let `stable` be the newer one.
"""


def _written(texts: dict[str, str], to: Path) -> list[Path]:
    """Write all of the files, or none."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=".writing-", dir=to))
        try:
            for name, text in texts.items():
                (temporary / name).write_text(text, encoding="utf-8")
            for name in texts:
                os.replace(temporary / name, to / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise RunError(f"{to}: cannot be written: {error.strerror}") from None
    return [to / name for name in texts]
