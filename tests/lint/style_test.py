#!/usr/bin/env python3
"""Holds every file of the repository against the rules of CONTRIBUTING.md that a compiler does not see.

What clang-format and clang-tidy decide is not repeated here.
"""
import posixpath
import re
import unittest

from repository import PlantedTree, repository

CODE = (".cpp", ".hpp", ".cu", ".cuh", ".py", ".cmake", "CMakeLists.txt")
FOREIGN_TEXT = ("LICENSE", "tests/fuzz/corpus/")  # as it came
MAX_LINES = 600
MAX_BYTES = 1 << 20
# Written in two halves, so that this file does not hold what it forbids.
MARKS = re.compile("|".join([r"\bTO" "DO", r"\bFIX" "ME", r"\bXX" r"X\b", r"\bHA" r"CK\b", "not imple" "mented",
                             "unimple" "mented", "place" "holder", r"\bst" r"ubs?\b"]), re.IGNORECASE)


def is_script(path, tree):
    return path.startswith(("scripts/", ".ci/", "bench/")) and tree.data(path).startswith(b"#!")


def code_files(tree):
    return [path for path in tree.paths if path.endswith(CODE) or is_script(path, tree)]


def text_files(tree):
    return [path for path in tree.paths if b"\0" not in tree.data(path)]


def long_files(tree):
    counted = [(path, len(tree.lines(path))) for path in code_files(tree)]
    return [f"{path}:{count}: more than {MAX_LINES} lines" for path, count in counted if count > MAX_LINES]


def large_files(tree):
    return [f"{path}:1: more than {MAX_BYTES} bytes" for path in tree.paths if len(tree.data(path)) > MAX_BYTES]


def unopened_files(tree):
    """Code and configuration files that do not open with a comment saying what they are."""
    found = []
    for path in code_files(tree) + [path for path in tree.paths if re.match(r"configs/.*\.toml$", path)]:
        lines = [line for _, line in tree.lines(path)[:3]]
        if lines and lines[0].startswith("#!"):
            lines = lines[1:]
        openings = ("//", "/*") if path.endswith((".cpp", ".hpp", ".cu", ".cuh")) else ("#", '"""')
        if not lines or not lines[0].startswith(openings):
            found.append(f"{path}:1: does not open with a comment that says what it is")
    return found


def marks(tree):
    return [f"{path}:{number}: unfinished mark '{match.group()}'" for path in code_files(tree)
            for number, line in tree.lines(path) if (match := MARKS.search(line))]


def bad_characters(tree):
    """Tabs, carriage returns, spaces at line ends and anything but ASCII in text; a missing newline at its end."""
    found = []
    for path in text_files(tree):
        if path.startswith(FOREIGN_TEXT):
            continue
        content = tree.data(path)
        for number, line in enumerate(content.split(b"\n"), start=1):
            for what, is_bad in (("tab", b"\t" in line), ("carriage return", b"\r" in line),
                                 ("space at the end", line.endswith(b" ")), ("non-ASCII character", not line.isascii())):
                if is_bad:
                    found.append(f"{path}:{number}: {what}")
        if content and not content.endswith(b"\n"):
            found.append(f"{path}:{content.count(10) + 1}: no newline at the end")
    return found


def heading_anchors(text):
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ +(.*?) *$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(tree):
    """Relative links in Markdown that lead nowhere. Links to other sites are not followed."""
    found = []
    folders = {posixpath.dirname(path) for path in tree.paths}
    folders |= {parent for folder in folders for parent in parents_of(folder)}
    for path in tree.with_suffix(".md"):
        for number, line in tree.lines(path):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if re.match(r"[a-z]+:", target):
                    continue
                name, _, anchor = target.partition("#")
                full = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else path
                if full not in tree.paths and full.rstrip("/") not in folders:
                    found.append(f"{path}:{number}: link to nowhere: {target}")
                elif anchor and full.endswith(".md") and anchor not in heading_anchors(tree.text(full)):
                    found.append(f"{path}:{number}: no such heading: {target}")
    return found


def parents_of(folder):
    while folder:
        yield folder
        folder = posixpath.dirname(folder)


def unrunnable_scripts(tree):
    """Programs without the run bit: all of scripts/ (not its libraries), .ci/, and whatever opens with #!."""
    found = []
    for path in tree.paths:
        folder = posixpath.dirname(path)
        is_program = folder in ("scripts", ".ci") or tree.data(path).startswith(b"#!")
        if is_program and not tree.is_executable(path):
            found.append(f"{path}:1: not executable")
        if folder in ("scripts", ".ci") and not tree.data(path).startswith(b"#!"):
            found.append(f"{path}:1: does not open with #!")
    return found


def careless_shell(tree):
    """Shell programs that go on after a failed command or an unset name."""
    shells = [path for path in tree.paths if re.match(rb"#!.*\b(ba)?sh\b", tree.data(path)[:40])]
    return [f"{path}:1: no 'set -euo pipefail'" for path in shells
            if not re.search(r"^set -euo pipefail$", tree.text(path), re.MULTILINE)]


LINTS = [long_files, large_files, unopened_files, marks, bad_characters, broken_links, unrunnable_scripts, careless_shell]

CLEAN = {
    "README.md": "# A page\n\n## A heading, here\n\n[a](src/a.cpp) [b](#a-heading-here) [c](src) [d](https://example.org/x)\n",
    "src/a.cpp": "// What it is.\nint a;\n",
    "scripts/run": "#!/usr/bin/env bash\n# What it is.\nset -euo pipefail\n",
    "scripts/lib/common.sh": "# What it is.\n",
    "configs/a.toml": "# What it is.\n",
}

# For each lint: a planted file, its content, and whether it has the run bit.
PLANTED = [
    (long_files, "src/b.cpp", "// b\n" * (MAX_LINES + 1), False),
    (long_files, "kernels/b.cu", "// b\n" * (MAX_LINES + 1), False),
    (large_files, "bench/b.json", "0" * (MAX_BYTES + 1) + "\n", False),
    (unopened_files, "src/b.cpp", "int b;\n", False),
    (unopened_files, "kernels/b.cu", "int b;\n", False),
    (unopened_files, "kernels/b.cuh", "# b\n", False),
    (unopened_files, "scripts/b", "#!/usr/bin/env bash\nset -euo pipefail\n", True),
    (unopened_files, "configs/b.toml", "[model]\n", False),
    (marks, "src/b.cpp", "// b\n// TO" "DO: later\n", False),
    (marks, "kernels/b.cuh", "// b\n// FIX" "ME: later\n", False),
    (marks, "scripts/b", "#!/usr/bin/env bash\n# not imple" "mented\nset -euo pipefail\n", True),
    (bad_characters, "src/b.cpp", "// b\n\tint b;\n", False),
    (bad_characters, "b.md", "caf\N{LATIN SMALL LETTER E WITH ACUTE}\n", False),
    (bad_characters, "b.md", "no end", False),
    (bad_characters, "b.md", "space \n", False),
    (broken_links, "b.md", "[x](nowhere.md)\n", False),
    (broken_links, "b.md", "[x](README.md#no-such)\n", False),
    (unrunnable_scripts, "scripts/b", "#!/usr/bin/env bash\n# b\nset -euo pipefail\n", False),
    (unrunnable_scripts, "scripts/b", "# b\n", True),
    (careless_shell, "scripts/b", "#!/usr/bin/env bash\n# b\nset -e\n", True),
]


class StyleTest(unittest.TestCase):
    def test_this_repository(self):
        tree = repository()
        self.assertIn("CMakeLists.txt", tree.paths)
        for lint in LINTS:
            with self.subTest(lint.__name__):
                self.assertEqual(lint(tree), [])

    def test_a_clean_tree_is_clean(self):
        with PlantedTree(CLEAN, executable=["scripts/run"]) as tree:
            for lint in LINTS:
                with self.subTest(lint.__name__):
                    self.assertEqual(lint(tree), [])

    def test_each_planted_violation_is_caught(self):
        for lint, path, content, runnable in PLANTED:
            executable = ["scripts/run"] + ([path] if runnable else [])
            with self.subTest(f"{lint.__name__} {path}"), PlantedTree({**CLEAN, path: content}, executable) as tree:
                found = lint(tree)
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(f"{path}:"), found[0])

    def test_every_lint_has_a_planted_violation(self):
        self.assertEqual({lint for lint, *_ in PLANTED}, set(LINTS))


if __name__ == "__main__":
    unittest.main()
