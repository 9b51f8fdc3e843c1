package pfa

import (
	"encoding/csv"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

const driveHead = "serial_number,model,first_date,poh_first,last_date,poh_last,failed,date_err_days\n"

func TestReadDrivesRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no header", "", "first line"},
		{"a column is missing", "serial_number,model\n", `"first_date" is missing`},
		{"a word for hours", driveHead + "A,M,2014-01-01,x,2014-02-01,900,0,0\n", `line 2: poh_first is "x"`},
		{"negative hours", driveHead + "A,M,2014-01-01,-5,2014-02-01,900,0,0\n", "poh_first"},
		{"absurd hours", driveHead + "A,M,2014-01-01,5,2014-02-01,99999999999,0,0\n", "poh_last"},
		{"a wrong date", driveHead + "A,M,2014-13-01,5,2014-02-01,900,0,0\n", "expected a date"},
		{"a fate of its own", driveHead + "A,M,2014-01-01,5,2014-02-01,900,maybe,0\n", "expected 0 or 1"},
		{"ends before it begins", driveHead + "A,M,2014-01-01,500,2014-02-01,90,0,0\n", "ends before"},
		{"no serial", driveHead + ",M,2014-01-01,5,2014-02-01,900,0,0\n", "serial_number"},
		{"a row cut short", driveHead + "A,M,2014-01-01\n", "wrong number of fields"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadDrives("file.csv", strings.NewReader(test.text), true)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "file.csv") {
				t.Errorf("error %v, want file.csv … %q", err, test.want)
			}
		})
	}
}

func TestReadSegmentsRefuses(t *testing.T) {
	drives := []Drive{{Serial: "A"}}
	for _, test := range []struct{ text, want string }{
		{"serial_number\n", `"poh_start" is missing`},
		{"serial_number,poh_start\nB,5\n", "file.csv: line 2: serial_number is \"B\", expected a drive of the table of drives"},
		{"serial_number,poh_start\nA,\n", "poh_start"},
		{"serial_number,poh_start,s5\nA,5,NaN\n", "s5"},
	} {
		if err := ReadSegments("file.csv", strings.NewReader(test.text), drives); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want %q", test.text, err, test.want)
		}
	}
	if err := ReadSegments("f", strings.NewReader("serial_number,poh_start\n"), []Drive{{Serial: "A"}, {Serial: "A"}}); err == nil {
		t.Error("a drive listed twice was accepted")
	}
}

func FuzzReadDaily(f *testing.F) {
	f.Add("date,serial_number,model,failure,smart_5_raw\n2014-01-01,A,M,0,7\n")
	f.Add("date,serial_number,model,smart_188_raw\n2014-01-01,A,M,4295032833\n2014-01-02,B,M,\n")
	f.Fuzz(func(t *testing.T, text string) {
		var out strings.Builder
		if defaultModel(t).ScoreDaily(t.Context(), "file", strings.NewReader(text), &out, nil) != nil {
			return
		}
		rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows[1:] {
			if p, err := strconv.ParseFloat(row[4], 64); err != nil || !(p > 0 && p < 1) {
				t.Errorf("risk %s", row[4])
			}
		}
	})
}

func TestLandmarksAreNotBiasedByTheEnd(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }
	healthy := Drive{Serial: "H", First: day(0), Last: day(100), HoursFirst: 10, HoursLast: 10 + 100*24}
	failed := healthy
	failed.Serial, failed.Failed = "F", true
	s := sampling{every: 24}
	for _, l := range s.landmarks(0, &healthy) {
		if l.lead != -1 || l.hour+hours30d > healthy.HoursLast {
			t.Errorf("landmark %+v: its 30 days are not known", l)
		}
	}
	n := 0
	for _, l := range s.landmarks(0, &failed) {
		if l.lead != failed.HoursLast-l.hour || l.lead <= 0 {
			t.Errorf("landmark %+v", l)
		}
		n += int(indicator(l.within(hours30d)))
	}
	if n != 30 {
		t.Errorf("%d daily landmarks within 30 days of the failure", n)
	}
	// Seen from day 60, nobody has failed.
	s.known = day(60)
	for _, l := range s.landmarks(0, &failed) {
		if l.lead != -1 || l.hour > 10+30*24 {
			t.Errorf("landmark %+v was not known on day 60", l)
		}
	}
	// Daily landmarks before a failure weigh as much as the grid's.
	weights := func(s sampling) (sum float64) {
		for _, l := range s.landmarks(0, &failed) {
			sum += l.weight * indicator(l.within(hours30d))
		}
		return sum
	}
	if sparse, dense := weights(sampling{every: 7 * 24}), weights(sampling{every: 7 * 24, dense: true}); math.Abs(dense-30.0/7) > 1e-9 || math.Abs(sparse-dense) > 1 {
		t.Errorf("weight of the last 30 days: %g on the grid, %g dense", sparse, dense)
	}
}

func TestRankMetrics(t *testing.T) {
	for _, test := range []struct {
		name    string
		scores  []scored
		auc, ap float64
	}{
		{"perfect", []scored{{.9, 1, true}, {.1, 1, false}}, 1, 1},
		{"the wrong way", []scored{{.1, 1, true}, {.9, 1, false}}, 0, .5},
		{"all equal", []scored{{.5, 1, true}, {.5, 1, false}, {.5, 2, false}}, .5, .25},
		{"by hand", []scored{{.9, 1, true}, {.8, 1, false}, {.7, 1, true}, {.6, 1, false}}, .75, (1 + 2./3) / 2},
	} {
		if auc, ap := rankMetrics(test.scores); math.Abs(auc-test.auc) > 1e-12 || math.Abs(ap-test.ap) > 1e-12 {
			t.Errorf("%s: AUC %g, AP %g; want %g, %g", test.name, auc, ap, test.auc, test.ap)
		}
	}
}

func TestFitLogisticFindsTheOdds(t *testing.T) {
	r := newRows(1)
	// 10 of 100 without the feature, 60 of 100 with it.
	for i := range 200 {
		var v vector
		v.put(0, indicator(i >= 100))
		r.add(&v, 1, i < 10 || i >= 140, i)
	}
	w, err := fitLogistic(r, []float64{1e-9, 0})
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(w[1]-logit(0.1)) > 1e-4 || math.Abs(w[0]+w[1]-logit(0.6)) > 1e-4 {
		t.Errorf("weights %v", w)
	}
	if _, err := fitLogistic(newRows(1), []float64{1, 0}); err == nil {
		t.Error("nothing was learned from without an error")
	}
}

func TestFamily(t *testing.T) {
	for model, want := range map[string][2]string{
		"ST4000DM000-1F2168":          {"ST4000DM000", vendorSeagate},
		"ST4000DM000":                 {"ST4000DM000", vendorSeagate},
		"Seagate ST31500541AS":        {"ST31500541AS", vendorSeagate},
		"WDC WD30EFRX-68EUZN0":        {"WDC WD30EFRX", vendorWDC},
		"Hitachi HDS722020ALA330":     {"Hitachi HDS722020ALA330", vendorHGST},
		"HGST  HMS5C4040ALE640":       {"HGST HMS5C4040ALE640", vendorHGST},
		"TOSHIBA MG08ACA16TA":         {"TOSHIBA MG08ACA16TA", vendorToshiba},
		"":                            {"", vendorOther},
		"INTEL SSDSC2BB480G4-whatnot": {"INTEL SSDSC2BB480G4-whatnot", vendorOther},
	} {
		if f := Family(model); f != want[0] || vendorOf(f) != want[1] {
			t.Errorf("%q: family %q, vendor %q", model, f, vendorOf(f))
		}
	}
}

func TestUntilAndReadings(t *testing.T) {
	r := recorded(t, "Z300V1RR")
	cut := r.Until(-26)
	if got := cut.Days[len(cut.Days)-1].Date.Format(time.DateOnly); got != "2014-09-03" {
		t.Errorf("26 days before 2014-09-29 is %s", got)
	}
	yesterday := time.Date(2031, 7, 8, 23, 0, 0, 0, time.UTC)
	readings := cut.Readings("h1", yesterday)
	last := readings[len(readings)-1]
	if last.ObservedAt.Format(time.DateTime) != "2031-07-08 12:00:00" || last.Host != "h1" || last.Component != "disk:Z300V1RR" || last.Seq != uint64(len(readings)) {
		t.Errorf("last reading %+v", last)
	}
	if n := len(r.Until(-1000000).Readings("h1", yesterday)); n != 0 {
		t.Errorf("%d readings from before the first day", n)
	}
	again, err := ReadRecorded("again", strings.NewReader(string(r.CSV())))
	if err != nil || fmt.Sprint(again) != fmt.Sprint(r) {
		t.Errorf("written and read again it differs: %v", err)
	}
}
