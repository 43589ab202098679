"""Numbers out of runs: medians, ratios of programs that ran in turn, and what machine it was.

A bare time says little on a shared machine. Two programs are run A B A B ..., each round gives one ratio, and the median
of the ratios is the result.
"""
import json
import os
import pathlib
import platform
import statistics
import subprocess


def steady_median(seconds):
    """The median without the first: the first epoch meets cold caches and pages."""
    return statistics.median(seconds[1:] if len(seconds) > 1 else seconds)


def in_turn(rounds, ours, theirs):
    """Calls the two functions in turn, `rounds` times each; returns their two lists of results."""
    results = ([], [])
    for _ in range(rounds):
        results[0].append(ours())
        results[1].append(theirs())
    return results


def comparison(name, unit, ours, theirs, lower_is_better, **notes):
    """One row of a result: both sides' samples and the median over rounds of how many times better ours is."""
    pairs = list(zip(ours, theirs))
    ratios = [b / a if lower_is_better else a / b for a, b in pairs]
    return {"name": name, "unit": unit, "lower_is_better": lower_is_better, "ours": statistics.median(ours),
            "theirs": statistics.median(theirs), "times_better": statistics.median(ratios),
            "samples": {"ours": ours, "theirs": theirs}, **notes}


def single(name, unit, value, lower_is_better, **notes):
    """A row without a peer."""
    return {"name": name, "unit": unit, "lower_is_better": lower_is_better, "ours": value, **notes}


def machine():
    """What the numbers were taken on."""
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": model, "processors": len(os.sched_getaffinity(0)), "memory_bytes": memory,
            "system": f"{platform.system()} {platform.release()}", "load_before": os.getloadavg()[0]}


def require_output(path):
    """Raises OSError unless a result can be written to `path`: before hours are spent on it."""
    with open(path, "a", encoding="utf-8"):
        pass


def write_result(path, result):
    """Writes a result whole, under its own name only when it is complete."""
    staged = path.with_name(path.name + ".tmp")
    staged.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    staged.replace(path)


def commit(root):
    """The commit of a checkout, with "+" when it has changes; "unknown" without git."""
    def git(*arguments):
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "--short", "HEAD").strip() + ("+" if git("status", "--porcelain").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
