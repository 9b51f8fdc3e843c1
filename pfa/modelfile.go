package pfa

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A model file (.vpfa) is, in this order: a line "vireo-pfa 2 HEADER PAYLOAD"
// with two lengths in bytes, a header of indented JSON that people can read, a
// payload, and a line "sha256 HEX" over everything before it. The payload is
// little-endian: 64-bit floats (the weights for 30 days, 7 days and 24 hours), then each
// tree as a 32-bit count of nodes and its nodes (see appendTree).
//
// 2026-11-23: version 1.
// 2026-11-23: version 2: Venn-Abers intervals instead of the weights' covariance; no drive families; a calibration of the
// linear model alone.
const (
	fileVersion   = 2
	maxHeader     = 1 << 20
	maxFileBytes  = 64 << 20
	maxWeight     = 1e6
	maxShift      = 5
	goldenDefect  = 1e-9
	trailerFormat = "sha256 %x\n"
	trailerLength = 7 + 64 + 1
)

// Header is the readable part of a model file.
type Header struct {
	Name        string                        `json:"name"`
	Kind        string                        `json:"kind"` // what the weights are of
	Grade       Grade                         `json:"grade"`
	SchemaHash  string                        `json:"schema_hash"` // of the feature columns
	Calibration calibration                   `json:"calibration"`
	Linear      calibration                   `json:"linear_calibration"` // without trees
	Drift       float64                       `json:"drift"`              // logits
	Usual       map[string]map[string]float64 `json:"usual"`              // median of healthy drives, by vendor and signal
	Trees       int                           `json:"trees"`
	TreesBase   float64                       `json:"trees_base"`            // logit before the first tree
	Fleet       map[string]float64            `json:"fleet_shift,omitempty"` // logits that the operator's own fleet adds, by family, "" for all
	Provenance  Provenance                    `json:"provenance"`
	Evaluation  Metrics                       `json:"evaluation"`
	Reference   []Reference                   `json:"reference,omitempty"` // the trees' features in training, in their order
	Golden      []Golden                      `json:"golden"`
	Checksum    string                        `json:"-"` // of the file; filled in when loading
}

// Provenance says what a model was made from.
type Provenance struct {
	Sources   []Source `json:"sources"`
	Until     string   `json:"until"`    // the last day of the histories
	Drives    int      `json:"drives"`   // trained on
	Failures  int      `json:"failures"` // of them
	Landmarks int      `json:"landmarks"`
	Split     string   `json:"split"`
	Excluded  []string `json:"excluded"` // serial numbers that were kept out
	Licence   string   `json:"licence"`
	// Recalibrated says by what the baseline was brought to a fleet's own rate.
	Recalibrated string `json:"recalibrated,omitempty"`
	// Accepted are rules against leaks that the training broke.
	Accepted []Accepted `json:"accepted,omitempty"`
}

// Source is one file a model was made from.
type Source struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Rows   int    `json:"rows"`
}

// Golden is a row of features with the probabilities it must get: a file that
// is read or computed wrongly is refused when it is loaded.
type Golden struct {
	Features map[string]float64 `json:"features"`
	Tree     map[string]float64 `json:"tree_features"`
	P24h     float64            `json:"p24h"`
	P7d      float64            `json:"p7d"`
	P30d     float64            `json:"p30d"`
	Lo30d    float64            `json:"lo30d"`
	Hi30d    float64            `json:"hi30d"`
}

// Bytes returns the model as a file. The same model gives the same bytes.
func (m *Model) Bytes() ([]byte, error) {
	h := m.header
	h.SchemaHash = m.ata.schema.hash()
	h.Calibration, h.Linear, h.Drift, h.Usual = m.ata.cal, m.ata.calLinear, m.ata.drift, m.ata.usual
	h.Trees, h.TreesBase = len(m.ata.forest.trees), m.ata.forest.base
	head, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return nil, fmt.Errorf("model header: %w", err)
	}
	head = append(head, '\n')
	var body []byte
	for _, w := range [][]float64{m.ata.month, m.ata.week, m.ata.day} {
		for _, x := range w {
			body = binary.LittleEndian.AppendUint64(body, math.Float64bits(x))
		}
	}
	for _, t := range m.ata.forest.trees {
		body = appendTree(body, t)
	}
	return sealFile(head, body), nil
}

// sealFile puts header and payload into a file.
func sealFile(head, body []byte) []byte {
	out := fmt.Appendf(nil, "vireo-pfa %d %d %d\n", fileVersion, len(head), len(body))
	out = append(append(out, head...), body...)
	return fmt.Appendf(out, trailerFormat, sha256.Sum256(out))
}

// Load reads a model file. It refuses what is not exactly a model of this
// version and these features; it never needs more memory than a small multiple
// of the file.
func Load(file []byte) (*Model, error) {
	head, body, sum, err := openFile(file)
	if err != nil {
		return nil, err
	}
	m := &Model{ata: &ataModel{}}
	d := json.NewDecoder(bytes.NewReader(head))
	d.DisallowUnknownFields()
	if err := d.Decode(&m.header); err != nil {
		return nil, fmt.Errorf("model header: %w", err)
	}
	m.header.Checksum = sum
	if err := m.assemble(body); err != nil {
		return nil, fmt.Errorf("model %q: %w", m.header.Name, err)
	}
	if err := m.checkGolden(); err != nil {
		return nil, fmt.Errorf("model %q: %w", m.header.Name, err)
	}
	return m, nil
}

// openFile takes a file apart and checks its lengths and checksum.
func openFile(file []byte) (head, body []byte, checksum string, err error) {
	if len(file) > maxFileBytes {
		return nil, nil, "", fmt.Errorf("model file of %d bytes: more than %d", len(file), maxFileBytes)
	}
	line, _, ok := bytes.Cut(file[:min(len(file), 80)], []byte("\n"))
	var version, headLen, bodyLen int
	if n, err := fmt.Sscanf(string(line), "vireo-pfa %d %d %d", &version, &headLen, &bodyLen); !ok || err != nil || n != 3 ||
		string(line) != fmt.Sprintf("vireo-pfa %d %d %d", version, headLen, bodyLen) {
		return nil, nil, "", errors.New("not a vireo model file: it does not begin with vireo-pfa")
	}
	if version != fileVersion {
		return nil, nil, "", fmt.Errorf("model file version %d, this program reads %d", version, fileVersion)
	}
	start := len(line) + 1
	if headLen < 2 || headLen > maxHeader || bodyLen < 0 || bodyLen > len(file) || start+headLen+bodyLen+trailerLength != len(file) {
		return nil, nil, "", errors.New("model file is cut short or too long: its lengths do not add up")
	}
	content := file[:start+headLen+bodyLen]
	sum := sha256.Sum256(content)
	if string(file[len(content):]) != fmt.Sprintf(trailerFormat, sum) {
		return nil, nil, "", errors.New("model file is damaged: its checksum is wrong")
	}
	return content[start : start+headLen], content[start+headLen:], hex.EncodeToString(sum[:]), nil
}

func (m *Model) assemble(body []byte) error {
	h := &m.header
	switch {
	case h.Kind != kindEnsemble:
		return fmt.Errorf("kind %q, this program knows %q", h.Kind, kindEnsemble)
	case h.Trees < 0 || h.Trees > maxTrees || !(math.Abs(h.TreesBase) <= maxWeight):
		return fmt.Errorf("%d trees on %g", h.Trees, h.TreesBase)
	case !knownGrade(h.Grade):
		return fmt.Errorf("grade %q is none of A, B, C, D", h.Grade)
	case h.Drift < 0 || h.Drift > 10:
		return fmt.Errorf("drift %g is outside 0 … 10", h.Drift)
	case !h.Calibration.sound() || !h.Linear.sound():
		return errors.New("the calibration does not rise")
	}
	for i := range h.Reference {
		if r := &h.Reference[i]; len(h.Reference) != len(treeColumns) || r.Name != treeColumns[i].Name || !r.sound() {
			return fmt.Errorf("the reference of feature %q does not fit", r.Name)
		}
	}
	for family, shift := range h.Fleet {
		if !(math.Abs(shift) <= maxShift) {
			return fmt.Errorf("shift of family %q is %g, expected at most %d logits", family, shift, maxShift)
		}
	}
	m.ata.schema = newATASchema()
	n := len(m.ata.schema.features) + 1
	if len(body) < 8*3*n {
		return fmt.Errorf("%d bytes of weights do not fit %d features", len(body), n-1)
	}
	if got := m.ata.schema.hash(); got != h.SchemaHash {
		return fmt.Errorf("made for other features: schema %.12s, this program's is %.12s", h.SchemaHash, got)
	}
	take := func(count int) ([]float64, error) {
		w := make([]float64, count)
		for i := range w {
			w[i] = math.Float64frombits(binary.LittleEndian.Uint64(body[8*i:]))
			if !(math.Abs(w[i]) <= maxWeight) {
				return nil, fmt.Errorf("a weight is %g", w[i])
			}
		}
		body = body[8*count:]
		return w, nil
	}
	var err error
	for _, to := range []*[]float64{&m.ata.month, &m.ata.week, &m.ata.day} {
		if *to, err = take(n); err != nil {
			return err
		}
	}
	m.ata.cal, m.ata.calLinear, m.ata.drift, m.ata.usual, m.ata.fleet = h.Calibration, h.Linear, h.Drift, h.Usual, h.Fleet
	if m.ata.forest, err = readForest(body, h.Trees, h.TreesBase, len(treeColumns)); err != nil {
		return err
	}
	m.ata.mean = m.ata.forest.expected()
	return nil
}

func knownGrade(g Grade) bool {
	return slices.Contains([]Grade{GradeLocal, GradeRecalibrated, GradePublic, GradePrior}, g)
}

// sound reports whether a calibration that was read is one.
func (c *calibration) sound() bool {
	return len(c.Bends) == len(c.Knots) && len(c.Knots) <= 16 && slices.IsSorted(c.Knots) && c.rising() && c.Abers.sound()
}

// golden computes what a row of named features scores.
func (m *Model) golden(features, tree map[string]float64) (Golden, error) {
	g := Golden{Features: features, Tree: tree}
	in := newInputs()
	found := 0
	for i, f := range m.ata.schema.features {
		if x, ok := features[f.Name]; ok {
			in.sparse.put(i, x)
			found++
		}
	}
	for i, f := range treeColumns {
		in.dense[i] = math.NaN()
		if x, ok := tree[f.Name]; ok {
			in.dense[i] = x
			found++
		}
	}
	in.count()
	if found != len(features)+len(tree) {
		return g, errors.New("a golden row has a feature that the schema has not")
	}
	s := m.ata.score(in)
	g.P24h, g.P7d, g.P30d, g.Lo30d, g.Hi30d = s.day, s.week, s.month, s.lo, s.hi
	return g, nil
}

func (m *Model) checkGolden() error {
	if len(m.header.Golden) == 0 {
		return errors.New("no golden rows")
	}
	for i, want := range m.header.Golden {
		got, err := m.golden(want.Features, want.Tree)
		if err != nil {
			return err
		}
		for _, p := range [][2]float64{{got.P24h, want.P24h}, {got.P7d, want.P7d}, {got.P30d, want.P30d},
			{got.Lo30d, want.Lo30d}, {got.Hi30d, want.Hi30d}} {
			if !(math.Abs(p[0]-p[1]) <= goldenDefect) {
				return fmt.Errorf("golden row %d scores %g, not %g: the file or this build is wrong", i+1, p[0], p[1])
			}
		}
	}
	return nil
}

const kindEnsemble = "log-linear and boosted trees"
