package pfa

import (
	"cmp"
	"slices"
)

// scored is a score with what came of it.
type scored struct {
	score  float64
	weight float64
	label  bool
}

// rankMetrics returns the area under the ROC curve and the average precision.
// Equal scores count as one step, so that no order of rows flatters.
func rankMetrics(s []scored) (auc, ap float64) {
	s = slices.Clone(s)
	slices.SortFunc(s, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	return rankSorted(s)
}

// rankSorted is rankMetrics of scores in falling order.
func rankSorted(s []scored) (auc, ap float64) {
	var pos, neg float64
	for _, x := range s {
		if x.label {
			pos += x.weight
		} else {
			neg += x.weight
		}
	}
	if pos == 0 || neg == 0 {
		return 0, 0
	}
	var tp, fp float64
	for i := 0; i < len(s); {
		var p, n float64
		j := i
		for ; j < len(s) && s[j].score == s[i].score; j++ {
			if s[j].label {
				p += s[j].weight
			} else {
				n += s[j].weight
			}
		}
		auc += n * (tp + p/2)
		if tp+p > 0 {
			ap += p / pos * (tp + p) / (tp + p + fp + n)
		}
		tp, fp, i = tp+p, fp+n, j
	}
	return auc / (pos * neg), ap
}
