package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
)

func (j *judged) print(w io.Writer, day time.Time, peers []string) {
	predictors := append([]string{"vireo"}, peers...)
	beside := strings.Repeat(" |", len(peers)) // what the peers have none of
	at := j.grid(j.by["vireo"].p)
	positives, drives := 0.0, map[*pfa.Drive]bool{}
	failing := 0.0
	for _, i := range at {
		positives += number(j.marks[i].fails())
		if d := j.marks[i].drive; !drives[d] {
			drives[d] = true
			failing += number(d.Failed)
		}
	}
	fmt.Fprintf(w, "\n## Trained on what was known on %s\n\n%d drives, %.0f failing, %d landmarks, %.0f of them within 30 days of a failure\n\n",
		day.Format(time.DateOnly), len(drives), failing, len(at), positives)
	row := func(name, format string, f func(p string) []any) {
		fmt.Fprintf(w, "| %s |", name)
		for _, p := range predictors {
			fmt.Fprintf(w, " "+format+" |", f(p)...)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "| |")
	for _, p := range predictors {
		fmt.Fprintf(w, " %s |", p)
	}
	fmt.Fprintf(w, "\n| --- | ---%s\n", strings.Repeat(" | ---", len(peers))+" |")
	row("area under the ROC curve", "%.4f", func(p string) []any { auc, _ := j.rank(j.by[p].p, nil); return []any{auc} })
	row("average precision", "%.4f", func(p string) []any { _, ap := j.rank(j.by[p].p, nil); return []any{ap} })
	row("recall at 1 % of healthy drives ever flagged, 1 day / 7 days ahead", "%.1f %% / %.1f %%", func(p string) []any {
		day, week := j.recall(j.by[p].p)
		return []any{100 * day, 100 * week}
	})
	for _, rule := range []string{"smartd", "scrutiny"} {
		var precision, recall float64
		row("precision / recall at "+rule+"'s false alarms", "%s / %s", func(p string) []any {
			var a, b float64
			precision, recall, a, b = j.against(j.rules[rule], j.by[p].p)
			return []any{percent(a), percent(b)}
		})
		fmt.Fprintf(w, "| … of %s itself | %s / %s |%s\n", rule, percent(precision), percent(recall), beside)
	}
	row("observed / expected", "%.2f", func(p string) []any {
		e := 0.0
		for _, i := range at {
			e += j.by[p].p[i]
		}
		return []any{positives / e}
	})
	row("bins within 25 %, or the 95 % Poisson limits below 100 failures", "%.0f of %.0f", func(p string) []any {
		good, of, _ := honesty(j.bins(j.by[p]))
		return []any{good, of}
	})
	_, of, covered := honesty(j.bins(j.by["vireo"]))
	fmt.Fprintf(w, "| bins inside the 90 %% intervals | %.0f of %.0f |%s\n", covered, of, beside)
	row("AUC with 30 % of the attributes hidden", "%.4f", func(p string) []any {
		auc, _ := j.rank(j.by[p+suffix(true)].p, nil)
		return []any{auc}
	})
	row("training, processor seconds in all", "%.1f", func(p string) []any { return []any{j.timing[p]} })
	fmt.Fprintf(w, "\n| vireo's risk below | landmarks | observed | expected | interval |\n| --- | --- | --- | --- | --- |\n")
	for i, b := range j.bins(j.by["vireo"]) {
		fmt.Fprintf(w, "| %g %% | %.0f | %.0f | %.1f | %.1f … %.1f |\n", 100*edges[i], b.rows, b.observed, b.expected, b.lo, b.hi)
	}
}

// percent is a share in words; the precision of what flags nothing is "-".
func percent(share float64) string {
	if math.IsNaN(share) {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*share)
}

func honesty(bins []bin) (good, of, covered float64) {
	for _, b := range bins {
		if b.rows > 0 {
			of++
			good += number(b.honest())
			covered += number(b.lo <= b.observed && b.observed <= b.hi)
		}
	}
	return good, of, covered
}

// unseenFamilies judges drive families by models that saw none of their drives,
// beside those that did.
func unseenFamilies(w io.Writer, drives []pfa.Drive, day time.Time, all *judged) error {
	fmt.Fprintf(w, "\n| never-seen drive model | landmarks | failing | AUC when seen | AUC when not |\n| --- | --- | --- | --- | --- |\n")
	for _, family := range []string{"ST4000DM000", "Hitachi HDS722020ALA330", "WDC WD30EFRX"} {
		of := func(d *pfa.Drive) bool { return pfa.Family(d.Model) == family }
		unseen := make([]float64, len(all.marks))
		for out := range 3 {
			var train []pfa.Drive
			for _, d := range known(drives, day, out) {
				if !of(&d) {
					train = append(train, d)
				}
			}
			m, _, err := trainVireo(train)
			if err != nil {
				return err
			}
			var mine []mark
			var place []int
			for i, k := range all.marks {
				if of(k.drive) && third(k.drive) == out {
					mine, place = append(mine, k), append(place, i)
				}
			}
			s, err := scoreVireo(m, mine, false)
			if err != nil {
				return err
			}
			for i, at := range place {
				unseen[at] = s.p[i]
			}
		}
		rows, failing := 0, 0
		for _, k := range all.marks {
			if !k.extra && of(k.drive) {
				rows++
				failing += int(number(k.fails()))
			}
		}
		only := func(k mark) bool { return of(k.drive) }
		seen, _ := all.rank(all.by["vireo"].p, only)
		not, _ := all.rank(unseen, only)
		fmt.Fprintf(w, "| %s | %d | %d | %.4f | %.4f |\n", family, rows, failing, seen, not)
	}
	return nil
}
