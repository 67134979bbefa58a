"""Reading the processor time of a process from /proc."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.processor import processor_time

if sys.platform == "win32":
    pytest.skip("there is no /proc", allow_module_level=True)
assert sys.platform != "win32"


def test_user_and_system_time_are_added(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    numbers = " ".join(["0"] * 10 + ["300", "50", "7", "7"])
    (tmp_path / "7" / "stat").write_text(f"7 (a (strange) name) S {numbers} 0 0\n")
    assert processor_time(7, tmp_path) == 350 / os.sysconf("SC_CLK_TCK")


def test_absent_process_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        processor_time(7, tmp_path)
