package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vireo-kvm/vireo/store"
)

func testEvents(t *testing.T, f *fixture) {
	var last uint64
	for i := range 6 {
		e := store.Event{At: after(i), Kind: "test", Severity: store.Info, Text: fmt.Sprint(i)}
		switch i % 3 {
		case 0:
			e.Host = "h1"
		case 1:
			e.Domain = "d1"
		case 2:
			e.Migration = "m1"
		}
		f.update(func(tx store.Tx) error {
			id, err := tx.AppendEvent(e)
			if err == nil && id <= last {
				err = fmt.Errorf("id %d follows %d", id, last)
			}
			last = id
			return err
		})
	}
	f.view(func(r store.Reader) error {
		for _, tt := range []struct {
			filter store.EventFilter
			want   string
		}{
			{store.EventFilter{}, "[0 1 2 3 4 5]"},
			{store.EventFilter{Last: 2}, "[4 5]"},
			{store.EventFilter{Limit: 2}, "[0 1]"},
			{store.EventFilter{After: last - 2}, "[4 5]"},
			{store.EventFilter{After: last}, "[]"},
			{store.EventFilter{After: last - 4, Limit: 1}, "[2]"},
			{store.EventFilter{Host: "h1"}, "[0 3]"},
			{store.EventFilter{Domain: "d1", Last: 1}, "[4]"},
			{store.EventFilter{Migration: "m1"}, "[2 5]"},
		} {
			got, err := r.Events(tt.filter)
			if err != nil {
				return err
			}
			if texts := fmt.Sprint(ids(got, func(e store.Event) string { return e.Text })); texts != tt.want {
				t.Errorf("events %+v: got %s, want %s", tt.filter, texts, tt.want)
			}
		}
		return nil
	})
}

func testDeleteEvents(t *testing.T, f *fixture) {
	f.update(func(tx store.Tx) error {
		var errs []error
		for i := range 6 {
			e := store.Event{At: after(i), Kind: "test", Severity: store.Info, Text: fmt.Sprint(i)}
			if i%2 == 0 {
				e.Who = "alice"
			}
			_, err := tx.AppendEvent(e)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	left := func(want string) {
		t.Helper()
		f.view(func(r store.Reader) error {
			all, err := r.Events(store.EventFilter{})
			if got := fmt.Sprint(ids(all, func(e store.Event) string { return e.Text })); got != want {
				t.Errorf("left are %s, want %s", got, want)
			}
			return err
		})
	}
	for _, step := range []struct {
		before, keep, limit, gone int
		want                      string
	}{
		{before: 5, keep: 0, limit: 1, gone: 1, want: "[0 2 3 4 5]"},
		{before: 5, keep: 0, limit: 100, gone: 1, want: "[0 2 4 5]"},
		{before: 5, keep: 3, limit: 100, gone: 2, want: "[4 5]"},
		{before: 5, keep: 3, limit: 100, gone: 0, want: "[4 5]"},
	} {
		f.update(func(tx store.Tx) error {
			n, err := tx.DeleteEvents(after(step.before), after(step.keep), step.limit)
			if n != step.gone {
				t.Errorf("%+v: %d went", step, n)
			}
			return err
		})
		left(step.want)
	}
	var id uint64
	f.update(func(tx store.Tx) (err error) {
		if _, err := tx.DeleteEvents(after(100), after(100), 100); err != nil {
			return err
		}
		id, err = tx.AppendEvent(store.Event{At: after(7), Kind: "test", Severity: store.Info})
		return err
	})
	if id <= 6 {
		t.Errorf("id %d was given out before", id)
	}
}

func testSettings(t *testing.T, f *fixture) {
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.PutSetting(store.Setting{Key: "b.2", Value: "two"}), tx.PutSetting(store.Setting{Key: "a", Value: "other"}),
			tx.PutSetting(store.Setting{Key: "b.1", Value: "one"}), tx.PutSetting(store.Setting{Key: "b%", Value: "no pattern"}))
	})
	list := func(prefix, want string) {
		t.Helper()
		f.view(func(r store.Reader) error {
			all, err := r.Settings(prefix)
			if got := fmt.Sprint(ids(all, func(s store.Setting) string { return s.Key })); got != want {
				t.Errorf("settings %q: %s, want %s", prefix, got, want)
			}
			return err
		})
	}
	list("", "[a b% b.1 b.2]")
	list("b.", "[b.1 b.2]")
	list("b%", "[b%]")
	f.update(func(tx store.Tx) error { return errors.Join(tx.DeleteSetting("b.1"), tx.DeleteSetting("b.1")) })
	list("b.", "[b.2]")
}
