// Command pfa compares vireo's prediction of disk failures with what anyone can
// install today, on the same drives and the same landmarks: XGBoost, scikit-learn's
// HistGradientBoosting (peers.py, by Debian's Python), smartd's rule and
// scrutiny's thresholds. `make bench-pfa` runs it.
//
// Every comparison is forward in time and on other drives: for each day T and
// each third of the drives, all learn from the other two thirds as they were
// known on T (a drive that fails later has not failed yet), on landmarks up to
// 30 days before T, and are judged on the third's landmarks from T on, every 14
// days, against failures within 30 days. A landmark whose 30 days are not known
// is left out.
package main
