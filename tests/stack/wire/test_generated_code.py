"""The committed protobuf modules are what their .proto files say, and keep to their own corner of the process."""

import importlib
import importlib.util
import types
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parents[3]


def load_tool() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("generate_protobuf", ROOT / "tools/generate_protobuf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = load_tool()
PROTO_FILES: list[Path] = TOOL.proto_files()


def generated_module(proto: Path) -> types.ModuleType:
    return importlib.import_module(".".join(("peerstack", *proto.with_name(f"{proto.stem}_pb2").parts)))


def without_json_names(messages: list[DescriptorProto]) -> None:
    # protoc adds them to what it describes, and leaves them out of what it generates
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        without_json_names(list(message.nested_type))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    out = tmp_path_factory.mktemp("protoc") / "set"
    TOOL.compile_protos(PROTO_FILES, f"--descriptor_set_out={out}")
    files = FileDescriptorSet.FromString(out.read_bytes()).file
    for file in files:
        without_json_names(list(file.message_type))
    return {file.name: file for file in files}


def test_there_are_proto_files() -> None:
    assert Path("stack/identity/records.proto") in PROTO_FILES


@pytest.mark.parametrize("proto", PROTO_FILES, ids=str)
def test_module_is_up_to_date(proto: Path, compiled: dict[str, FileDescriptorProto]) -> None:
    serialized = generated_module(proto).DESCRIPTOR.serialized_pb
    assert FileDescriptorProto.FromString(serialized) == compiled[f"peerstack/{proto.as_posix()}"]


@pytest.mark.parametrize("proto", PROTO_FILES, ids=str)
def test_stub_is_up_to_date(proto: Path) -> None:
    stub = (ROOT / proto.with_name(f"{proto.stem}_pb2.pyi")).read_text()

    def check(message: Descriptor) -> None:
        assert f"class {message.name}(" in stub
        for field in message.fields:
            assert f" {field.name}: " in stub or f" def {field.name}(self)" in stub
        for nested in message.nested_types:
            check(nested)

    for message in generated_module(proto).DESCRIPTOR.message_types_by_name.values():
        check(message)


@pytest.mark.parametrize("proto", PROTO_FILES, ids=str)
def test_names_do_not_clash_with_other_packages(proto: Path) -> None:
    descriptor = generated_module(proto).DESCRIPTOR
    assert descriptor.package.startswith("peerstack.")
    assert descriptor.name == f"peerstack/{proto.as_posix()}"


@pytest.mark.parametrize("proto", PROTO_FILES, ids=str)
def test_module_loads_with_the_oldest_supported_runtime(proto: Path) -> None:
    text = (ROOT / proto.with_name(f"{proto.stem}_pb2.py")).read_text()
    assert TOOL.generated_for(text)[:2] <= TOOL.oldest_supported()[:2]
