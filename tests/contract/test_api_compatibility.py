"""The external API only grows: `golden/api.v1.json` is what clients were promised, and every name in it still stands.

A field is `[name, type, label]` by number, a method `[request, response, client streaming, server streaming]`.
Additions need no change of the golden file; `python -m tests.contract.test_api_compatibility` adds them to the promise.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

from tests.support.paths import ROOT

PROTO = ROOT / "proto"
GOLDEN = Path(__file__).parent / "golden" / "api.v1.json"
FILES = sorted(path.stem for path in (PROTO / "agentflow" / "v1").glob("*.proto"))
_TYPES = {value: name for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}


def descriptor(name: str) -> FileDescriptor:
    file: FileDescriptor = importlib.import_module(f"agentflow.v1.{name}_pb2").DESCRIPTOR
    return file


def _field(field: FieldDescriptor) -> list[str]:
    kind = _TYPES[field.type].removeprefix("TYPE_").lower()
    target = field.message_type or field.enum_type
    label = "repeated" if field.is_repeated else ("optional" if field.has_presence else "plain")
    oneof = field.containing_oneof
    if oneof is not None and not oneof.name.startswith("_"):
        label = f"oneof {oneof.name}"
    return [field.name, target.full_name if target else kind, label]


def _message(message: Descriptor, out: dict[str, Any]) -> None:
    out[message.full_name] = {str(field.number): _field(field) for field in message.fields}
    for nested in message.nested_types:
        _message(nested, out)


def _enum(enum: EnumDescriptor) -> dict[str, str]:
    return {str(value.number): value.name for value in enum.values}


def promised() -> dict[str, Any]:
    """What the generated code offers now, in the golden file's shape."""
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    services: dict[str, Any] = {}
    for name in FILES:
        file = descriptor(name)
        for message in file.message_types_by_name.values():
            _message(message, messages)
        enums |= {enum.full_name: _enum(enum) for enum in file.enum_types_by_name.values()}
        for service in file.services_by_name.values():
            services[service.full_name] = {
                method.name: [
                    method.input_type.full_name,
                    method.output_type.full_name,
                    method.client_streaming,
                    method.server_streaming,
                ]
                for method in service.methods
            }
    return {"enums": enums, "messages": messages, "services": services}


def broken(golden: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The promises of `golden` that `now` does not keep."""
    out = []
    for group, names in golden.items():
        for name, members in names.items():
            for key, value in members.items():
                found = now.get(group, {}).get(name, {}).get(key)
                if found != value:
                    out.append(f"{group}/{name}/{key}: promised {value}, found {found}")
    return out


def test_nothing_that_clients_were_promised_has_changed() -> None:
    assert broken(json.loads(GOLDEN.read_text()), promised()) == []


def test_a_broken_promise_is_seen() -> None:
    now = promised()
    golden = json.loads(json.dumps(now))
    del now["messages"]["agentflow.v1.SubmitWorkflowRequest"]["7"]
    now["messages"]["agentflow.v1.Run"]["1"] = ["id", "string", "plain"]
    now["services"]["agentflow.v1.WorkflowService"]["WatchRun"][3] = False
    assert len(broken(golden, now)) == 3


@pytest.mark.parametrize("name", FILES)
def test_the_generated_code_is_that_of_the_proto_files(name: str, tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    well_known = Path(protoc.__file__).parent / "_proto"
    target = tmp_path / "set.bin"
    source = f"agentflow/v1/{name}.proto"
    code = protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", f"--descriptor_set_out={target}", source])
    assert code == 0
    fresh = FileDescriptorSet.FromString(target.read_bytes()).file[0]
    committed = FileDescriptorProto()
    descriptor(name).CopyToProto(committed)
    for file in (fresh, committed):
        for message in file.message_type:
            _drop_json_names(message)
    assert committed == fresh, "run `make proto`"


def _drop_json_names(message: DescriptorProto) -> None:
    """protoc writes the derived JSON names into a descriptor set, and not into generated code."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _drop_json_names(nested)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(promised(), indent=1, sort_keys=True) + "\n")
