package pfa

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

const drivesDir = "../test/testdata/drives"

func recorded(t testing.TB, serial string) Recorded {
	t.Helper()
	f, err := os.Open(filepath.Join(drivesDir, serial+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ReadRecorded(f.Name(), f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func defaultModel(t testing.TB) *Model {
	t.Helper()
	m, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// scoredDay is what a model said at the end of a recorded day.
type scoredDay struct {
	left    int // days to the last recorded day
	verdict Verdict
}

// daily feeds a recording through the front door and scores each day.
func daily(t testing.TB, m *Model, r Recorded) []scoredDay {
	t.Helper()
	last := r.Days[len(r.Days)-1].Date
	s := NewState(signal.DiskComponent(r.Serial))
	readings := r.Readings("h1", last)
	var out []scoredDay
	for i, x := range readings {
		s.Observe(x)
		if i+1 == len(readings) || !readings[i+1].ObservedAt.Equal(x.ObservedAt) {
			out = append(out, scoredDay{int(last.Sub(x.ObservedAt.Truncate(24*time.Hour)).Hours() / 24), m.Score(s, x.ObservedAt)})
		}
	}
	return out
}

// evacuate is the default threshold, in percent within 30 days, at which a host
// is emptied; watch the one at which it is watched.
const evacuate, watch = 25, 2

// The drive of the demonstration: it must cross the default threshold at least
// seven days before its recorded death, in whatever model is shipped.
func TestFailingDriveIsSeenInTime(t *testing.T) {
	first := -1
	for _, d := range daily(t, defaultModel(t), recorded(t, "Z300V1RR")) {
		if d.left > 26 && d.verdict.Risk.Month.Percent >= watch {
			t.Errorf("%d days before: %.2f %%, although nothing had happened yet", d.left, d.verdict.Risk.Month.Percent)
		}
		if d.verdict.Risk.Month.Percent >= evacuate && first < 0 {
			first = d.left
			for _, r := range d.verdict.Top(3) {
				t.Log(r.Text)
			}
		}
		if first >= 0 && d.verdict.Risk.Month.Percent < 12 {
			t.Errorf("%d days before: %.1f %%, below the threshold at which evacuation ends", d.left, d.verdict.Risk.Month.Percent)
		}
	}
	if first < 7 {
		t.Fatalf("crosses %d %% %d days before its death, want at least 7", evacuate, first)
	}
	t.Logf("crosses %d %% %d days before its death", evacuate, first)
}

// The demonstration replays a day every second: the calendar then says that
// everything happened at once.
func TestFailingDriveIsSeenInTimeWhenReplayedQuickly(t *testing.T) {
	m, r := defaultModel(t), recorded(t, "Z300V1RR")
	yesterday := r.Days[len(r.Days)-1].Date
	s := NewState(signal.DiskComponent(r.Serial))
	for _, x := range r.Until(-26).Readings("h1", yesterday) {
		s.Observe(x)
	}
	now := yesterday.Add(30 * time.Hour)
	if p := m.Score(s, now).Risk.Month.Percent; p >= watch {
		t.Errorf("before the replay: %.2f %%", p)
	}
	for left := 25; left >= 0; left-- {
		now = now.Add(time.Second)
		one := r.Until(-left)
		one.Days = one.Days[len(one.Days)-1:]
		for _, x := range one.Readings("h1", now) {
			x.ObservedAt = now
			s.Observe(x)
		}
		if p := m.Score(s, now).Risk.Month.Percent; p >= evacuate {
			if left < 7 {
				t.Fatalf("crosses %d %% %d days before its death", evacuate, left)
			}
			return
		}
	}
	t.Fatalf("never crosses %d %%", evacuate)
}

// Drives that did not fail: the twin was chosen by its serial number (the next
// after Z300V1RR with the same first day that was still in service at the end),
// before any model had scored it.
func TestHealthyTwinIsNotWatched(t *testing.T) {
	for _, d := range daily(t, defaultModel(t), recorded(t, "Z300V63Y")) {
		if p := d.verdict.Risk.Month.Percent; p >= watch {
			t.Errorf("%d days before the end of its record: %.2f %%", d.left, p)
		}
	}
}

func TestRecordedDrivesAreNotTrainedOn(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(drivesDir, "*.csv"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	for _, f := range files {
		serial := strings.TrimSuffix(filepath.Base(f), ".csv")
		if !slices.Contains(defaultModel(t).Header().Provenance.Excluded, serial) {
			t.Errorf("%s may have been trained on: the model's provenance does not exclude it", serial)
		}
	}
}

func TestReasonsSumToTheLogit(t *testing.T) {
	for _, serial := range []string{"Z300V1RR", "JK1101B8GKUZUZ", "5XW037FE", "S300AS9Y", "W300CDRJ"} {
		for _, d := range daily(t, defaultModel(t), recorded(t, serial)) {
			sum := 0.0
			for _, r := range d.verdict.Reasons {
				sum += r.Contribution
				if r.Text == "" || strings.Contains(r.Text, "%!") {
					t.Fatalf("%s: reason without words: %+v", serial, r)
				}
			}
			v := d.verdict
			if math.Abs(sum-v.Logit) > 1e-9 || math.Abs(100*sigmoid(v.Logit)-v.Risk.Month.Percent) > 1e-9 {
				t.Fatalf("%s, %d days left: reasons sum to %g, logit %g, risk %g %%", serial, d.left, sum, v.Logit, v.Risk.Month.Percent)
			}
			for _, e := range []Estimate{v.Risk.Day, v.Risk.Week, v.Risk.Month} {
				if !(0 <= e.Lo && e.Lo <= e.Percent && e.Percent <= e.Hi && e.Hi <= 100) {
					t.Fatalf("%s: interval %+v", serial, e)
				}
			}
			if v.Risk.Day.Percent > v.Risk.Week.Percent || v.Risk.Week.Percent > v.Risk.Month.Percent {
				t.Fatalf("%s: horizons are not ordered: %+v", serial, v.Risk)
			}
		}
	}
}

func TestReasonInWords(t *testing.T) {
	for _, d := range daily(t, defaultModel(t), recorded(t, "Z300V1RR")) {
		if d.left != 15 {
			continue
		}
		var all []string
		for _, r := range d.verdict.Reasons {
			all = append(all, r.Text)
		}
		text := strings.Join(all, "\n")
		for _, want := range []string{
			"reported uncorrectable errors (187) 0 → 9 in 9 days (usual 0)",
			"pending sectors (197) 0 → 640 in 4 days (usual 0)",
			"ST4000DM000, 0.8 years old",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
}

// Training replays segments, production observes readings: the features must
// be the same numbers.
func TestOnlineFeaturesEqualTrainingFeatures(t *testing.T) {
	schema := defaultModel(t).ata.schema
	random := rand.New(rand.NewPCG(3, 1))
	for _, serial := range []string{"Z300V1RR", "JK1101B8GKUZUZ", "5XW037FE", "W300CDRJ", "Z300V63Y"} {
		full := recorded(t, serial)
		for round := range 5 {
			days := full
			if round > 0 { // with gaps, and days reported twice
				days.Days = nil
				for _, day := range full.Days {
					for range []int{0, 1, 1, 1, 2}[random.IntN(5)] {
						days.Days = append(days.Days, day)
					}
				}
			}
			// As training sees it: a segment per row, on the axis of days.
			d := &Drive{Serial: serial, Model: days.Model}
			online := NewState(signal.DiskComponent(serial))
			readings := days.Readings("h1", days.Days[len(days.Days)-1].Date)
			for len(readings) > 0 {
				at := readings[0].ObservedAt
				var seg Segment
				hours := 0.0
				n := slices.IndexFunc(readings, func(r signal.Reading) bool { return !r.ObservedAt.Equal(at) })
				if n < 0 {
					n = len(readings)
				}
				seg.Start = timeAxis(at)
				random.Shuffle(n, func(i, j int) { readings[i], readings[j] = readings[j], readings[i] })
				for _, r := range readings[:n] {
					online.Observe(r)
					if r.Signal == signal.SmartPowerOnHours {
						hours = *r.Value
					}
					for c, col := range historyCols {
						if r.Signal == tracked[col.index] {
							seg.Values[c] = uint32(*r.Value)
							seg.Has |= 1 << c
						}
					}
				}
				readings = readings[n:]
				d.Segments = append(d.Segments, seg)
				training := newReplay(d).to(seg.Start)
				training.find(hoursIndex).level = hours // training's axis is the hours themselves

				var a, b vector
				schema.extract(online, seg.Start, &a)
				schema.extract(training, seg.Start, &b)
				if x, y := denseRow(online, seg.Start), denseRow(training, seg.Start); !slices.Equal(x, y) {
					t.Fatalf("%s at %v: online %v\ntraining %v", serial, at, x, y)
				}
				if !slices.Equal(a.index, b.index) || !slices.Equal(a.value, b.value) {
					t.Fatalf("%s at %v: online %v %v\ntraining %v %v", serial, at, a.index, a.value, b.index, b.value)
				}
				if len(d.Segments) > 120 && round > 0 {
					break
				}
			}
		}
	}
}

// denseRow is a row of the trees, with -1 for what is missing so that rows
// compare.
func denseRow(s *State, t Axis) []float64 {
	x := make([]float64, len(treeColumns))
	treeRow(s, t, x)
	for i := range x {
		if x[i] != x[i] {
			x[i] = -1
		}
	}
	return x
}

// What comes after a landmark must not change its features.
func TestFeaturesDoNotSeeTheFuture(t *testing.T) {
	schema := defaultModel(t).ata.schema
	full := historyOf(t, "Z300V1RR")
	for h := full.HoursFirst; h < full.HoursLast; h += 24 {
		cut := *full
		cut.Segments = slices.DeleteFunc(slices.Clone(full.Segments), func(s Segment) bool { return s.Start > h })
		cut.HoursLast, cut.Last, cut.Failed, cut.DateError = 0, time.Time{}, false, 0
		var a, b vector
		schema.extract(newReplay(full).to(h), h, &a)
		schema.extract(newReplay(&cut).to(h), h, &b)
		if !slices.Equal(a.index, b.index) || !slices.Equal(a.value, b.value) ||
			!slices.Equal(denseRow(newReplay(full).to(h), h), denseRow(newReplay(&cut).to(h), h)) {
			t.Fatalf("hour %d: features depend on later rows", h)
		}
	}
}

// Neither the serial number nor the calendar may be a feature.
func TestFeaturesIgnoreSerialAndCalendar(t *testing.T) {
	m := defaultModel(t)
	r := recorded(t, "Z300V1RR")
	want := daily(t, m, r)
	other := r
	other.Serial = "AAAA0000"
	other.Days = slices.Clone(r.Days)
	for i := range other.Days {
		other.Days[i].Date = other.Days[i].Date.AddDate(0, 0, 30*240) // the windows' buckets begin alike
	}
	for i, d := range daily(t, m, other) {
		if d.verdict.Logit != want[i].verdict.Logit {
			t.Fatalf("row %d: %g for %s, %g for %s 7200 days later", i, want[i].verdict.Logit, r.Serial, d.verdict.Logit, other.Serial)
		}
	}
	for _, f := range slices.Concat(m.ata.schema.features, treeColumns) {
		for _, word := range []string{"serial", "date", "month", "year_", "row"} {
			if strings.Contains(strings.ToLower(f.Name), word) && !strings.HasPrefix(f.Name, "smart_") {
				t.Errorf("feature %s", f.Name)
			}
		}
	}
}

// historyOf turns a recording back into a history's drive, on power-on hours.
func historyOf(t testing.TB, serial string) *Drive {
	t.Helper()
	r := recorded(t, serial)
	d := &Drive{Serial: r.Serial, Model: r.Model, First: r.Days[0].Date, Last: r.Days[len(r.Days)-1].Date,
		HoursFirst: Axis(r.Days[0].Values[9]), HoursLast: Axis(r.Days[len(r.Days)-1].Values[9]),
		Failed: r.Days[len(r.Days)-1].Failed}
	for _, day := range r.Days {
		seg := Segment{Start: Axis(day.Values[9])}
		for c, col := range historyCols {
			var id int
			fmt.Sscanf(col.column, "s%d", &id)
			if v, has := day.Values[id]; has {
				seg.Values[c] = uint32(v)
				seg.Has |= 1 << c
			}
		}
		if n := len(d.Segments); n == 0 || d.Segments[n-1].Values != seg.Values || d.Segments[n-1].Has != seg.Has {
			d.Segments = append(d.Segments, seg)
		}
	}
	return d
}

func TestTrainingIsTheSameOnAnyNumberOfProcessors(t *testing.T) {
	fleet := testFleet(450)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var files [][]byte
	for _, n := range []int{1, 3} {
		runtime.GOMAXPROCS(n)
		m, err := Train(Training{Name: "test", Grade: GradeLocal, Drives: slices.Clone(fleet), EvaluateFrom: fleet[0].First.AddDate(0, 0, 200)})
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
		slices.Reverse(fleet) // nor does the order of the drives matter
	}
	if string(files[0]) != string(files[1]) {
		t.Error("one and three processors train different models")
	}
	if m, err := Load(files[0]); err != nil || m.header.Evaluation.AUC.Value < 0.7 {
		t.Errorf("the model of a fleet whose failures are announced: %v, AUC %+v", err, m.header.Evaluation.AUC)
	}
}

// testFleet makes drives of which one in five fails, most after pending
// sectors appeared.
func testFleet(n int) []Drive {
	random := rand.New(rand.NewPCG(11, 5))
	first := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var out []Drive
	for i := range n {
		d := Drive{Serial: fmt.Sprintf("T%04d", i), Model: "ST4000DM000", First: first, HoursFirst: 100}
		if i%3 == 0 {
			d.Model = "WDC WD30EFRX"
		}
		life := 500
		if d.Failed = i%5 == 0; d.Failed {
			life = 60 + random.IntN(420)
		}
		d.Last, d.HoursLast = first.AddDate(0, 0, life), 100+Axis(life)*24
		seg := Segment{Start: 100, Has: 1 | 1<<7 | 1<<8}
		d.Segments = append(d.Segments, seg)
		if d.Failed && random.IntN(4) > 0 || random.IntN(30) == 0 {
			for k := 20 + random.IntN(10); k > 0; k -= 3 {
				seg.Start = d.HoursLast - Axis(k)*24
				seg.Values[7] += uint32(random.IntN(20))
				d.Segments = append(d.Segments, seg)
			}
		}
		out = append(out, d)
	}
	return out
}

func TestSampleIsWhatTheHistorySays(t *testing.T) {
	const path = "../../shared/data/disk"
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", path)
		}
		t.Skipf("%s is missing: put the labelled failure data there to run this test", path)
	}
	drives := readSharedHistory(t, path)
	files, err := filepath.Glob(filepath.Join(drivesDir, "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		got, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d := drives[strings.TrimSuffix(filepath.Base(f), ".csv")]
		if d == nil || string(d.Daily().CSV()) != string(got) {
			t.Errorf("%s is not what the history says; rebuild it with make sample", f)
		}
	}
}

// A family that nobody has seen is scored like any other of its vendor.
func TestUnseenFamilyIsNormal(t *testing.T) {
	m := defaultModel(t)
	r := recorded(t, "Z300V1RR")
	want := daily(t, m, r)
	r.Model = "ST9999ZZ999"
	for i, d := range daily(t, m, r) {
		if d.verdict.Logit != want[i].verdict.Logit {
			t.Fatalf("row %d: %g for ST4000DM000, %g for an unseen family", i, want[i].verdict.Logit, d.verdict.Logit)
		}
	}
}
