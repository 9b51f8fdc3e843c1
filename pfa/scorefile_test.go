package pfa

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// dailyScores scores a daily table and returns its lines by date and serial.
func dailyScores(t *testing.T, text string) (lines [][]string) {
	t.Helper()
	var out strings.Builder
	if err := defaultModel(t).ScoreDaily(t.Context(), "table", strings.NewReader(text), &out, nil); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return lines[1:]
}

// A table's rows may come in any order, with other drives between; each gets
// what the daemon would have said on that day.
func TestScoreDailyIsWhatTheDaemonSays(t *testing.T) {
	var records []Recorded
	var rows []string
	head := ""
	for _, serial := range []string{"Z300V1RR", "Z300V63Y"} {
		f, err := os.ReadFile("../test/testdata/drives/" + serial + ".csv")
		if err != nil {
			t.Fatal(err)
		}
		r, err := ReadRecorded(serial, strings.NewReader(string(f)))
		if err != nil {
			t.Fatal(err)
		}
		r.Days = r.Days[len(r.Days)-40:]
		records = append(records, r)
		lines := strings.Split(strings.TrimSpace(string(f)), "\n")
		head = lines[0]
		rows = append(rows, lines[len(lines)-40:]...)
	}
	want := map[string][]string{}
	for _, r := range records {
		s := NewState(signal.DiskComponent(r.Serial))
		for _, day := range r.Days {
			for _, x := range (Recorded{Serial: r.Serial, Model: r.Model, Days: []RecordedDay{day}}).Readings("", day.Date) {
				s.Observe(x)
			}
			v := defaultModel(t).Score(s, day.Date.Add(12*time.Hour))
			want[day.Date.Format(time.DateOnly)+r.Serial] = v.ScoreFields()
		}
	}
	slices.SortFunc(rows, func(a, b string) int { // neither by drive nor by date
		return strings.Compare(a[8:10]+a, b[8:10]+b)
	})
	lines := dailyScores(t, head+"\n"+strings.Join(rows, "\n")+"\n")
	if len(lines) != len(rows) {
		t.Fatalf("%d lines for %d rows", len(lines), len(rows))
	}
	for i, got := range lines {
		if !strings.HasPrefix(rows[i], got[0]+","+got[1]+",") {
			t.Fatalf("line %d is of %s %s, the row is %s", i, got[0], got[1], rows[i])
		}
		if w := want[got[0]+got[1]]; !slices.Equal(got[2:], w) {
			t.Fatalf("%s of %s:\ngot  %v\nwant %v", got[1], got[0], got[2:], w)
		}
	}
}

// What lies later in the table changes nothing before it.
func TestScoreDailyUsesNothingLater(t *testing.T) {
	f, err := os.ReadFile("../test/testdata/drives/Z300V1RR.csv")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(string(f)), "\n")
	full := dailyScores(t, strings.Join(rows, "\n"))
	for _, n := range []int{2, 200, len(rows) - 10} {
		if got := dailyScores(t, strings.Join(rows[:n], "\n")); !slices.EqualFunc(got, full[:n-1], slices.Equal) {
			t.Errorf("%d rows score otherwise when the rest is cut away", n-1)
		}
	}
}

func TestAppendCSV(t *testing.T) {
	for _, fields := range [][]string{{"a", "", "b"}, {`say "no"`, "a,b", " x", "two\nlines"}} {
		back, err := csv.NewReader(strings.NewReader(string(appendCSV(nil, fields...)))).Read()
		if err != nil || !slices.Equal(back, fields) {
			t.Errorf("%q came back as %q, %v", fields, back, err)
		}
	}
}

// Tables longer than what is held at once, and not sorted by drive, keep their
// order.
func TestScoreLandmarksKeepsTheOrder(t *testing.T) {
	drives := []Drive{{Serial: "A", Model: "ST4000DM000", First: time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Serial: "B", Model: "ST4000DM000", First: time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)}}
	if _, err := ReadSegmentsOf("s", strings.NewReader("serial_number,poh_start,s5\nA,0,0\nB,0,0\nB,3000,16\nC,5,1\n"), drives); err != nil {
		t.Fatal(err)
	}
	var text, want strings.Builder
	text.WriteString("serial_number,poh\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "%c,%d.0\n", 'A'+i%2, i)
		fmt.Fprintf(&want, "%c,%d.0\n", 'A'+i%2, i)
	}
	var all []string
	for _, atOnce := range []int{700, landmarksAtOnce} {
		var out, order strings.Builder
		if err := defaultModel(t).scoreTable(t.Context(), drives, "l", strings.NewReader(text.String()), &out, nil, atOnce); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
			if f := strings.SplitN(line, ",", 3); i > 0 {
				fmt.Fprintf(&order, "%s,%s\n", f[0], f[1])
			}
		}
		if order.String() != want.String() {
			t.Fatal("the lines are not in the order of the landmarks")
		}
		all = append(all, out.String())
	}
	if all[0] != all[1] {
		t.Error("how much is scored at once changes the scores")
	}
}
