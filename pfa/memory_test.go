package pfa

import (
	"bytes"
	"encoding/csv"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/vireo-kvm/vireo/pfa/leak"
)

const memoryTableFile = "../cmd/vireo/testdata/leaks/clean.csv"

func memoryTable(t testing.TB, labelled bool) *FeatureTable {
	t.Helper()
	b, err := os.ReadFile(memoryTableFile)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ReadFeatureTable("clean.csv", bytes.NewReader(b), labelled)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var memoryFile = sync.OnceValues(func() ([]byte, error) {
	b, err := os.ReadFile(memoryTableFile)
	if err != nil {
		return nil, err
	}
	f, err := ReadFeatureTable("clean.csv", bytes.NewReader(b), true)
	if err != nil {
		return nil, err
	}
	m, err := TrainMemory(MemoryTraining{Name: "test", Grade: GradeLocal, Table: f})
	if err != nil {
		return nil, err
	}
	return m.Bytes()
})

func trainedMemory(t testing.TB) []byte {
	t.Helper()
	b, err := memoryFile()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func memoryScores(t *testing.T, m *MemoryModel, f *FeatureTable) [][]string {
	t.Helper()
	var out strings.Builder
	if err := ScoreMemory(t.Context(), m, f, &out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(rows[0], ",") != "row,p7d,lo,hi,grade,reason1,reason2,reason3" {
		t.Fatalf("columns %v", rows[0])
	}
	return rows[1:]
}

// A trained model and the prior both rank what fails above what does not, with
// an interval around each probability; labels and dates are not looked at.
func TestScoreMemory(t *testing.T) {
	m, err := LoadMemory(trainedMemory(t))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := m.Bytes(); err != nil || !bytes.Equal(again, trainedMemory(t)) {
		t.Errorf("written again it is another file (%v)", err)
	}
	labels := memoryTable(t, true).rows
	for name, test := range map[string]struct {
		model *MemoryModel
		grade Grade
	}{"prior": {nil, GradePrior}, "model": {m, GradeLocal}} {
		var s []leak.Scored
		for i, row := range memoryScores(t, test.model, memoryTable(t, false)) {
			var p [3]float64
			for k := range p {
				if p[k], err = strconv.ParseFloat(row[1+k], 64); err != nil {
					t.Fatal(err)
				}
			}
			if row[0] != strconv.Itoa(i) || row[4] != string(test.grade) || !(0 < p[1] && p[1] < p[0] && p[0] < p[2] && p[2] < 1) || row[5] == "" {
				t.Fatalf("%s: %v", name, row)
			}
			s = append(s, leak.Scored{Score: p[0], Weight: 1, Label: labels[i].Label})
		}
		if auc := leak.AUC(s); auc < 0.7 {
			t.Errorf("%s: AUC %.3f", name, auc)
		}
	}
	f := memoryTable(t, false)
	f.names[0] = "other"
	if err := ScoreMemory(t.Context(), m, f, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), `clean.csv: column "all_ce_count_6h" is missing`) {
		t.Errorf("a table without a feature of the model: %v", err)
	}
}

func TestMemoryTrainingIsTheSameOnAnyNumberOfProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	m, err := TrainMemory(MemoryTraining{Name: "test", Grade: GradeLocal, Table: memoryTable(t, true)})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := m.Bytes(); err != nil || !bytes.Equal(b, trainedMemory(t)) {
		t.Error("three processors train another model", err)
	}
}

func TestReadFeatureTableRefuses(t *testing.T) {
	head := "serial_number,prediction_timestamp,label,errors\n"
	for text, want := range map[string]string{
		"errors\n1\n":                        `f: column "serial_number" is missing`,
		head:                                 "f: no rows",
		head + ",1700000000,0,1\n":           `f: line 2: serial_number is "", expected a serial number`,
		head + "A,soon,0,1\n":                `f: line 2: prediction_timestamp is "soon", expected seconds since 1970`,
		head + "A,1700000000,2,1\n":          `label is "2", expected 0 or 1`,
		head + "A,1700000000,0,1\nB,1,1,x\n": `f: line 3: errors is "x", expected a number`,
		head + "A,1700000000,0,1e60\n":       `errors is "1e60", expected a number`,
		"serial_number,prediction_timestamp,label,part,errors\nA,1700000000,0,test,1\n": `part is "test", expected training or validation`,
		"serial_number,prediction_timestamp,label\nA,1700000000,0\n":                    "f: no column holds a feature",
	} {
		if _, err := ReadFeatureTable("f", strings.NewReader(text), true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestLoadMemoryRefuses(t *testing.T) {
	file := trainedMemory(t)
	change := func(old, new string) []byte {
		head, body, _, err := openFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(head, []byte(old)) {
			t.Fatalf("no %s in the header", old)
		}
		return sealFile(bytes.Replace(head, []byte(old), []byte(new), 1), body)
	}
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"a model of drives":   {defaultFile, "header"},
		"another kind":        {change(kindMemory, "oracle"), `kind "oracle"`},
		"one feature less":    {change(`"all_ce_count_6h",`, ""), "features"},
		"a tree less":         {change(`"trees": 120`, `"trees": 119`), "after the last tree"},
		"a grade of its own":  {change(`"grade": "A"`, `"grade": "S"`), "grade"},
		"another base":        {change(`"trees_base": -`, `"trees_base": `), "golden row 1"},
		"falling calibration": {change(`"slope": `, `"slope": -`), "calibration"},
		"endless spread":      {change(`"spread": `, `"spread": 9`), "spread 9"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := LoadMemory(test.file); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	if IsMemory(defaultFile) || !IsMemory(file) {
		t.Error("the kinds are confused")
	}
}

func FuzzLoadMemory(f *testing.F) {
	file := trainedMemory(f)
	f.Add(file)
	f.Add(file[:2000])
	f.Add(reseal([]byte("vireo-pfa 1 3 0\n{}\n")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, file := range [][]byte{b, reseal(b)} {
			if m, err := LoadMemory(file); (m == nil) == (err == nil) {
				t.Errorf("model %v, error %v", m != nil, err)
			}
		}
	})
}

func FuzzReadFeatureTable(f *testing.F) {
	f.Add("serial_number,prediction_timestamp,label,errors,kind\nA,1700000000,0,1,x\nB,1,1,,y\n", true)
	f.Add("all_ce_count_6h,fault_mode_row_6h\n3,1\n,0\n", false)
	f.Fuzz(func(t *testing.T, text string, labelled bool) {
		table, err := ReadFeatureTable("f", strings.NewReader(text), labelled)
		if err == nil && table.forPrior() == nil && ScoreMemory(t.Context(), nil, table, &strings.Builder{}) != nil {
			t.Error("a table that was read could not be scored")
		}
	})
}
