"""A changed file of secrets ends a service when the new content is whole and can be used, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from runtime.rotation import RotationWatch, rotated


class Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.ended = 0
        for name in ("CERTIFICATE", "KEY"):
            self.write(name, "old")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def end(self) -> None:
        self.ended += 1

    def watch(self) -> RotationWatch:
        paths = {name: str(self.folder / name) for name in ("CERTIFICATE", "KEY")}
        return RotationWatch(
            paths, service="writer", unusable=lambda: self.problems, on_change=self.end, every_s=0.001
        )  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def looks(watch: RotationWatch, times: int = 1) -> tuple[str, ...]:
    for _ in range(times):
        watch.look()
    return watch.changed


def test_a_change_counts_when_it_was_seen_twice(files: Files) -> None:
    watch = files.watch()
    assert looks(watch, 3) == ()
    files.write("CERTIFICATE", "new")
    assert looks(watch) == ()
    files.write("KEY", "new")
    assert looks(watch) == ()
    assert looks(watch) == ("CERTIFICATE", "KEY")


def test_a_file_that_is_back_as_it_was_has_not_changed(files: Files) -> None:
    watch = files.watch()
    (files.folder / "KEY").unlink()
    assert looks(watch) == ()
    files.write("KEY", "old")
    assert looks(watch, 3) == ()


def test_files_that_have_not_changed_for_good_are_not_checked(files: Files) -> None:
    """They cannot be used while they are being replaced, which is nobody's fault."""
    watch = files.watch()
    files.problems = ["KEY: is not a key"]
    files.write("KEY", "half")
    with capture_logs() as logged:
        looks(watch)
        files.write("KEY", "old")
        looks(watch, 3)
    assert logged == []


def test_new_files_that_cannot_be_used_end_nothing_and_are_named_once(files: Files) -> None:
    watch = files.watch()
    files.write("KEY", "half")
    files.problems = ["KEY: is not a key"]
    with capture_logs() as logged:
        assert looks(watch, 5) == ()
    assert [(line["event"], line["problems"]) for line in logged] == [("secrets.unusable", ["KEY: is not a key"])]
    files.problems = []
    assert looks(watch) == ("KEY",)


def test_the_variables_whose_files_have_changed_are_in_the_order_of_the_alphabet() -> None:
    old, new = {"KEY": b"1", "CERTIFICATE": b"1"}, {"KEY": b"2", "CERTIFICATE": b"2"}
    assert rotated(old, new, new) == ("CERTIFICATE", "KEY")


async def test_the_service_is_asked_to_end_once_and_the_log_names_the_files(files: Files) -> None:
    watch = files.watch()
    files.write("KEY", "new")
    with capture_logs() as logged:
        await watch.run()
    assert files.ended == 1
    assert [line["files"] for line in logged] == [["KEY"]]
