"""Log files: whole lines, bounded, never in the way."""

from pathlib import Path

from agentos_runtime.logs import RotatingLog


def test_it_rotates_between_lines_and_keeps_a_few(tmp_path: Path) -> None:
    path = tmp_path / "it.log"
    log = RotatingLog(path, max_bytes=100, kept=3)
    for number in range(100):
        log.write(f"line {number:04} {'x' * 20}\n".encode())
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["it.log", "it.log.1", "it.log.2", "it.log.3"]
    lines = [line for file in reversed(files) for line in file.read_text().splitlines()]
    assert all(file.stat().st_size <= 100 for file in files)
    assert lines == [f"line {number:04} {'x' * 20}" for number in range(100 - len(lines), 100)]
    assert path.stat().st_mode & 0o077 == 0


def test_a_line_in_pieces_stays_one(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "it.log", max_bytes=10)
    for piece in (b"a long ", b"line in ", b"pieces\nnext", b" one"):
        log.write(piece)
    assert (tmp_path / "it.log").read_text() == "a long line in pieces\n"
    log.close()
    assert (tmp_path / "it.log.1").read_text() == "a long line in pieces\n"
    assert (tmp_path / "it.log").read_text() == "next one\n"
    assert list(log.last_lines) == ["a long line in pieces", "next one"]


def test_a_line_without_end_is_bounded(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "it.log")
    for _ in range(20):
        log.write(b"x" * 10_000)
    assert (tmp_path / "it.log").stat().st_size >= 100_000
    log.close()


def test_a_file_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "logs.log", max_bytes=10)
    (tmp_path / "logs.log").unlink()
    for _ in range(3):
        log.write(b"a line that wants a rotation\n")
    log.close()
