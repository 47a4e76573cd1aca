"""Protocol messages that tell of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

from moe_apps.serving.server.loaded_model import LoadedModel
from moe_apps.serving.server.status import Code


def status_message(states: Mapping[int, tuple[int, Code, str]]) -> Any:
    """Return a `GetModelStatusResponse` for what `Models.states` gives."""
    response = GetModelStatusResponse()
    for number, (state, code, message) in states.items():
        one = response.model_version_status.add(version=number, state=state)
        one.status.error_code = int(code)
        one.status.error_message = message
    return response


def metadata_message(model: LoadedModel) -> tuple[Any, Any]:
    """Return a `GetModelMetadataResponse`, and the `SignatureDefMap` that is packed in it."""
    signatures = SignatureDefMap()
    for name, definition in model.definitions.items():
        signatures.signature_def[name].CopyFrom(definition)
    response = GetModelMetadataResponse()
    response.model_spec.name = model.name
    response.model_spec.version.value = model.version
    response.metadata["signature_def"].Pack(signatures)
    return response, signatures
