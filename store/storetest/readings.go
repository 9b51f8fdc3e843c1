package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// RunReadings tests an engine's Readings. Each call of fresh makes a new, empty
// one, which the test's end closes.
func RunReadings(t *testing.T, fresh func(t *testing.T) store.Readings) {
	tests := []struct {
		name string
		run  func(t *testing.T, r store.Readings)
	}{
		{"readings come back as they were kept, once", testKeep},
		{"invalid readings are refused with their batch", testKeepInvalid},
		{"latest", testLatest},
		{"history", testHistory},
		{"roll-ups are the same before and after retention", testRollups},
		{"retention", testRetain},
		{"retention works through many rows, beside writers", testRetainMany},
		{"states", testStates},
		{"risks and their history", testRisks},
		{"a forgotten host is gone, another stays", testForget},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, fresh(t)) })
	}
}

// reading is a plain one of h1 in this minute.
func reading(component, name string, minute int, value float64) signal.Reading {
	return signal.Reading{Host: "h1", Component: component, Signal: name, Value: &value, Unit: "count",
		ObservedAt: after(minute), BootID: "b", Seq: uint64(minute), Status: signal.OK}
}

func mustKeep(t *testing.T, r store.Readings, want int, batch ...signal.Reading) {
	t.Helper()
	if kept, err := r.Keep(t.Context(), batch); err != nil || kept != want {
		t.Fatalf("kept %d (%v), want %d", kept, err, want)
	}
}

func history(t *testing.T, r store.Readings, q store.Query) []signal.Reading {
	t.Helper()
	all, err := r.History(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sameReadings compares the readings' values, not their pointers.
func sameReadings(t *testing.T, what string, got, want []signal.Reading) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %s\nwant %s", what, show(got), show(want))
	}
}

func show(all []signal.Reading) (text string) {
	for _, r := range all {
		value := "none"
		if r.Value != nil {
			value = fmt.Sprint(*r.Value)
		}
		text += fmt.Sprintf("\n  %s %s %s %v = %s %q %s %s %s %d", r.Host, r.Component, r.Signal, r.ObservedAt, value, r.Text, r.Unit, r.Status, r.BootID, r.Seq)
	}
	return text
}

func testKeep(t *testing.T, r store.Readings) {
	full := filled[signal.Reading](t, 1)
	absent := reading("disk:A", "smart_187_raw", 0, 0)
	absent.Value, absent.Status = nil, signal.Absent
	failed := reading("disk:A", "collector", 0, 0)
	failed.Value, failed.Status, failed.Text = nil, signal.Failed, "smartctl: no answer in 10 s"
	mustKeep(t, r, 3, full, absent, failed)

	again := full
	other := *full.Value + 1
	again.Value = &other
	mustKeep(t, r, 0, again, absent, failed) // the first stays
	mustKeep(t, r, 1, reading("disk:A", "smart_5_raw", 1, 7), reading("disk:A", "smart_5_raw", 1, 7))

	sameReadings(t, "full", history(t, r, store.Query{Host: full.Host}), []signal.Reading{full})
	sameReadings(t, "h1", history(t, r, store.Query{Host: "h1"}),
		[]signal.Reading{failed, absent, reading("disk:A", "smart_5_raw", 1, 7)})
	mustKeep(t, r, 0)
}

func testKeepInvalid(t *testing.T, r store.Readings) {
	good := reading("cpu", "temperature", 0, 50)
	for name, spoil := range map[string]func(*signal.Reading){
		"no host":      func(r *signal.Reading) { r.Host = "" },
		"no component": func(r *signal.Reading) { r.Component = "" },
		"no signal":    func(r *signal.Reading) { r.Signal = "" },
		"no status":    func(r *signal.Reading) { r.Status = "" },
		"no time":      func(r *signal.Reading) { r.ObservedAt = time.Time{} },
		"not a number": func(r *signal.Reading) { nan := math.NaN(); r.Value = &nan },
	} {
		bad := good
		spoil(&bad)
		if kept, err := r.Keep(t.Context(), []signal.Reading{good, bad}); !errors.Is(err, store.ErrInvalid) || kept != 0 {
			t.Errorf("%s: kept %d, %v", name, kept, err)
		}
	}
	if all := history(t, r, store.Query{Host: "h1"}); len(all) != 0 {
		t.Errorf("kept %s", show(all))
	}
	inf := reading("cpu", "temperature", 0, math.Inf(1)) // odd, but a number
	mustKeep(t, r, 1, inf)
	sameReadings(t, "infinite", history(t, r, store.Query{Host: "h1"}), []signal.Reading{inf})
}

func testLatest(t *testing.T, r store.Readings) {
	mustKeep(t, r, 5,
		reading("disk:B", "smart_5_raw", 3, 1),
		reading("disk:A", "smart_5_raw", 2, 2),
		reading("disk:A", "smart_5_raw", 1, 9),
		reading("disk:A", "smart_197_raw", 1, 4),
		reading("disk:A", "smart_197_raw", 2, 5))
	mustKeep(t, r, 1, reading("disk:A", "smart_5_raw", 0, 8)) // comes late
	got, err := r.Latest(t.Context(), "h1")
	if err != nil {
		t.Fatal(err)
	}
	sameReadings(t, "latest", got, []signal.Reading{reading("disk:A", "smart_197_raw", 2, 5),
		reading("disk:A", "smart_5_raw", 2, 2), reading("disk:B", "smart_5_raw", 3, 1)})
	if got, err := r.Latest(t.Context(), "h2"); err != nil || len(got) != 0 {
		t.Errorf("of an unknown host: %v %v", got, err)
	}
}

func testHistory(t *testing.T, r store.Readings) {
	var all []signal.Reading
	for minute := range 10 {
		all = append(all, reading("disk:A", "smart_5_raw", minute, float64(minute)), reading("disk:A", "smart_9_raw", minute, 1),
			reading("nic:eth0", "crc", minute, 0))
	}
	mustKeep(t, r, 30, all...)
	sameReadings(t, "all", history(t, r, store.Query{Host: "h1"}), all)
	sameReadings(t, "since, until", history(t, r, store.Query{Host: "h1", Component: "disk:A", Since: after(8), Until: after(9)}), all[24:26])
	sameReadings(t, "newest", history(t, r, store.Query{Host: "h1", Signal: "smart_5_raw", Limit: 2}), []signal.Reading{all[24], all[27]})
	sameReadings(t, "none", history(t, r, store.Query{Host: "h2"}), nil)
}

// spread keeps two series over some days, in hours counted from the day's
// beginning, and returns the hour's time.
func spread(t *testing.T, r store.Readings) func(hour float64) time.Time {
	t.Helper()
	day := epoch0.Truncate(24 * time.Hour)
	at := func(hour float64) time.Time { return day.Add(time.Duration(hour * float64(time.Hour))) }
	for i, p := range []struct {
		component string
		hour      float64
		value     float64
	}{
		{"disk:A", 0.25, 5}, {"disk:A", 0.5, 3}, {"disk:A", 0.75, 4}, {"disk:B", 0.5, 1},
		{"disk:A", 5, 6}, {"disk:A", 23.5, 2}, {"disk:A", 24, 9}, {"disk:A", 30, 8}, {"disk:A", 30.5, 7},
	} {
		one := reading(p.component, "smart_5_raw", i, p.value)
		one.ObservedAt = at(p.hour)
		mustKeep(t, r, 1, one)
	}
	none := reading("disk:A", "smart_5_raw", 0, 0)
	none.Value, none.Status, none.ObservedAt = nil, signal.Failed, at(0.9)
	mustKeep(t, r, 1, none)
	return at
}

func testRollups(t *testing.T, r store.Readings) {
	at := spread(t, r)
	hourly := []store.Rollup{
		{Component: "disk:A", Start: at(0), Min: 3, Max: 5, Last: 4, LastAt: at(0.75)},
		{Component: "disk:B", Start: at(0), Min: 1, Max: 1, Last: 1, LastAt: at(0.5)},
		{Component: "disk:A", Start: at(5), Min: 6, Max: 6, Last: 6, LastAt: at(5)},
		{Component: "disk:A", Start: at(23), Min: 2, Max: 2, Last: 2, LastAt: at(23.5)},
		{Component: "disk:A", Start: at(24), Min: 9, Max: 9, Last: 9, LastAt: at(24)},
		{Component: "disk:A", Start: at(30), Min: 7, Max: 8, Last: 7, LastAt: at(30.5)},
	}
	daily := []store.Rollup{
		{Component: "disk:A", Start: at(0), Min: 2, Max: 6, Last: 2, LastAt: at(23.5)},
		{Component: "disk:B", Start: at(0), Min: 1, Max: 1, Last: 1, LastAt: at(0.5)},
		{Component: "disk:A", Start: at(24), Min: 7, Max: 9, Last: 7, LastAt: at(30.5)},
	}
	compare := func(what string, q store.Query, width store.Width, want ...store.Rollup) {
		t.Helper()
		got, err := r.Rollups(t.Context(), q, width)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i].Signal = "smart_5_raw"
		}
		same(t, what, got, want)
	}
	all := store.Query{Host: "h1"}
	check := func(when string) {
		t.Helper()
		compare("hourly "+when, all, store.Hourly, hourly...)
		compare("daily "+when, all, store.Daily, daily...)
		compare("since "+when, store.Query{Host: "h1", Since: at(5)}, store.Hourly, hourly[2:]...)
		compare("until "+when, store.Query{Host: "h1", Until: at(24)}, store.Daily, daily[:2]...)
		compare("one "+when, store.Query{Host: "h1", Component: "disk:B"}, store.Daily, daily[1])
		compare("newest "+when, store.Query{Host: "h1", Limit: 1}, store.Daily, daily[2])
	}
	check("from readings")
	for _, hour := range []float64{0.6, 5.5, 24, 31} { // in the middle of windows, too
		if _, err := r.Retain(t.Context(), at(hour+1), store.Retention{Raw: time.Hour}); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("after retention at hour %g", hour))
	}
	if left := history(t, r, all); len(left) != 2 { // the latest of each disk
		t.Errorf("raw readings left: %s", show(left))
	}
	// Told again what has been summed up, and something late: merged.
	late, again := reading("disk:A", "smart_5_raw", 0, 1), reading("disk:A", "smart_5_raw", 0, 5)
	late.ObservedAt, again.ObservedAt = at(0.1), at(0.25)
	mustKeep(t, r, 2, late, again)
	hourly[0].Min, daily[0].Min = 1, 1
	check("with late readings")
	if _, err := r.Retain(t.Context(), at(40), store.Retention{Raw: time.Hour}); err != nil {
		t.Fatal(err)
	}
	check("with late readings, summed up")
	if _, err := r.Rollups(t.Context(), all, store.Width(time.Minute)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("roll-ups by minute: %v", err)
	}
}

func testRetain(t *testing.T, r store.Readings) {
	at := spread(t, r)
	keep := store.Retention{Raw: 6 * time.Hour, Hourly: 24 * time.Hour, Daily: 72 * time.Hour}
	retain := func(hour float64, want store.Retained) {
		t.Helper()
		got, err := r.Retain(t.Context(), at(hour), keep)
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("retained at hour %g", hour), got, want)
	}
	count := func(hourly, daily, raw int) {
		t.Helper()
		q := store.Query{Host: "h1"}
		h, err1 := r.Rollups(t.Context(), q, store.Hourly)
		d, err2 := r.Rollups(t.Context(), q, store.Daily)
		if n := len(history(t, r, q)); n != raw || len(h) != hourly || len(d) != daily || err1 != nil || err2 != nil {
			t.Fatalf("%d raw, %d hourly, %d daily (%v, %v), want %d, %d, %d", n, len(h), len(d), err1, err2, raw, hourly, daily)
		}
	}
	count(6, 3, 10)
	retain(6, store.Retained{}) // exactly as old as is kept
	retain(7, store.Retained{Readings: 4})
	count(6, 3, 6)
	retain(7, store.Retained{})
	retain(30, store.Retained{Readings: 2, Rollups: 1})
	// disk:A's hour 0 is gone as a roll-up; disk:B's only reading is its latest and stays.
	count(5, 3, 4)
	retain(31, store.Retained{Readings: 1, Rollups: 1})
	count(4, 3, 3)
	// Nothing was heard of disk:B for three days: it is gone. disk:A has days left.
	retain(73, store.Retained{Readings: 2, Rollups: 3})
	count(1, 2, 1)
	retain(1000, store.Retained{Readings: 1, Rollups: 2})
	count(0, 0, 0)
	if latest, err := r.Latest(t.Context(), "h1"); err != nil || len(latest) != 0 {
		t.Errorf("latest: %s %v", show(latest), err)
	}
	if _, err := r.Retain(t.Context(), at(1e6), store.Retention{}); err != nil { // keeps all for ever
		t.Error(err)
	}
}

func testRetainMany(t *testing.T, r store.Readings) {
	const minutes, series = 1500, 8
	for s := range series {
		batch := make([]signal.Reading, minutes)
		for m := range batch {
			batch[m] = reading(fmt.Sprintf("disk:%d", s), "smart_5_raw", m, float64(m))
		}
		mustKeep(t, r, minutes, batch...)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for m := range 20 {
			if _, err := r.Keep(context.Background(), []signal.Reading{reading("disk:0", "smart_5_raw", minutes+m, 0)}); err != nil {
				t.Errorf("keep beside retention: %v", err)
			}
		}
	})
	done, err := r.Retain(t.Context(), after(minutes-100), store.Retention{Raw: time.Minute})
	wg.Wait()
	if want := series * (minutes - 101); err != nil || done.Readings != want {
		t.Errorf("retained %+v (%v), want %d readings", done, err, want)
	}
	days, err := r.Rollups(t.Context(), store.Query{Host: "h1", Component: "disk:7"}, store.Daily)
	if err != nil || len(days) != 2 || days[0].Min != 0 || days[1].Max != minutes-1 {
		t.Errorf("days: %+v (%v)", days, err)
	}
}

func testStates(t *testing.T, r store.Readings) {
	one, two := filled[store.ModelState](t, 1), filled[store.ModelState](t, 2)
	if err := r.PutStates(t.Context(), []store.ModelState{two, one}); err != nil {
		t.Fatal(err)
	}
	one.State, one.Model = []byte{}, "next"
	if err := r.PutStates(t.Context(), []store.ModelState{one}); err != nil {
		t.Fatal(err)
	}
	got, err := r.States(t.Context(), one.Host)
	if err != nil || len(got) != 1 || got[0].Model != "next" || len(got[0].State) != 0 {
		t.Errorf("one: %+v %v", got, err)
	}
	got, err = r.States(t.Context(), "")
	if err != nil || len(got) != 2 {
		t.Fatalf("all: %+v %v", got, err)
	}
	same(t, "two", got[1], two)
	if err := r.PutStates(t.Context(), []store.ModelState{{Host: "h"}}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("without component: %v", err)
	}
}

func testRisks(t *testing.T, r store.Readings) {
	put := func(risks ...store.ComponentRisk) {
		t.Helper()
		if err := r.PutRisks(t.Context(), risks); err != nil {
			t.Fatal(err)
		}
	}
	full := filled[store.ComponentRisk](t, 1)
	put(full)
	risk := func(minute int, p float64) store.ComponentRisk {
		return store.ComponentRisk{Host: "h1", Component: "disk:A", Model: "m", Score: store.Risk{P30d: p, Grade: "B", At: after(minute)}}
	}
	put(risk(0, 1), risk(1, 1)) // the time alone is no change
	put(risk(2, 1.5))
	newer := risk(3, 1.5)
	newer.Model = "m2"
	put(newer)
	worded := newer
	worded.Score.At, worded.Impact = after(4), "holds the root file system"
	put(worded)

	now, err := r.Risks(t.Context(), "h1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "current", now, []store.ComponentRisk{worded})
	was, err := r.RiskHistory(t.Context(), "h1", "disk:A", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "history", was, []store.ComponentRisk{risk(0, 1), risk(2, 1.5), newer})
	was, err = r.RiskHistory(t.Context(), "h1", "", after(2))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "history since", was, []store.ComponentRisk{risk(2, 1.5), newer})
	all, err := r.Risks(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "all hosts", all, []store.ComponentRisk{worded, full})

	// Older than raw readings: the last of each day stays. Older than days: none.
	day := 24 * 60
	put(risk(day, 2), risk(day+1, 3), risk(day+2, 4))
	done, err := r.Retain(t.Context(), after(2*day), store.Retention{Raw: 12 * time.Hour, Daily: 100 * time.Hour})
	if err != nil || done.Risks != 4 {
		t.Fatalf("retained %+v, %v", done, err)
	}
	was, err = r.RiskHistory(t.Context(), "h1", "disk:A", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "history of two days", was, []store.ComponentRisk{newer, risk(day+2, 4)})
	if _, err := r.Retain(t.Context(), after(3*day), store.Retention{Daily: 50 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	if was, err := r.RiskHistory(t.Context(), "h1", "", time.Time{}); err != nil || len(was) != 1 {
		t.Errorf("history of one day: %+v, %v", was, err)
	}
	if err := r.PutRisks(t.Context(), []store.ComponentRisk{{Host: "h1", Component: "cpu"}}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("without a time: %v", err)
	}
}

func testForget(t *testing.T, r store.Readings) {
	for _, h := range []string{"h1", "h2"} {
		for i, c := range []string{"disk:A", "disk:B"} {
			one := reading(c, "smart_5_raw", i, 1)
			one.Host = h
			mustKeep(t, r, 1, one)
			if err := errors.Join(
				r.PutStates(t.Context(), []store.ModelState{{Host: h, Component: c, State: []byte{1}}}),
				r.PutRisks(t.Context(), []store.ComponentRisk{{Host: h, Component: c, Score: store.Risk{P30d: 1, At: epoch0}}}),
			); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(host string, want int) {
		t.Helper()
		latest, err1 := r.Latest(t.Context(), host)
		states, err2 := r.States(t.Context(), host)
		risks, err3 := r.Risks(t.Context(), host)
		past, err4 := r.RiskHistory(t.Context(), host, "", time.Time{})
		raw := history(t, r, store.Query{Host: host})
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		for i, n := range []int{len(latest), len(states), len(risks), len(past), len(raw)} {
			if n != want {
				t.Errorf("%s, list %d: %d left, want %d", host, i, n, want)
			}
		}
	}
	if err := r.Forget(t.Context(), "h1", "disk:A"); err != nil {
		t.Fatal(err)
	}
	count("h1", 1)
	if err := r.Forget(t.Context(), "h1", ""); err != nil {
		t.Fatal(err)
	}
	count("h1", 0)
	count("h2", 2)
	if err := r.Forget(t.Context(), "", ""); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("forget nobody: %v", err)
	}
}
