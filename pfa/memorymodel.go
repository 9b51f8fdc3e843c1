package pfa

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// MemoryModel scores memory modules by a table of features of their correctable
// errors. It is immutable. No such model is shipped: the public tables it could
// be trained on state no licence. Without one, the documented prior scores.
type MemoryModel struct {
	header MemoryHeader
	forest *forest
	mean   float64
}

const kindMemory = "boosted trees of memory modules"

// MemoryHeader is the readable part of a memory model's file.
type MemoryHeader struct {
	Name        string               `json:"name"`
	Kind        string               `json:"kind"`
	Grade       Grade                `json:"grade"`
	Features    []string             `json:"features"`
	Texts       []map[string]float64 `json:"texts"` // by feature: what its texts stand for
	Usual       []float64            `json:"usual"` // by feature: the median of modules that did not fail
	Calibration calibration          `json:"calibration"`
	Spread      float64              `json:"spread"` // logits
	Trees       int                  `json:"trees"`
	TreesBase   float64              `json:"trees_base"`
	Provenance  Provenance           `json:"provenance"`
	Evaluation  Metrics              `json:"evaluation"`
	Golden      []MemoryGolden       `json:"golden"`
	Checksum    string               `json:"-"`
}

// MemoryGolden is a row of features, by name, with what it must score.
type MemoryGolden struct {
	Features map[string]float64 `json:"features"`
	P7d      float64            `json:"p7d"`
	Lo       float64            `json:"lo"`
	Hi       float64            `json:"hi"`
}

// Header returns what the file says about itself.
func (m *MemoryModel) Header() MemoryHeader { return m.header }

// Name identifies the model.
func (m *MemoryModel) Name() string { return fmt.Sprintf("%s %.12s", m.header.Name, m.header.Checksum) }

// Bytes returns the model as a file.
func (m *MemoryModel) Bytes() ([]byte, error) {
	head, err := json.MarshalIndent(m.header, "", " ")
	if err != nil {
		return nil, fmt.Errorf("model header: %w", err)
	}
	var body []byte
	for _, t := range m.forest.trees {
		body = appendTree(body, t)
	}
	return sealFile(append(head, '\n'), body), nil
}

// LoadMemory reads a memory model's file, as strictly as Load reads others.
func LoadMemory(file []byte) (*MemoryModel, error) {
	head, body, sum, err := openFile(file)
	if err != nil {
		return nil, err
	}
	m := &MemoryModel{}
	d := json.NewDecoder(bytes.NewReader(head))
	d.DisallowUnknownFields()
	if err := d.Decode(&m.header); err != nil {
		return nil, fmt.Errorf("model header: %w", err)
	}
	m.header.Checksum = sum
	if err := m.assemble(body); err != nil {
		return nil, fmt.Errorf("model %q: %w", m.header.Name, err)
	}
	return m, nil
}

func (m *MemoryModel) assemble(body []byte) error {
	h := &m.header
	switch {
	case h.Kind != kindMemory:
		return fmt.Errorf("kind %q, expected %q", h.Kind, kindMemory)
	case len(h.Features) == 0 || len(h.Features) > maxFeatureColumns || len(h.Texts) != len(h.Features) || len(h.Usual) != len(h.Features):
		return fmt.Errorf("%d features with %d texts and %d usual values", len(h.Features), len(h.Texts), len(h.Usual))
	case h.Trees < 0 || h.Trees > maxTrees || !(math.Abs(h.TreesBase) <= maxWeight):
		return fmt.Errorf("%d trees on %g", h.Trees, h.TreesBase)
	case !knownGrade(h.Grade):
		return fmt.Errorf("grade %q is none of A, B, C, D", h.Grade)
	case !(h.Spread >= 0 && h.Spread <= 10):
		return fmt.Errorf("spread %g is outside 0 … 10", h.Spread)
	case !h.Calibration.sound():
		return errors.New("the calibration does not rise")
	}
	var err error
	if m.forest, err = readForest(body, h.Trees, h.TreesBase, len(h.Features)); err != nil {
		return err
	}
	m.mean = m.forest.expected()
	if len(h.Golden) == 0 {
		return errors.New("no golden rows")
	}
	for i, want := range h.Golden {
		x := make([]float64, len(h.Features))
		for c, name := range h.Features {
			var ok bool
			if x[c], ok = want.Features[name]; !ok {
				x[c] = math.NaN()
			}
		}
		got := m.goldenOf(x)
		if len(got.Features) != len(want.Features) || !(math.Abs(got.P7d-want.P7d) <= goldenDefect) ||
			!(math.Abs(got.Lo-want.Lo) <= goldenDefect) || !(math.Abs(got.Hi-want.Hi) <= goldenDefect) {
			return fmt.Errorf("golden row %d scores %g (%g … %g), not %g (%g … %g): the file or this build is wrong",
				i+1, got.P7d, got.Lo, got.Hi, want.P7d, want.Lo, want.Hi)
		}
	}
	return nil
}

func (m *MemoryModel) goldenOf(x []float64) MemoryGolden {
	g := MemoryGolden{Features: map[string]float64{}}
	for c, v := range x {
		if v == v {
			g.Features[m.header.Features[c]] = v
		}
	}
	g.P7d, g.Lo, g.Hi = m.score(x)
	return g
}

func (m *MemoryModel) score(x []float64) (p, lo, hi float64) {
	z, slope := m.header.Calibration.at(m.forest.score(x))
	s := interval90 * m.header.Spread * max(1, slope)
	return sigmoid(z), sigmoid(z - s), sigmoid(z + s)
}

// reasons names the features that raise the risk most. The windows of one
// quantity are one reason, told by its longest window.
func (m *MemoryModel) reasons(x []float64, room []float64) []string {
	clear(room)
	for _, t := range m.forest.trees {
		t.explain(x, room)
	}
	var parts []memoryReason
	at := map[string]int{}
	for c, name := range m.header.Features {
		base, window := windowOf(name)
		k, ok := at[base]
		if !ok {
			k = len(parts)
			at[base] = k
			parts = append(parts, memoryReason{base: base})
		}
		parts[k].by += room[c]
		if x[c] == x[c] && window >= parts[k].window {
			parts[k].window, parts[k].value, parts[k].usual, parts[k].known = window, x[c], m.header.Usual[c], true
			parts[k].text = textOf(m.header.Texts[c], x[c])
		}
	}
	base, _ := m.header.Calibration.at(m.mean)
	return memoryReasons(parts, fmt.Sprintf("a module with a correctable error: %s within 7 days is usual", Percent(100*sigmoid(base))))
}

type memoryReason struct {
	base         string
	window       int     // minutes
	value, usual float64 // usual is NaN when nobody knows it
	text         string  // a category's name
	known        bool
	by           float64 // in logits
}

func memoryReasons(parts []memoryReason, baseline string) []string {
	slices.SortStableFunc(parts, func(a, b memoryReason) int { return cmp.Compare(b.by, a.by) })
	var out []string
	for _, p := range parts {
		if p.by > 0.05 && p.known && len(out) < tableReasons {
			out = append(out, p.words())
		}
	}
	if len(out) == 0 {
		out = append(out, baseline)
	}
	return append(out, make([]string, tableReasons-len(out))...)
}

func textOf(texts map[string]float64, x float64) string {
	for w, v := range texts {
		if v == x {
			return w
		}
	}
	return ""
}

// MemoryScoreColumns head a table of memory scores. row counts from 0, the
// first row after the header.
var MemoryScoreColumns = []string{"row", "p7d", "lo", "hi", "grade", "reason1", "reason2", "reason3"}

// ScoreMemory scores each row of a table of features by m, or by the documented
// prior when m is nil, and writes a line with MemoryScoreColumns for each to w.
func ScoreMemory(ctx context.Context, m *MemoryModel, f *FeatureTable, w io.Writer) error {
	var score memoryScore
	var err error
	if m != nil {
		score, err = f.byModel(m)
	} else {
		score, err = f.byPrior(), f.forPrior()
	}
	if err != nil {
		return err
	}
	line := appendCSV(nil, MemoryScoreColumns...)
	for i := range f.n {
		if _, err := w.Write(line); err != nil {
			return err
		}
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		p, lo, hi, grade, reasons := score(i)
		line = appendCSV(line[:0], append([]string{strconv.Itoa(i), probability(100 * p), probability(100 * lo), probability(100 * hi), string(grade)}, reasons...)...)
	}
	_, err = w.Write(line)
	return err
}

type memoryScore func(row int) (p, lo, hi float64, grade Grade, reasons []string)

// byModel brings a table's columns into the model's order. Every feature of the
// model must be there, others are ignored.
func (f *FeatureTable) byModel(m *MemoryModel) (memoryScore, error) {
	cols := make([][]float32, len(m.header.Features))
	for c, name := range m.header.Features {
		k := slices.Index(f.names, name)
		if k < 0 {
			return nil, fmt.Errorf("%s: column %q is missing, which model %s was trained on", f.Name, name, m.Name())
		}
		cols[c] = f.cols[k]
		if f.texts[k] != nil || m.header.Texts[c] != nil {
			cols[c] = translate(f.cols[k], f.texts[k], m.header.Texts[c])
		}
	}
	x, room := make([]float64, len(cols)), make([]float64, len(cols))
	return func(i int) (float64, float64, float64, Grade, []string) {
		for c := range cols {
			x[c] = float64(cols[c][i])
		}
		p, lo, hi := m.score(x)
		return p, lo, hi, m.header.Grade, m.reasons(x, room)
	}, nil
}

// translate renumbers texts as the model numbers them; unknown ones are missing.
func translate(col []float32, from, to map[string]float64) []float32 {
	number := map[float32]float32{}
	for w, v := range from {
		number[float32(v)] = float32(math.NaN())
		if n, ok := to[w]; ok {
			number[float32(v)] = float32(n)
		}
	}
	out := make([]float32, len(col))
	for i, x := range col {
		var ok bool
		if out[i], ok = number[x]; !ok {
			out[i] = float32(math.NaN())
		}
	}
	return out
}

// Card is the report of a memory model, in Markdown, made from its file alone.
func (m *MemoryModel) Card() string {
	h, p, e := m.header, m.header.Provenance, m.header.Evaluation
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	b.WriteString(acceptedWords(p.Accepted))
	line("# Model card: %s", h.Name)
	line("")
	line("Kind: %s, horizon 7 days, grade %s (%s). File checksum (sha256): `%s`.", h.Kind, h.Grade, h.Grade.Words(), h.Checksum)
	line("")
	for _, s := range p.Sources {
		line("Trained on %s (%d rows, sha256 `%s`): %d modules, %d of them failing, up to %s.", s.Name, s.Rows, s.SHA256, p.Drives, p.Failures, p.Until)
	}
	if p.Licence != "" {
		line("%s", p.Licence)
	}
	line("Split: %s.", p.Split)
	line("")
	line("On modules the judged model had not seen, from %s, before %s: %d rows, %d failing within 7 days. In brackets: 90 %% interval, bootstrap.",
		e.From, e.Until, e.Landmarks, e.Positives)
	line("")
	line("| measure | value |")
	line("| --- | --- |")
	for _, x := range []struct {
		name string
		m    Measure
	}{{"area under the ROC curve", e.AUC}, {"average precision", e.AP}, {"observed / expected failures", e.ObsExp}} {
		line("| %s | %.3f (%.3f … %.3f) |", x.name, x.m.Value, x.m.Lo, x.m.Hi)
	}
	return b.String()
}

// IsMemory reports whether a file is, by its header, a memory model's.
func IsMemory(file []byte) bool {
	head, _, _, err := openFile(file)
	var h struct{ Kind string }
	return err == nil && json.Unmarshal(head, &h) == nil && h.Kind == kindMemory
}
