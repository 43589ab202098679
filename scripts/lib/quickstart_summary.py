#!/usr/bin/env python3
"""Prints what scripts/quickstart made: the model's errors beside those of the true factors and of popularity, the lists
of two users, and where everything is. It reads the files of the run and computes nothing."""
import json
import pathlib
import sys


def read(path):
    return json.loads(path.read_text())


def metric_lines(report, truth):
    final = report["final"]
    yield f"{'':<28}{'RMSE':>8}{'MAE':>8}   on {report['data']['test_entries']:,} ratings held out"
    rows = [("popularity (item means)", final["popularity"]), ("this model", final["metrics"]),
            ("the true factors", {"rmse": truth["true_test_rmse"]})]
    for name, values in rows:
        cells = "".join(f"{values[metric]:8.4f}" if metric in values else f"{'-':>8}" for metric in ("rmse", "mae"))
        yield f"  {name:<26}{cells}"


def list_lines(lists):
    yield "The ten best items that two users have not rated, with predicted ratings:"
    yield "      " + "".join(f"{'user ' + entry['id']:<22}" for entry in lists)
    for place in range(max(len(entry["items"]) for entry in lists)):
        cells = [entry["items"][place] for entry in lists if place < len(entry["items"])]
        yield f"  {place + 1:>2}  " + "".join(f"item {cell['item']:<8}{cell['score']:>6.2f}   " for cell in cells)


def main():
    folder = pathlib.Path(sys.argv[1])
    report, truth = read(folder / "report.json"), read(folder / "data" / "truth.json")
    lists = [json.loads(line) for line in (folder / "recommendations.json").read_text().splitlines()]
    data, final = report["data"], report["final"]
    print(f"{data['train_entries']:,} ratings of {data['users']:,} users for {data['items']:,} items; "
          f"{len(report['epochs'])} epochs in {final['train_seconds']:.1f} s on {report['machine']['threads']} threads")
    print("\n".join(["", *metric_lines(report, truth), "", *list_lines(lists), ""]))
    for name, place in (("data", "data"), ("model", "model"), ("report", "report.json"), ("program", "build/bin/concerto")):
        print(f"  {name:<9}{folder / place}")


if __name__ == "__main__":
    main()
