package virttest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// TestHook: refused where libvirt lets a hook refuse, ignored elsewhere, and
// fatal at reconnect.
func TestHook(t *testing.T) {
	type called struct{ op, xml string }
	record := func(h *Host, refuse string) *[]called {
		var calls []called
		h.SetHook(func(_, op, sub, xml string) error {
			calls = append(calls, called{op + " " + sub, xml})
			if op+" "+sub == refuse {
				return hookError("host2 holds the claim")
			}
			return nil
		})
		return &calls
	}
	ops := func(calls []called) (out []string) {
		for _, c := range calls {
			out = append(out, c.op)
		}
		return out
	}
	t.Run("start refused", func(t *testing.T) {
		w := newWorld(t, true)
		calls := record(w.b, "prepare begin")
		if _, err := w.cb.Define(t.Context(), guestXML("g2", otherUUID)); err != nil {
			t.Fatal(err)
		}
		err := w.cb.Start(t.Context(), otherUUID)
		if !virt.IsRefused(err) || !strings.Contains(virt.Message(err), "host2 holds the claim") {
			t.Errorf("start: %v", err)
		}
		if want := []string{"prepare begin", "stopped end", "release end"}; !slices.Equal(ops(*calls), want) {
			t.Errorf("hook: %v, want %v", ops(*calls), want)
		}
	})
	t.Run("incoming", func(t *testing.T) {
		w := newWorld(t, true)
		calls, atA := record(w.b, ""), record(w.a, "")
		w.migrate(true)
		w.f.Advance(10 * time.Second)
		if want := []string{"migrate begin", "prepare begin", "start begin", "started begin"}; !slices.Equal(ops(*calls), want) {
			t.Errorf("hook on B: %v, want %v", ops(*calls), want)
		}
		for _, c := range *calls {
			if id, err := virt.AttemptOf(c.xml); id != attemptID || err != nil {
				t.Errorf("%s: attempt %q, %v", c.op, id, err)
			}
		}
		if want := []string{"stopped end", "release end"}; !slices.Equal(ops(*atA), want) {
			t.Errorf("hook on A: %v, want %v", ops(*atA), want)
		}
	})
	for _, op := range []string{"migrate begin", "prepare begin"} {
		t.Run("incoming refused at "+op, func(t *testing.T) {
			w := newWorld(t, true)
			record(w.b, op)
			w.migrate(true)
			w.f.Advance(10 * time.Second)
			if !virt.IsRefused(w.err) || w.show(w.ca) != "running (booted)" || w.show(w.cb) != "none" {
				t.Errorf("%v, A %s, B %s", w.err, w.show(w.ca), w.show(w.cb))
			}
		})
	}
	t.Run("fails at reconnect", func(t *testing.T) {
		w := newWorld(t, true)
		record(w.a, "reconnect begin")
		w.a.KillLibvirtd()
		w.a.StartLibvirtd()
		w.connect()
		if got := w.show(w.ca); got != "shut off (failed)" {
			t.Errorf("a running guest after a hook that failed at reconnect: %s", got)
		}
	})
}

type hookError string

func (e hookError) Error() string { return string(e) }

// TestAskerTakesItsTime: while a target's hook thinks, everything else goes on,
// and its answer counts only if the migration still waits for it.
func TestAskerTakesItsTime(t *testing.T) {
	for _, tt := range []struct {
		name      string
		meanwhile func(w *world)
		answer    error
		want      []string // hosts it runs on
		asked     []string
	}{
		{"agrees", nil, nil, []string{"b"}, []string{"migrate", "prepare"}},
		{"refuses", nil, errors.New("no claim"), []string{"a"}, []string{"migrate"}},
		{"the target's libvirtd dies", func(w *world) { w.b.KillLibvirtd() }, nil, []string{"a"}, []string{"migrate"}},
		{"started there meanwhile", func(w *world) {
			if _, err := w.cb.StartXML(w.Context(), guestXML("g1", guestUUID), false); err != nil {
				w.Fatal(err)
			}
		}, nil, []string{"a", "b"}, []string{"migrate"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, true)
			var asked []string
			var waiting func(error)
			w.b.SetAsker(func(_, op, _ string, answer func(error)) {
				asked = append(asked, op)
				if waiting != nil {
					answer(tt.answer)
					return
				}
				waiting = answer
			})
			if err := w.a.StartMigrate(virt.MigrateParams{UUID: guestUUID, DestURI: w.b.URI(), Persist: true}, func(err error) { w.err = err; w.returned++ }); err != nil {
				t.Fatal(err)
			}
			w.f.Advance(10 * time.Second)
			if waiting == nil || w.returned != 0 {
				t.Fatalf("asked %v, returned %d", asked, w.returned)
			}
			if tt.meanwhile != nil {
				tt.meanwhile(w)
			}
			waiting(tt.answer)
			w.f.Advance(10 * time.Second)
			if on := w.f.RunningOn(guestUUID); !slices.Equal(on, tt.want) {
				t.Errorf("runs on %v, want %v", on, tt.want)
			}
			if !slices.Equal(asked, tt.asked) || w.returned != 1 || (w.err == nil) != slices.Contains(tt.asked, "prepare") {
				t.Errorf("asked %v, returned %d times, %v", asked, w.returned, w.err)
			}
		})
	}
}
