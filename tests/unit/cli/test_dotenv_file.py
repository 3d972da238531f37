"""The file `.env` beside the data dir, which `agentctl up` reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.stack.dotenv_file import beside, not_read, path_of, variables
from agentctl.stack.environment import services_environment
from agentctl.stack.layout import Layout, Options, StackInfo
from agentctl.stack.show import endpoints
from agentflow_common.embedded.servers import StackError

TEXT = """
# keys of providers
OPENAI_API_KEY = sk-one   # a comment
export LOG_LEVEL="${LEVEL:-warning}"
EMPTY=
PLAIN='a ${LEVEL} # b'
LINES="a\\nb"
COPY=${OPENAI_API_KEY}/x
"""


def test_quotes_comments_and_variables_are_read() -> None:
    found, problems = variables(TEXT, {})
    assert problems == []
    assert found == {
        "OPENAI_API_KEY": "sk-one",
        "LOG_LEVEL": "warning",
        "EMPTY": "",
        "PLAIN": "a ${LEVEL} # b",
        "LINES": "a\nb",
        "COPY": "sk-one/x",
    }
    again, _ = variables(TEXT, {"LEVEL": "debug", "OPENAI_API_KEY": "sk-two"})
    assert (again["LOG_LEVEL"], again["COPY"]) == ("debug", "sk-two/x")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("A=1\n\nsecret words\n", ["line 3: it is not NAME=value; close its quotes, or begin a comment with #"]),
        ("A=1\nB='open\nC=2\n", ["line 2: it is not NAME=value; close its quotes, or begin a comment with #"]),
        ("\n\nsecret\n", ["line 3: it is not NAME=value; a name has letters, digits and _"]),
        ("1A=secret", ["line 1: it is not NAME=value; a name has letters, digits and _"]),
        ("A=1\nB=${NOT_THERE}", ["line 2: the variable NOT_THERE is not set; set it, or write ${NOT_THERE:-default}"]),
    ],
)
def test_each_problem_names_its_line_and_repeats_no_value(text: str, problems: list[str], tmp_path: Path) -> None:
    assert variables(text, {})[1] == problems
    (tmp_path / ".env").write_text(text)
    with pytest.raises(StackError) as caught:
        beside(tmp_path / ".agentflow", {})
    assert str(caught.value) == "\n  ".join([f"{tmp_path / '.env'} is not valid:", *problems])
    assert "secret" not in str(caught.value).replace(str(tmp_path), "")


def test_the_environment_wins_and_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert beside(tmp_path / ".agentflow", {}) == {}
    (tmp_path / ".env").write_text("A=file\nB=file\nC=file\n")
    assert beside(tmp_path / ".agentflow", {"A": "mine", "B": ""}) == {"C": "file"}
    (tmp_path / ".env").write_bytes(b"A=\xff")
    with pytest.raises(StackError, match=r"\.env can't be read \(UnicodeDecodeError\)"):
        beside(tmp_path / ".agentflow", {})


def test_the_stacks_own_addresses_stay_whatever_the_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTFLOW_FILE_ROOTS", raising=False)
    env = {"NATS_URL": "x", "CLICKHOUSE_HOST": "x", "WORKER_ID": "w", "AGENTFLOW_FILE_ROOTS": str(tmp_path)}
    made = services_environment(Layout(tmp_path), Options(data_dir=tmp_path, env=env), "nats://here", {"DB_HOST": "s"})
    assert (made["NATS_URL"], made["DB_HOST"], made["WORKER_ID"]) == ("nats://here", "s", "w")
    assert "CLICKHOUSE_HOST" not in made
    assert made["AGENTFLOW_FILE_ROOTS"] == str(tmp_path)


def test_a_file_in_the_folder_that_is_not_the_one_beside_the_data_dir_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    assert not_read(tmp_path / "data", folder) is None
    (folder / ".env").write_text("A=1\n")
    assert not_read(tmp_path / "data", folder) == folder / ".env"
    assert not_read(folder / "data", folder) is None
    assert path_of(tmp_path / "data") == tmp_path / ".env"


def test_the_addresses_of_a_stack_elsewhere_come_with_how_to_find_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "my data"
    info = StackInfo(
        pid=1, grpc="127.0.0.1:1", http="http://127.0.0.1:2", nats="nats://x@127.0.0.1:3", data_dir=str(data),
        postgres={"DB_HOST": "h", "DB_PORT": "5"}, dev_key_file="k", ready_s=1.0, services={}, started_at=1.0,
    )  # fmt: skip
    endpoints(info, "ready")
    assert f"export AGENTFLOW_DATA_DIR='{data}'" in capsys.readouterr().out
    monkeypatch.setenv("AGENTFLOW_DATA_DIR", str(data))
    endpoints(info, "ready")
    assert "export" not in capsys.readouterr().out
