package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vireo-kvm/vireo/pfa"
)

// modern judges the shipped model on drives of later years, by daily rows: it
// has seen neither them nor their models.
func modern(ctx context.Context, w io.Writer, o options) error {
	m, err := pfa.Default()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n## Modern drives, by the shipped model\n\n"+
		"| rows | drives | fail within 30 days | AUC | average precision | smartd's precision / recall | the model's at its false alarms | observed / expected |\n"+
		"| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, file := range []string{"hdd_fleet_snapshot_train.csv.gz", "hdd_daily_2026_train.csv.gz"} {
		groups, order, err := modernRows(ctx, m, filepath.Join(o.data, file))
		if err != nil {
			return err
		}
		for _, name := range order {
			g := groups[name]
			s := g.by["vireo"]
			fails, expected := 0.0, 0.0
			drives := map[*pfa.Drive]bool{}
			for i, k := range g.marks {
				fails += number(k.fails())
				expected += s.p[i]
				drives[k.drive] = true
			}
			if fails == 0 {
				continue
			}
			auc, ap := g.rank(s.p, nil)
			precision, recall, own, ownRecall := g.against(g.rules["smartd"], s.p)
			natural := "" // shares of failing drives are only those of a fleet in the snapshots
			if file == "hdd_fleet_snapshot_train.csv.gz" {
				natural = strconv.FormatFloat(fails/expected, 'f', 2, 64)
			}
			fmt.Fprintf(w, "| %s | %d | %.0f | %.3f | %.3f | %s / %s | %s / %s | %s |\n", name, len(drives), fails, auc, ap,
				percent(precision), percent(recall), percent(own), percent(ownRecall), natural)
		}
	}
	return nil
}

// modernRows scores a table of daily rows and groups them by model.
func modernRows(ctx context.Context, m *pfa.Model, path string) (groups map[string]*judged, order []string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		return nil, nil, err
	}
	var scored bytes.Buffer
	if err := m.ScoreDaily(ctx, filepath.Base(path), bytes.NewReader(plain), &scored, nil); err != nil {
		return nil, nil, err
	}
	rows, err := table(plain)
	if err != nil {
		return nil, nil, err
	}
	told, err := table(scored.Bytes())
	if err != nil || len(told) != len(rows) {
		return nil, nil, fmt.Errorf("%s: %d scores of %d rows: %w", path, len(told), len(rows), err)
	}
	groups = map[string]*judged{}
	drives := map[string]*pfa.Drive{}
	for i, r := range rows {
		if r["selected_as"] == "hard_negative" { // chosen because somebody's model was wrong about them
			continue
		}
		name := r["date"][:4] + ", " + r["model"]
		g := groups[name]
		if g == nil {
			g = &judged{by: map[string]*scores{"vireo": {}}, rules: map[string][]bool{}}
			groups[name], order = g, append(order, name)
		}
		d := drives[r["serial_number"]]
		if d == nil {
			d = &pfa.Drive{Serial: r["serial_number"], Model: r["model"]}
			drives[d.Serial] = d
		}
		k := mark{drive: d, lead: -1}
		if days, err := strconv.ParseFloat(r["days_to_failure"], 64); err == nil {
			k.lead = int64(24 * days)
		}
		p, err := strconv.ParseFloat(told[i]["p30d"], 64)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: row %d: %w", path, i+1, err)
		}
		g.marks = append(g.marks, k)
		g.by["vireo"].p = append(g.by["vireo"].p, p)
		g.rules["smartd"] = append(g.rules["smartd"], above(r["smart_197_raw"]) || above(r["smart_198_raw"]))
	}
	return groups, order, nil
}

func above(value string) bool {
	x, err := strconv.ParseFloat(value, 64)
	return err == nil && x > 0
}

// table reads a CSV with a header.
func table(b []byte) (rows []map[string]string, err error) {
	all, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, fields := range all[1:] {
		row := make(map[string]string, len(fields))
		for i, name := range all[0] {
			row[name] = fields[i]
		}
		rows = append(rows, row)
	}
	return rows, nil
}
