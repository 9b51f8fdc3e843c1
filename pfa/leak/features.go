package leak

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names that say what a column is. Content is looked at as well.
var (
	identityName = regexp.MustCompile(`(?i)^(.*serial(_?(number|no))?|sn|wwn|uuid|guid|id|.*_id|(.*_)?(date|datetime|timestamp)|day|month|year|time|` +
		`row(_?(no|num|number|index|id))?|index|idx|line(_?(no|number))?|unnamed.*)$`)
	futureName = regexp.MustCompile(`(?i)^(label.*|target|fail(ed|s|ure)?|failed_on|failure_.*|(days|hours|time)_to_(failure|fail)|ttf|rul|fate|outcome|.*_after)$`)
)

const (
	sameOrder   = 0.98  // rank correlation from which a column is the other one in disguise
	fewRows     = 50    // below it, correlations mean nothing
	knowsBy     = 0.995 // AUC from which a single column knows the outcome
	knowsLabels = 20    // positives needed to say so
	fewWords    = 50    // texts that a category may have
)

// Features checks the columns: none may be a serial number, a date or the rows'
// order, and none may be computed after its landmark.
func Features(t *Table) []Finding {
	var out []Finding
	late, first := 0, -1
	for i := range t.Rows {
		if r := &t.Rows[i]; r.Observed.After(r.At) {
			if late++; first < 0 {
				first = i
			}
		}
	}
	if late > 0 {
		r := &t.Rows[first]
		out = append(out, found(Future, "%d rows rest on readings after their landmark, such as %s: landmark %s, newest reading %s", late,
			r.where(), r.At.Format("2006-01-02 15:04"), r.Observed.Format("2006-01-02 15:04")))
	}
	known := t.disguises()
	for c := range t.Columns {
		col := &t.Columns[c]
		switch {
		case identityName.MatchString(col.Name):
			out = append(out, found(Identity, "feature %s is, by its name, a serial number, a date or the order of rows", col.Name))
			continue
		case futureName.MatchString(col.Name):
			out = append(out, found(Future, "feature %s tells, by its name, what came later", col.Name))
			continue
		case col.Words > fewWords:
			out = append(out, found(Identity, "feature %s has %d different texts: a name, not a category", col.Name, col.Words))
			continue
		}
		if what, r := t.looksLike(col, known); what != "" {
			out = append(out, found(Identity, "feature %s is %s: rank correlation %.3f", col.Name, what, r))
			continue
		}
		if auc, n := t.single(col); n >= knowsLabels && max(auc, 1-auc) >= knowsBy {
			out = append(out, found(Future, "feature %s alone has an AUC of %.3f: it knows the outcome", col.Name, auc))
		}
	}
	return out
}

// disguise is something that no feature may be, by row.
type disguise struct {
	what   string
	values []float64
}

func (t *Table) disguises() []disguise {
	n := len(t.Rows)
	out := []disguise{{"the order of rows", make([]float64, n)}, {"the date of the landmark", make([]float64, n)},
		{"a part of the serial number", make([]float64, n)}}
	for i := range t.Rows {
		out[0].values[i] = float64(i)
		out[1].values[i] = float64(t.Rows[i].At.Unix())
		out[2].values[i] = digitsOf(t.Rows[i].Thing)
	}
	return out
}

// digitsOf is the last run of digits in a serial number, NaN if there is none.
func digitsOf(s string) float64 {
	end := strings.LastIndexAny(s, "0123456789")
	if end < 0 {
		return math.NaN()
	}
	begin := end
	for begin > 0 && s[begin-1] >= '0' && s[begin-1] <= '9' {
		begin--
	}
	x, err := strconv.ParseFloat(s[begin:end+1], 64)
	if err != nil {
		return math.NaN()
	}
	return x
}

func (t *Table) looksLike(col *Column, known []disguise) (what string, r float64) {
	for _, d := range known {
		if r = rankCorrelation(col.Values, d.values); math.Abs(r) >= sameOrder {
			return d.what, r
		}
	}
	return "", 0
}

// single is the AUC of a column by itself, missing values lowest, and the
// number of positives.
func (t *Table) single(col *Column) (auc float64, positives int) {
	s := make([]Scored, 0, len(t.Rows))
	for i := range t.Rows {
		x := col.Values[i]
		if x != x {
			x = math.Inf(-1)
		}
		s = append(s, Scored{x, t.Rows[i].Weight, t.Rows[i].Label})
		if t.Rows[i].Label {
			positives++
		}
	}
	return AUC(s), positives
}

// Scored is a score with what came of it.
type Scored struct {
	Score  float64
	Weight float64
	Label  bool
}

// AUC is the area under the ROC curve, 0.5 if only one label occurs. It sorts s.
func AUC(s []Scored) float64 {
	slices.SortFunc(s, func(a, b Scored) int { return cmp.Compare(a.Score, b.Score) })
	var negatives, positives, sum float64
	for i := 0; i < len(s); {
		var p, n float64
		j := i
		for ; j < len(s) && s[j].Score == s[i].Score; j++ {
			if s[j].Label {
				p += s[j].Weight
			} else {
				n += s[j].Weight
			}
		}
		sum += p * (negatives + n/2)
		positives, negatives, i = positives+p, negatives+n, j
	}
	if positives == 0 || negatives == 0 {
		return 0.5
	}
	return sum / (positives * negatives)
}

// rankCorrelation is Spearman's, over the rows where both are known; 0 when
// they are few, or when either hardly varies.
func rankCorrelation(a, b []float64) float64 {
	var x, y []float64
	for i := range a {
		if a[i] == a[i] && b[i] == b[i] {
			x, y = append(x, a[i]), append(y, b[i])
		}
	}
	if len(x) < fewRows {
		return 0
	}
	rx, ry := ranks(x), ranks(y)
	mean := float64(len(x)-1) / 2
	var xy, xx, yy float64
	for i := range rx {
		dx, dy := rx[i]-mean, ry[i]-mean
		xy, xx, yy = xy+dx*dy, xx+dx*dx, yy+dy*dy
	}
	if xx == 0 || yy == 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

// ranks are the places of values in order, from 0, the mean of equal ones.
func ranks(v []float64) []float64 {
	order := make([]int, len(v))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(v[i], v[j]) })
	out := make([]float64, len(v))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && v[order[j]] == v[order[i]] {
			j++
		}
		for k := i; k < j; k++ {
			out[order[k]] = float64(i+j-1) / 2
		}
		i = j
	}
	return out
}
