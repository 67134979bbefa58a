"""Reading the memory of a process from /proc."""

from pathlib import Path

import pytest

from benchmarks.memory import Memory, memory_of, peak_of


def test_memory_is_read_from_status_and_smaps(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("VmHWM:\t  999 kB\nVmRSS:\t  500 kB\nRssAnon:\t  1 kB\n")
    (tmp_path / "7" / "smaps_rollup").write_text("Rss:   500 kB\nPss:     300 kB\nPss_Anon:   2 kB\n")
    assert memory_of(7, tmp_path) == Memory(rss=500, pss=300)
    assert peak_of(7, tmp_path) == 999


def test_absent_process_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        memory_of(7, tmp_path)


def test_process_without_memory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("State:\tZ (zombie)\n")
    with pytest.raises(ValueError, match="no VmRSS"):
        memory_of(7, tmp_path)


def test_difference_per_connection() -> None:
    assert (Memory(rss=300, pss=200) - Memory(rss=100, pss=100)) / 50 == Memory(rss=4, pss=2)
