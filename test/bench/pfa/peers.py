"""Trains XGBoost and HistGradientBoosting on the matrices that the benchmark
wrote, scores its rows, and says how much processor time it took.

peers.py DIR MODE THREADS: MODE, one or both of xgboost,hgb, writes
DIR/PEER-{test,hidden}.f64 of each; MODE speed only measures XGBoost. Times in
seconds go to standard output as JSON."""
import json
import os
import sys
import time

directory, mode, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["OMP_NUM_THREADS"] = str(threads)

import numpy as np
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier

WIDTH = int(open(os.path.join(directory, "width")).read())
TREES, DEPTH = 250, 4


def matrix(name):
    return np.fromfile(os.path.join(directory, name), dtype="<f4").reshape(-1, WIDTH)


def timed(f):
    start = time.process_time()
    out = f()
    return out, time.process_time() - start


x, y = matrix("train.x"), np.fromfile(os.path.join(directory, "train.y"), dtype="u1")
params = dict(objective="binary:logistic", max_depth=DEPTH, eta=0.1, tree_method="hist", nthread=threads)
times = {}
train = lambda: xgboost.train(params, xgboost.DMatrix(x, label=y, nthread=threads), TREES)


def compare(peer, predict):
    for name in ("test", "hidden"):
        predict(matrix(name + ".x")).astype("<f8").tofile(os.path.join(directory, "%s-%s.f64" % (peer, name)))


if mode != "speed":
    if "xgboost" in mode:
        booster, times["xgboost_train"] = timed(train)
        compare("xgboost", lambda rows: booster.predict(xgboost.DMatrix(rows)))
    if "hgb" in mode:
        hgb = HistGradientBoostingClassifier(max_iter=TREES, max_depth=DEPTH, learning_rate=0.1, early_stopping=False)
        _, times["hgb_train"] = timed(lambda: hgb.fit(x, y))
        compare("hgb", lambda rows: hgb.predict_proba(rows)[:, 1])
else:
    booster, times["xgboost_train"] = timed(train)
    rows = matrix("test.x")[:120000]
    _, times["xgboost_score"] = timed(lambda: booster.predict(xgboost.DMatrix(rows, nthread=threads)))
    times["score_rows"] = len(rows)
    few = rows[:2000]
    _, times["xgboost_explain"] = timed(lambda: booster.predict(xgboost.DMatrix(few, nthread=threads), pred_contribs=True))
    times["explain_rows"] = len(few)
json.dump(times, sys.stdout)
