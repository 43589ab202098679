#!/usr/bin/env python3
"""Holds every #include against the table of layers in ARCHITECTURE.md ("What may include what").

It reads include lines, not the linker's graph: what a layer names is what it depends on. It does not look at tests/ and
bench/, which may use everything public.
"""
import collections
import posixpath
import re
import unittest

from repository import PlantedTree, repository

# Contracts from the lowest to the highest: a contract includes base and those before it.
ORDER = ["base", "data", "model", "compute", "comm", "replication", "train", "config"]

# Vendor headers by the name that the rules below use.
VENDORS = [
    ("fmt", r"fmt/"),
    ("xxhash", r"xxhash\.h"),
    ("zlib", r"zlib\.h"),
    ("zstd", r"zstd(_errors)?\.h"),
    ("nlohmann", r"nlohmann/"),
    ("toml++", r"toml\+\+/|toml\.hpp"),
    ("highway", r"hwy/"),
    ("openblas", r"cblas\.h|openblas_config\.h|lapacke?\.h"),
    ("CLI11", r"CLI/"),
    ("spdlog", r"spdlog/"),
    ("posix", r"(sys|netinet|arpa|linux)/|(unistd|fcntl|sched|pthread|signal|termios|dlfcn|poll|time)\.h"),
]

# The standard library: no slash, no extension.
STANDARD = re.compile(r"[a-z_0-9]+")

# What each folder may use: contracts (besides its own) and vendors. "fmt" goes with base everywhere.
EVERYTHING = "everything"
FOLDERS = {
    "src/base": (["base"], ["fmt", "xxhash", "posix"]),
    "src/data": (["base", "data"], ["fmt", "zlib", "zstd", "posix"]),
    "src/model": (["base", "data", "model"], ["fmt", "nlohmann"]),
    "src/train": (["base", "data", "model", "compute", "train"], ["fmt"]),
    "src/config": (ORDER, ["fmt", "toml++"]),
    "src/app": (ORDER, EVERYTHING),
    "kernels/reference": (["base", "data", "model", "compute"], ["fmt"]),
    "kernels/cpu": (["base", "data", "model", "compute"], ["fmt", "highway", "openblas"]),
}

# A vendor whose headers stay within this many files of a folder, so that it can be replaced.
FEW_FILES = {"zlib": 2, "zstd": 2, "nlohmann": 2, "toml++": 2, "xxhash": 2}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCES = (".cpp", ".hpp")


def vendor_of(header):
    """The vendor's name, "standard", or None for a header that no rule knows."""
    for name, pattern in VENDORS:
        if re.match(pattern, header):
            return name
    return "standard" if STANDARD.fullmatch(header) else None


def rule_of(path):
    """(name of the layer, contracts it may use, vendors it may use), or None where no row of the table fits."""
    parts = path.split("/")
    if parts[:2] == ["include", "concerto"] and len(parts) == 4 and parts[2] in ORDER:
        return f"contract {parts[2]}", ORDER[: ORDER.index(parts[2]) + 1], ["fmt"] if parts[2] == "base" else []
    folder = "/".join(parts[:2])
    if folder in FOLDERS and len(parts) == 3:
        return folder, *FOLDERS[folder]
    return None


def check_include(tree, path, rule, bracket, header):
    """What is wrong with one include, or None."""
    layer, contracts, vendors = rule
    if bracket == '"':
        if header.startswith("concerto/"):
            contract = header.split("/")[1]
            if contract not in contracts:
                return f"{layer} may not use contract {contract}"
            return None if f"include/{header}" in tree.paths else f"no such contract header: {header}"
        if ".." in header.split("/") or posixpath.join(posixpath.dirname(path), header) not in tree.paths:
            return f"'{header}' is not a header of the same folder"
        return None
    if header.startswith("concerto/"):
        return "contracts are included with quotes"
    vendor = vendor_of(header)
    if vendor == "standard" or (vendor is not None and (vendors == EVERYTHING or vendor in vendors)):
        return None
    return f"{layer} may not use <{header}>" + ("" if vendor else " (no rule knows this header)")


def layer_violations(tree):
    found = []
    users = collections.defaultdict(set)
    for path in tree.with_suffix(*SOURCES):
        if path.split("/")[0] not in ("include", "src", "kernels"):
            continue
        rule = rule_of(path)
        if rule is None:
            found.append(f"{path}:1: no row of the layer table fits this place")
            continue
        for number, line in tree.lines(path):
            match = INCLUDE.match(line)
            if not match:
                continue
            bracket, header = match.groups()
            problem = check_include(tree, path, rule, bracket, header)
            if problem:
                found.append(f"{path}:{number}: {problem}")
            if bracket == "<" and vendor_of(header) in FEW_FILES:
                users[(vendor_of(header), rule[0])].add(path)
    for (vendor, layer), paths in sorted(users.items()):
        if len(paths) > FEW_FILES[vendor]:
            found.append(f"{layer}:1: {vendor} headers in {len(paths)} files, at most {FEW_FILES[vendor]}: {sorted(paths)}")
    return found


CLEAN = {
    "include/concerto/base/ids.hpp": "#include <cstdint>\n#include <fmt/core.h>\n",
    "include/concerto/data/ratings.hpp": '#include "concerto/base/ids.hpp"\n',
    "include/concerto/train/trainer.hpp": '#include "concerto/data/ratings.hpp"\n',
    "src/data/reader.cpp": '#include <zlib.h>\n#include "concerto/data/ratings.hpp"\n#include "lines.hpp"\n',
    "src/data/lines.hpp": "#include <string>\n",
    "kernels/cpu/gram.cpp": "#include <hwy/highway.h>\n",
    "src/app/main.cpp": '#include <CLI/CLI.hpp>\n#include "concerto/train/trainer.hpp"\n',
}

# A planted file each, and a word of what must be said about it.
PLANTED = {
    "include/concerto/base/bad.hpp": ('#include "concerto/data/ratings.hpp"', "may not use contract data"),
    "include/concerto/data/bad.hpp": ('#include "concerto/train/trainer.hpp"', "may not use contract train"),
    "include/concerto/model/bad.hpp": ("#include <nlohmann/json.hpp>", "may not use <nlohmann/json.hpp>"),
    "include/concerto/extra/bad.hpp": ("", "no row of the layer table"),
    "src/train/bad.cpp": ('#include "../../kernels/cpu/gram.hpp"', "not a header of the same folder"),
    "src/train/worse.cpp": ("#include <spdlog/spdlog.h>", "may not use <spdlog/spdlog.h>"),
    "src/data/bad.cpp": ('#include "concerto/train/trainer.hpp"', "may not use contract train"),
    "src/model/bad.cpp": ("#include <toml++/toml.h>", "may not use <toml++/toml.h>"),
    "src/app/bad.cpp": ("  #  include <mystery/of.h>", "no rule knows"),
    "src/novelty/bad.cpp": ("", "no row of the layer table"),
    "kernels/cpu/bad.cpp": ('#include "concerto/train/trainer.hpp"', "may not use contract train"),
    "kernels/reference/bad.cpp": ("#include <hwy/highway.h>", "may not use <hwy/highway.h>"),
    "src/base/bad.cpp": ("#include <concerto/base/ids.hpp>", "with quotes"),
}


class LayersTest(unittest.TestCase):
    def test_this_repository(self):
        tree = repository()
        self.assertIn("include/concerto/base/ids.hpp", tree.paths)
        self.assertEqual(layer_violations(tree), [])

    def test_a_clean_tree_is_clean(self):
        with PlantedTree(CLEAN) as tree:
            self.assertEqual(layer_violations(tree), [])

    def test_each_planted_violation_is_caught(self):
        for path, (line, words) in PLANTED.items():
            with self.subTest(path), PlantedTree({**CLEAN, path: f"{line}\n"}) as tree:
                found = layer_violations(tree)
                self.assertEqual(len(found), 1, found)
                self.assertIn(f"{path}:1: ", found[0])
                self.assertIn(words, found[0])

    def test_a_vendor_in_three_files_is_caught(self):
        files = {f"src/config/{name}.cpp": "#include <toml++/toml.h>\n" for name in ("a", "b", "c")}
        with PlantedTree({**CLEAN, **files}) as tree:
            found = layer_violations(tree)
            self.assertEqual(len(found), 1, found)
            self.assertIn("toml++ headers in 3 files", found[0])


if __name__ == "__main__":
    unittest.main()
