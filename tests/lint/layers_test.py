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
ORDER = ["base", "data", "model", "compute", "comm", "replication", "node", "train", "config"]

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
    ("curl", r"curl/"),
    ("CLI11", r"CLI/"),
    ("spdlog", r"spdlog/"),
    ("gloo", r"gloo/"),
    ("boost", r"boost/"),
    ("openssl", r"openssl/"),
    ("cuda", r"(cuda(_\w+)?|cu(blas|rand|solver|sparse)\w*|mma|nvrtc|cooperative_groups)\.h$|(cuda|cub|thrust)/"),
    ("loader", r"dlfcn\.h"),
    ("posix", r"(sys|net|netinet|arpa|linux)/|(unistd|dirent|fcntl|sched|pthread|signal|termios|poll|time|netdb|ifaddrs)\.h"),
]

# The standard library: no slash, no extension.
STANDARD = re.compile(r"[a-z_0-9]+")

# What each folder may use: contracts (besides its own) and vendors. "fmt" goes with base everywhere.
EVERYTHING = "everything"
FOLDERS = {
    "src/base": (["base"], ["fmt", "xxhash", "posix", "loader"]),
    "src/data": (["base", "data"], ["fmt", "zlib", "zstd", "posix", "loader"]),
    "src/model": (["base", "data", "model"], ["fmt", "nlohmann"]),
    "src/train": (["base", "data", "model", "compute", "comm", "replication", "node", "train"], ["fmt"]),
    "src/comm/embedded": (["base", "comm"], ["fmt"]),
    "src/comm/etcd": (["base", "comm"], ["fmt", "nlohmann", "curl", "posix"]),
    "src/replication": (["base", "comm", "replication"], []),
    "src/replication/sound": (["base"], []),
    "src/node": (["base", "comm", "replication", "node"], ["fmt"]),
    "src/comm": (["base", "comm"], ["fmt", "posix"]),
    "src/comm/inproc": (["base", "comm"], ["fmt"]),
    "src/comm/tls": (["base", "comm"], ["fmt", "boost", "openssl", "posix"]),
    "src/comm/gloo": (["base", "comm"], ["fmt", "gloo", "posix"]),
    "src/comm/nccl": (["base", "comm"], ["fmt", "loader"]),
    "src/config": (ORDER, ["fmt", "toml++"]),
    "src/app": (ORDER, EVERYTHING),
    "src/app/doctor": (ORDER, EVERYTHING),
    "src/app/bench": (ORDER, EVERYTHING),
    "src/app/bench/relay": (["base"], ["fmt", "boost"]),
    "launcher": (ORDER, EVERYTHING),
    "kernels/reference": (["base", "data", "model", "compute"], ["fmt"]),
    "kernels/cpu": (["base", "data", "model", "compute"], ["fmt", "highway", "openblas"]),
    "kernels/cuda": (["base", "data", "model", "compute"], ["fmt"]),
    "kernels/cuda/nvidia": (["base", "data", "model", "compute"], ["fmt", "cuda", "loader"]),
    "kernels/cuda/nvidia/device": ([], ["cuda"]),
}

# Where a header in quotes may lie besides the folder of the file that includes it. A header of device/ is the device's
# own in the library, the host machine's in tests: each has the same names.
HEADER_FOLDERS = {
    "src/replication": ["src/replication/sound"],
    "src/replication/sound": ["src/replication"],
    "src/app/doctor": ["src/app"],
    "src/app/bench": ["src/app", "src/app/bench/relay"],
    "src/comm/inproc": ["src/comm"],
    "src/comm/tls": ["src/comm"],
    "src/comm/gloo": ["src/comm"],
    "src/comm/nccl": ["src/comm"],
    "kernels/cuda": ["kernels/cuda", "kernels/cuda/nvidia"],
    "kernels/cuda/nvidia": ["kernels/cuda", "kernels/cuda/nvidia"],
    "kernels/cuda/nvidia/device": ["kernels/cuda", "kernels/cuda/nvidia"],
}
# What kernels/cuda may include of kernels/cuda/nvidia: what the host machine has too.
DEVICE_HEADERS = ("device/",)

# Programs that measure or test a vendor's own library; everything else outside the folders above leaves CUDA's headers
# alone, or tests could not run without them.
CUDA_PROGRAMS = ("bench/kernels/cuda/",)

# A vendor whose headers stay within this many files of a folder, so that it can be replaced.
FEW_FILES = {"curl": 2, "zlib": 2, "zstd": 2, "nlohmann": 2, "toml++": 2, "xxhash": 2}
FEW_FILES = {"gloo": 2, "zlib": 2, "zstd": 2, "nlohmann": 2, "toml++": 2, "xxhash": 2}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCES = (".cpp", ".hpp", ".cu", ".cuh")


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
    folder = posixpath.dirname(path)
    return (folder, *FOLDERS[folder]) if folder in FOLDERS else None


def is_header_in_reach(tree, path, layer, header):
    """A header of the file's own folder, or of those its layer shares."""
    if ".." in header.split("/"):
        return False
    if posixpath.join(posixpath.dirname(path), header) in tree.paths:
        return layer != "kernels/cuda" or "/" not in header
    for folder in HEADER_FOLDERS.get(layer, []):
        if posixpath.join(folder, header) in tree.paths:
            return layer != "kernels/cuda" or header.startswith(DEVICE_HEADERS)
    return False


def check_include(tree, path, rule, bracket, header):
    """What is wrong with one include, or None."""
    layer, contracts, vendors = rule
    if bracket == '"':
        if header.startswith("concerto/"):
            contract = header.split("/")[1]
            if contract not in contracts:
                return f"{layer} may not use contract {contract}"
            return None if f"include/{header}" in tree.paths else f"no such contract header: {header}"
        return None if is_header_in_reach(tree, path, layer, header) else f"'{header}' is not a header of the same folder"
    if header.startswith("concerto/"):
        return "contracts are included with quotes"
    vendor = vendor_of(header)
    if vendor == "standard" or (vendor is not None and (vendor in vendors or (vendors == EVERYTHING and vendor != "cuda"))):
        return None
    return f"{layer} may not use <{header}>" + ("" if vendor else " (no rule knows this header)")


def cuda_violations(tree):
    """CUDA's headers in tests and benchmarks, which the table does not bind otherwise."""
    return [f"{path}:{number}: a CUDA header outside kernels/cuda/nvidia"
            for path in tree.with_suffix(*SOURCES) if path.startswith(("tests/", "bench/"))
            and not path.startswith(CUDA_PROGRAMS)
            for number, line in tree.lines(path)
            if (match := INCLUDE.match(line)) and vendor_of(match.group(2)) == "cuda"]


def layer_violations(tree):
    found = cuda_violations(tree)
    users = collections.defaultdict(set)
    for path in tree.with_suffix(*SOURCES):
        if path.split("/")[0] not in ("include", "src", "kernels", "launcher"):
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
    "kernels/cuda/runtime.hpp": "#include <fmt/format.h>\n",
    "kernels/cuda/gram.cu": '#include "runtime.hpp"\n#include "device/simt.cuh"\n',
    "kernels/cuda/nvidia/checked.hpp": "#include <string_view>\n",
    "kernels/cuda/nvidia/runtime.cpp": '#include "runtime.hpp"\n#include <cuda_runtime.h>\n#include <dlfcn.h>\n',
    "kernels/cuda/nvidia/sort.cu": '#include <cub/device/device_scan.cuh>\n#include "nvidia/checked.hpp"\n',
    "kernels/cuda/nvidia/device/simt.cuh": '#include <cuda_runtime.h>\n#include "nvidia/checked.hpp"\n',
    "bench/kernels/cuda/bench.cpp": "#include <cuda_runtime.h>\n",
    "launcher/main.cpp": '#include <CLI/CLI.hpp>\n#include <sys/wait.h>\n#include "concerto/base/ids.hpp"\n',
    "src/comm/lane.hpp": "#include <thread>\n",
    "src/comm/gloo/mesh.cpp": '#include <gloo/transport/tcp/device.h>\n#include "lane.hpp"\n',
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
    "src/comm/embedded/bad.cpp": ("#include <curl/curl.h>", "may not use <curl/curl.h>"),
    "src/comm/etcd/bad.cpp": ('#include "concerto/compute/backend.hpp"', "may not use contract compute"),
    "src/comm/etcd/worse.cpp": ('#include "../embedded/wire.hpp"', "not a header of the same folder"),
    "src/app/bad.cpp": ("  #  include <mystery/of.h>", "no rule knows"),
    "launcher/bad.cpp": ("#include <cuda_runtime.h>", "may not use <cuda_runtime.h>"),
    "src/comm/bad.cpp": ("#include <gloo/context.h>", "may not use <gloo/context.h>"),
    "src/comm/worse.cpp": ('#include "concerto/train/trainer.hpp"', "may not use contract train"),
    "src/comm/inproc/bad.cpp": ('#include "mesh.hpp"', "not a header of the same folder"),
    "src/novelty/bad.cpp": ("", "no row of the layer table"),
    "kernels/cpu/bad.cpp": ('#include "concerto/train/trainer.hpp"', "may not use contract train"),
    "kernels/reference/bad.cpp": ("#include <hwy/highway.h>", "may not use <hwy/highway.h>"),
    "kernels/cuda/bad.cu": ("#include <cuda_runtime.h>", "may not use <cuda_runtime.h>"),
    "kernels/cuda/worse.cuh": ("#include <cub/cub.cuh>", "may not use <cub/cub.cuh>"),
    "kernels/cuda/bad.cpp": ('#include "nvidia/checked.hpp"', "not a header of the same folder"),
    "kernels/cuda/bad.hpp": ('#include "concerto/train/trainer.hpp"', "may not use contract train"),
    "kernels/cuda/loads.cpp": ("#include <dlfcn.h>", "may not use <dlfcn.h>"),
    "kernels/cuda/nvidia/bad.cpp": ("#include <hwy/highway.h>", "may not use <hwy/highway.h>"),
    "kernels/cuda/nvidia/bad.cu": ('#include "concerto/config/config.hpp"', "may not use contract config"),
    "kernels/cuda/nvidia/device/bad.cuh": ('#include "concerto/base/ids.hpp"', "may not use contract base"),
    "kernels/cuda/extra/bad.cu": ("", "no row of the layer table"),
    "kernels/cpu/worse.cpp": ("#include <cublas_v2.h>", "may not use <cublas_v2.h>"),
    "src/app/worse.cpp": ("#include <cuda_runtime.h>", "may not use <cuda_runtime.h>"),
    "include/concerto/compute/bad.hpp": ("#include <cuda_bf16.h>", "may not use <cuda_bf16.h>"),
    "tests/unit/bad_test.cpp": ("#include <cuda_runtime_api.h>", "a CUDA header outside kernels/cuda/nvidia"),
    "bench/kernels/bad.cpp": ("#include <thrust/sort.h>", "a CUDA header outside kernels/cuda/nvidia"),
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
