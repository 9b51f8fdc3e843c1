package pfa

import (
	"bytes"
	"strconv"
)

// ScoreColumns are the columns that ScoreFields fills; p…, lo… and hi… are
// probabilities from 0 to 1.
var ScoreColumns = []string{"p24h", "p7d", "p30d", "lo30d", "hi30d", "grade", "reason1", "reason2", "reason3"}

// tableReasons is how many reasons a table of scores has room for.
const tableReasons = 3

// ScoreFields are the fields of a verdict in a table of scores.
func (v Verdict) ScoreFields() []string {
	out := []string{probability(v.Risk.Day.Percent), probability(v.Risk.Week.Percent), probability(v.Risk.Month.Percent),
		probability(v.Risk.Month.Lo), probability(v.Risk.Month.Hi), string(v.Grade)}
	return append(out, reasonFields(v.Top(tableReasons))...)
}

func probability(percent float64) string { return strconv.FormatFloat(percent/100, 'g', 8, 64) }

func reasonFields(top []Reason) []string {
	out := make([]string, tableReasons)
	for i, r := range top {
		out[i] = r.Text
	}
	return out
}

// appendCSV adds one line to a table. A field is quoted when it has to be.
func appendCSV(out []byte, fields ...string) []byte {
	for i, f := range fields {
		if i > 0 {
			out = append(out, ',')
		}
		if !bytes.ContainsAny([]byte(f), "\",\r\n") && (f == "" || f[0] != ' ') {
			out = append(out, f...)
			continue
		}
		out = append(out, '"')
		for _, c := range []byte(f) {
			if c == '"' {
				out = append(out, '"')
			}
			out = append(out, c)
		}
		out = append(out, '"')
	}
	return append(out, '\n')
}
