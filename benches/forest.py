"""Isolation forest against scikit-learn's, both on one core, in turns, on the same tables; see benches/forest.sh.

Speed: a generated table of 8 features. Quality: ROC AUC on labelled tables, three made from the files of the server
machine dataset (rows of one machine: all metrics, its point labels) and one that is generated.
"""

import csv
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

ROUNDS = 7
SEEDS = 5


def generated(rows, width, odd, rng):
    """Three clusters; a share of rows is drawn from the box around them instead."""
    centres = rng.uniform(-5, 5, (3, width))
    table = centres[rng.integers(0, 3, rows)] + rng.normal(0, 1, (rows, width))
    labels = rng.random(rows) < odd
    table[labels] = rng.uniform(-9, 9, (labels.sum(), width))
    return table.astype(np.float32), labels


def machine(path):
    """The labelled rows of one machine: the second half of the file."""
    with open(path) as file:
        rows = list(csv.reader(file))
    names, rows = rows[0], rows[1 + len(rows) // 2 :]
    label = names.index("label")
    keep = [i for i in range(1, len(names)) if i != label]
    table = np.array([[float(row[i] or "nan") for i in keep] for row in rows], np.float32)
    return table, np.array([float(row[label]) > 0 for row in rows])


def ours(program, table, rounds):
    with tempfile.TemporaryDirectory() as folder:
        given, out = pathlib.Path(folder) / "table", pathlib.Path(folder) / "out"
        table.astype("<f4").tofile(given)
        subprocess.run([program, given, str(table.shape[1]), str(rounds), out], check=True)
        written = np.fromfile(out, "<f8")
    return written[0], written[1], written[2:]


def theirs(table, seed):
    forest = IsolationForest(n_estimators=100, max_samples=256, n_jobs=1, random_state=seed)
    began = time.perf_counter()
    forest.fit(table)
    fitted = time.perf_counter()
    scores = -forest.score_samples(table)
    return fitted - began, time.perf_counter() - fitted, scores


def speed(program):
    table, _ = generated(100_000, 8, 0.01, np.random.default_rng(1))
    rows, times = len(table), {"ours": ([], []), "theirs": ([], [])}
    for seed in range(ROUNDS):
        for name, (fit, score, _) in (("theirs", theirs(table, seed)), ("ours", ours(program, table, 3))):
            times[name][0].append(fit)
            times[name][1].append(score)
    median = {name: [statistics.median(t) for t in both] for name, both in times.items()}
    (fit, score), (their_fit, their_score) = median["ours"], median["theirs"]
    print(f"\n100 trees of 256 rows, {rows:,} rows of 8 features, one core, median of {ROUNDS} turns\n")
    print("| | Bellwether | scikit-learn | times as fast |\n|---|---|---|---|")
    print(f"| fitting, ms | {1e3 * fit:.2f} | {1e3 * their_fit:.1f} | {their_fit / fit:.1f} |")
    print(f"| scoring, rows/s | {rows / score:,.0f} | {rows / their_score:,.0f} | {their_score / score:.1f} |")
    return min(their_fit / fit, their_score / score)


def quality(program, files):
    tables = [(pathlib.Path(f).stem, *machine(f)) for f in files]
    tables.append(("generated, 20,000 x 8", *generated(20_000, 8, 0.03, np.random.default_rng(2))))
    print(f"\nROC AUC, mean of {SEEDS} seeds\n\n| table | rows | odd | Bellwether | scikit-learn | difference |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for name, table, labels in tables:
        # Each count of rounds ends with another seed.
        mine = statistics.mean(roc_auc_score(labels, ours(program, table, 1 + s)[2]) for s in range(SEEDS))
        sklearn = statistics.mean(roc_auc_score(labels, theirs(table, s)[2]) for s in range(SEEDS))
        worst = max(worst, sklearn - mine)
        print(f"| {name} | {len(table):,} | {labels.mean():.1%} | {mine:.4f} | {sklearn:.4f} | {mine - sklearn:+.4f} |")
    return worst


if __name__ == "__main__":
    program, files = sys.argv[1], sys.argv[2:]
    factor, below = speed(program), quality(program, files)
    print(f"\nleast factor {factor:.1f} (5 are asked for), AUC at most {below:.4f} below (0.01 allowed)")
    sys.exit(0 if factor >= 5 and below <= 0.01 else 1)
