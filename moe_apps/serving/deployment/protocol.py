"""Messages of TensorFlow Serving's configuration that its package on PyPI leaves out.

Names, numbers and types of the fields are those of session_bundle_config.proto and
monitoring_config.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_PACKAGE = "moe_apps.serving"
_INT64 = f".{wrappers_pb2.Int64Value.DESCRIPTOR.full_name}"
_TEXT = f".{wrappers_pb2.StringValue.DESCRIPTOR.full_name}"
_FIELDS: dict[str, tuple[tuple[str, int, str], ...]] = {
    "BatchingParameters": (
        ("max_batch_size", 1, _INT64),
        ("batch_timeout_micros", 2, _INT64),
        ("max_enqueued_batches", 3, _INT64),
        ("num_batch_threads", 4, _INT64),
        ("thread_pool_name", 5, _TEXT),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, "bool"),
    ),
    "PrometheusConfig": (("enable", 1, "bool"), ("path", 2, "string")),
    "MonitoringConfig": (("prometheus_config", 1, f".{_PACKAGE}.PrometheusConfig"),),
}


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="moe_apps/serving/left_out.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = described.field.add(name=name, number=number)
            repeated, _, plain = kind.rpartition(" ")
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind.startswith("."):
                field.type, field.type_name = field.TYPE_MESSAGE, kind
            else:
                field.type = getattr(field, f"TYPE_{plain.upper()}")
    return file


_POOL = descriptor_pool.DescriptorPool()
_wrappers = descriptor_pb2.FileDescriptorProto()
wrappers_pb2.DESCRIPTOR.CopyToProto(_wrappers)
_POOL.Add(_wrappers)
_POOL.Add(_file())
BatchingParameters = _message("BatchingParameters")
MonitoringConfig = _message("MonitoringConfig")
