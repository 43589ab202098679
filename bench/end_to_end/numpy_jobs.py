#!/usr/bin/env python3
"""Jobs that need NumPy, SciPy or implicit: training implicit, and losses computed from anybody's exported factors.

    numpy_jobs.py JOB '{"argument": value, ...}'

prints one JSON object as its last line. Both programs' losses come from the same function here, never from what a
program says about itself.
"""
import gzip
import json
import pathlib
import sys
import time

import numpy as np


def read_columns(path, columns):
    """The numbers of a text file as an array of `columns` columns; white space separates them."""
    opened = gzip.open(path, "rb") if str(path).endswith(".gz") else open(path, "rb")
    with opened as file:
        return np.array(file.read().split(), dtype=np.float64).reshape(-1, columns)


def read_pairs(path, cache):
    """Users and items of a file of positives `user item`, kept as .npy in `cache` for the next time."""
    kept = pathlib.Path(cache) / (pathlib.Path(path).resolve().as_posix().replace("/", "_") + ".npy")
    if not kept.exists():
        np.save(kept, read_columns(path, 2).astype(np.int32))
    pairs = np.load(kept)
    return pairs[:, 0], pairs[:, 1]


def implicit_als(data, cache, rank, cholesky, iterations, regularization, alpha, threads, seed, out):
    """Trains implicit's AlternatingLeastSquares; returns seconds of each iteration and writes the factors."""
    import implicit.cpu.als
    import scipy.sparse

    users, items = read_pairs(data, cache)
    matrix = scipy.sparse.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)))
    model = implicit.cpu.als.AlternatingLeastSquares(
        factors=rank, regularization=regularization, alpha=alpha, iterations=iterations, num_threads=threads,
        use_cg=not cholesky, random_state=seed)
    seconds = []
    model.fit(matrix, show_progress=False, callback=lambda iteration, elapsed, loss: seconds.append(elapsed))
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "users.npy", model.user_factors)
    np.save(folder / "items.npy", model.item_factors)
    return {"seconds": seconds}


def alpha_loss(data, cache, factors, regularization, alpha):
    """The objective that implicit minimizes, of the factors in a folder: sum over all pairs c (p - x.y)^2 +
    regularization (|X|^2 + |Y|^2), with c = alpha where observed, else 1. Sums in double."""
    users, items = read_pairs(data, cache)
    x = np.load(pathlib.Path(factors) / "users.npy").astype(np.float64)
    y = np.load(pathlib.Path(factors) / "items.npy").astype(np.float64)
    loss = float(np.sum((x.T @ x) * (y.T @ y)))
    for begin in range(0, len(users), 200_000):
        part = slice(begin, begin + 200_000)
        score = np.einsum("ij,ij->i", x[users[part]], y[items[part]])
        loss += float(np.sum(alpha * (1.0 - score) ** 2 - score**2))
    return {"loss": loss + regularization * float(np.sum(x**2) + np.sum(y**2))}


def read_libmf_model(path):
    """(mean, P, Q) of a model of LIBMF; rows without entries are not numbers."""
    lines = pathlib.Path(path).read_text().splitlines()
    head = dict(line.split() for line in lines[:5])
    rows, columns, rank = int(head["m"]), int(head["n"]), int(head["k"])
    table = np.full((rows + columns, rank), np.nan)
    for index, line in enumerate(lines[5 : 5 + rows + columns]):
        words = line.split()
        if words[1] == "T":
            table[index] = [float(word) for word in words[2:]]
    return float(head["b"]), table[:rows], table[rows:]


def predict(users, items, mean, x, y):
    """x.y of each pair, or the mean where a row is missing or unknown."""
    known = (users < len(x)) & (items < len(y))
    score = np.full(len(users), mean)
    score[known] = np.einsum("ij,ij->i", x[users[known]], y[items[known]])
    return np.where(np.isnan(score), mean, score)


def read_csv(path):
    """Seconds that pandas' C parser takes for a file of `user item rating` lines."""
    import pandas

    begin = time.monotonic()
    table = pandas.read_csv(path, sep=" ", header=None, names=["user", "item", "value"], engine="c",
                            dtype={"user": np.int32, "item": np.int32, "value": np.float32})
    return {"seconds": time.monotonic() - begin, "rows": len(table)}


def rmse_of(values, predicted):
    return {"rmse": float(np.sqrt(np.mean((values - predicted) ** 2)))}


def libmf_rmse(test, model):
    """RMSE of a model of LIBMF on `user item rating` lines."""
    rows = read_columns(test, 3)
    users, items = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    return rmse_of(rows[:, 2], predict(users, items, *read_libmf_model(model)))


def concerto_rmse(test, factors, mean):
    """RMSE of factors (and biases) that Concerto exported, ids counted from 0."""
    rows = read_columns(test, 3)
    users, items = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    folder = pathlib.Path(factors)
    x, y = (np.load(folder / f"{side}.npy").astype(np.float64) for side in ("users", "items"))
    biases = [np.load(path).astype(np.float64) if (path := folder / f"{side}_biases.npy").exists() else None
              for side in ("user", "item")]
    score = predict(users, items, 0.0, x, y) + mean
    for index, bias in zip((users, items), biases):
        if bias is not None:
            known = index < len(bias)
            score[known] += bias[index[known]]
    return rmse_of(rows[:, 2], score)


JOBS = {job.__name__: job for job in (implicit_als, alpha_loss, read_csv, libmf_rmse, concerto_rmse)}


def main():
    begin = time.monotonic()
    result = JOBS[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps({**result, "job_seconds": time.monotonic() - begin}))


if __name__ == "__main__":
    main()
