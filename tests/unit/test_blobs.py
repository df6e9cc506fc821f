"""Contents beside the store: there as a whole under their hash, or not at all."""

import hashlib
import os
from pathlib import Path

import pytest

from agentos_shared.domain.errors import TooLarge, TryLater
from agentos_shared.store.blobs import Blobs

CONTENT = b"hello" * 1000
NAME = hashlib.sha256(CONTENT).hexdigest()


async def test_a_content_comes_back_byte_for_byte_for_its_owner_alone(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    assert await blobs.get(NAME) is None
    assert await blobs.put(CONTENT) == NAME
    assert await blobs.put(CONTENT) == NAME, "the same one is there already"
    assert await blobs.get(NAME) == CONTENT
    assert names(tmp_path / "blobs") == [NAME], "nothing else stays behind"
    assert (tmp_path / "blobs").stat().st_mode & 0o077 == 0
    assert (tmp_path / "blobs" / NAME).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["", "../blobs", "a" * 63, "A" * 64, "a" * 64 + "/x"])
async def test_only_hashes_are_names(tmp_path: Path, name: str) -> None:
    assert await Blobs(tmp_path).get(name) is None


async def test_without_a_directory_nothing_large_is_taken() -> None:
    with pytest.raises(TooLarge, match="content_too_large"):
        await Blobs(None).put(CONTENT)
    assert await Blobs(None).get(NAME) is None


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_what_cannot_be_written_may_be_tried_again_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TryLater, match="store_unavailable"):
        await Blobs(tmp_path).put(CONTENT)
    assert names(tmp_path) == []
