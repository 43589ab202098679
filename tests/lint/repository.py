"""The files of the repository, for the lint tests. It reads; what is right or wrong the tests decide.

A lint is a function from a Tree to a list of "path:line: what is wrong". Tests run it on this repository, where the
list must be empty, and on a small planted tree, where it must not be: a lint that catches nothing is no lint.
"""
import os
import pathlib
import subprocess
import tempfile


class Tree:
    """A folder and the files in it that are, or could be, committed: relative paths with forward slashes."""

    def __init__(self, root, paths):
        self.root = pathlib.Path(root)
        self.paths = sorted(paths)

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8", errors="replace")

    def data(self, path):
        return (self.root / path).read_bytes()

    def lines(self, path):
        """Pairs (line number from 1, line)."""
        return list(enumerate(self.text(path).splitlines(), start=1))

    def with_suffix(self, *suffixes):
        return [path for path in self.paths if path.endswith(suffixes)]

    def is_executable(self, path):
        return os.access(self.root / path, os.X_OK)


def git_files(root, *arguments):
    command = ["git", "-C", str(root), "ls-files", "-z", *arguments]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [path for path in listed.split("\0") if path]


def repository():
    """This repository: tracked files, and new ones beside them that git does not ignore; without git, every file outside
    build/. What a user puts at the top (data, models) is not the repository's."""
    root = pathlib.Path(os.environ.get("CONCERTO_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
    try:
        paths = git_files(root)
        folders = sorted({path.split("/")[0] for path in paths if "/" in path})
        paths += git_files(root, "--others", "--exclude-standard", "--", *folders)
    except (OSError, subprocess.CalledProcessError):
        paths = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        paths = [path for path in paths if not path.startswith(("build/", ".git/")) and "__pycache__" not in path]
    return Tree(root, [path for path in paths if (root / path).is_file()])


class PlantedTree:
    """A temporary tree made of {path: content}; a context manager that gives a Tree. Bytes are written as they are."""

    def __init__(self, files, executable=()):
        self.files = files
        self.executable = executable

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(self.folder.name)
        for path, content in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
            (root / path).chmod(0o755 if path in self.executable else 0o644)
        return Tree(root, self.files)

    def __exit__(self, *_):
        self.folder.cleanup()
