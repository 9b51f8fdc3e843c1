package pfa

import (
	"fmt"
	"math"
	"strings"
)

// The prior of memory modules that have just reported a correctable error: the
// probability of an uncorrectable one within 7 days. The base rate and the terms
// are the sign and rough size of what field studies of data centres report
// (modules with correctable errors fail some hundred times as often as those
// without, about 1 to 2 % a month; faults that spread over rows, columns or
// banks, and errors in several data lines or beats of one access, are the ones
// that error correction runs out of). Nothing was fitted to data.
const memoryPriorPercent = 0.4

var memoryTablePrior = []struct {
	column       string  // without its window; the longest window counts
	fixed, scale float64 // logits: once it is above zero, and for each doubling or so
}{
	{"ce_storm_count", 0.6, 0.2},
	{"fault_mode_device", 1.2, 0},
	{"fault_mode_bank", 0.9, 0},
	{"fault_mode_row", 0.6, 0},
	{"fault_mode_column", 0.4, 0},
	{"dq_count_eq_2", 0.5, 0.1},
	{"dq_count_eq_3", 0.7, 0.1},
	{"dq_count_eq_4", 0.9, 0.1},
	{"burst_count_eq_2", 0.3, 0.05},
	{"burst_count_eq_3", 0.4, 0.05},
	{"burst_count_eq_4", 0.4, 0.05},
	{"all_ce_count", 0, 0.12},
}

// memoryWords say what the columns of a memory table are.
var memoryWords = map[string]string{
	"read_ce_log_num": "records of correctable errors on reads", "scrub_ce_log_num": "records of correctable errors while scrubbing",
	"all_ce_log_num": "records of correctable errors", "read_ce_count": "correctable errors on reads",
	"scrub_ce_count": "correctable errors while scrubbing", "all_ce_count": "correctable errors",
	"log_happen_frequency": "seconds between records", "ce_storm_count": "storms of correctable errors",
	"fault_mode_others": "fault without a pattern", "fault_mode_device": "fault across banks", "fault_mode_bank": "fault across rows and columns of a bank",
	"fault_mode_row": "fault along a row", "fault_mode_column": "fault along a column", "fault_mode_cell": "fault of single cells",
	"fault_row_num": "rows with errors", "fault_column_num": "columns with errors", "error_bit_count": "wrong bits",
	"error_dq_count": "wrong data lines", "error_burst_count": "wrong beats", "max_dq_interval": "widest distance between wrong data lines",
	"max_burst_interval": "widest distance between wrong beats", "serial_number_type": "server family",
}

// windowOf splits a column's name into quantity and window in minutes.
func windowOf(name string) (base string, minutes int) {
	for _, w := range []struct {
		suffix  string
		minutes int
	}{{"_15m", 15}, {"_1h", 60}, {"_6h", 360}} {
		if base, ok := strings.CutSuffix(name, w.suffix); ok {
			return base, w.minutes
		}
	}
	return name, 0
}

func (r memoryReason) words() string {
	name, ok := memoryWords[r.base]
	for _, many := range []struct{ prefix, words string }{{"dq_count_eq_", " wrong data lines"}, {"burst_count_eq_", " wrong beats"}} {
		if n, is := strings.CutPrefix(r.base, many.prefix); is {
			name, ok = "accesses with "+n+many.words+":", true
		}
	}
	if !ok {
		name = r.base
	}
	window := map[int]string{15: " in 15 minutes", 60: " in 1 hour", 360: " in 6 hours"}[r.window]
	value := digitsOrWhole(r.value)
	if r.text != "" {
		return name + " " + r.text
	}
	if strings.HasPrefix(r.base, "fault_mode_") {
		if r.value == 0 {
			name = "no " + name
		}
		return name + window
	}
	if r.usual != r.usual {
		return name + " " + value + window
	}
	return name + " " + value + window + " (usual " + digitsOrWhole(r.usual) + ")"
}

func digitsOrWhole(x float64) string {
	if x == math.Trunc(x) {
		return number(x)
	}
	return digits(x)
}

// forPrior fails when the prior knows none of the table's columns: it would say
// the same of every row.
func (f *FeatureTable) forPrior() error {
	var known []string
	for _, term := range memoryTablePrior {
		for _, name := range f.names {
			if base, _ := windowOf(name); base == term.column {
				return nil
			}
		}
		known = append(known, term.column)
	}
	return fmt.Errorf("%s: no column that the prior of memory modules knows: expected at least one of %s, with a window such as _6h where it has one",
		f.Name, strings.Join(known, ", "))
}

// byPrior scores by the documented prior. Columns that the table has not are
// unknown and change nothing.
func (f *FeatureTable) byPrior() memoryScore {
	longest := map[string]int{} // by quantity: the column of the longest window
	for c, name := range f.names {
		base, minutes := windowOf(name)
		if k, ok := longest[base]; ok {
			if _, other := windowOf(f.names[k]); other > minutes {
				continue
			}
		}
		longest[base] = c
	}
	base := logit(memoryPriorPercent / 100)
	baseline := "prior memory: " + Percent(memoryPriorPercent) + " within 7 days is assumed of a module with a correctable error (" + GradePrior.Words() + ")"
	return func(i int) (float64, float64, float64, Grade, []string) {
		z := base
		var parts []memoryReason
		for _, term := range memoryTablePrior {
			c, ok := longest[term.column]
			if !ok {
				continue
			}
			x := float64(f.cols[c][i])
			if !(x > 0) {
				continue
			}
			by := term.fixed + term.scale*math.Log1p(x)
			z += by
			_, window := windowOf(f.names[c])
			parts = append(parts, memoryReason{base: term.column, window: window, value: x, usual: math.NaN(), known: true, by: by})
		}
		s := interval90 * priorSpread
		return sigmoid(z), sigmoid(z - s), sigmoid(z + s), GradePrior, memoryReasons(parts, baseline)
	}
}
