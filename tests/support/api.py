"""For tests: the methods of the gRPC API, as the protobuf files declare them."""

from __future__ import annotations

import importlib
import pkgutil

from google.protobuf.descriptor import MethodDescriptor

import agentflow.v1

API_METHODS: list[MethodDescriptor] = [
    method
    for module in pkgutil.iter_modules(agentflow.v1.__path__)
    if module.name.endswith("_pb2")
    for service in importlib.import_module(f"agentflow.v1.{module.name}").DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
