package hook

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
)

// host is a libvirtd that calls the hook, or does not.
func host(t *testing.T, called bool) (*virttest.Host, virt.Conn) {
	t.Helper()
	h := virttest.NewFleet([]string{"h1"}).Host("h1")
	if called {
		h.SetHook(func(name, op, sub, _ string) error {
			if Matters(op, sub) && IsProbeName(name) {
				return errors.New(ProbeAnswer())
			}
			return nil
		})
	}
	c, err := h.Opener()(t.Context(), h.URI(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return h, c
}

// names are all domains of a host.
func names(t *testing.T, c virt.Conn) (out []string) {
	t.Helper()
	all, err := c.Domains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		out = append(out, d.Name)
	}
	slices.Sort(out)
	return out
}

// interrupted does something else right after a start.
type interrupted struct {
	virt.Conn
	meanwhile func()
}

func (c interrupted) StartXML(ctx context.Context, xml string, paused bool) (string, error) {
	uuid, err := c.Conn.StartXML(ctx, xml, paused)
	c.meanwhile()
	return uuid, err
}

// TestProbesAtOnce: what one proves, another does not disturb, and nothing stays.
func TestProbesAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		called bool
		want   error
	}{{"called", true, nil}, {"not called", false, ErrNotCalled}} {
		t.Run(tt.name, func(t *testing.T) {
			h, c := host(t, tt.called)
			other, err := h.Opener()(t.Context(), h.URI(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			inner := 0
			outer := Probe(t.Context(), interrupted{c, func() {
				inner++
				if err := Probe(t.Context(), other); !errors.Is(err, tt.want) {
					t.Errorf("the one in between: %v, want %v", err, tt.want)
				}
			}})
			if !errors.Is(outer, tt.want) {
				t.Errorf("the one around it: %v, want %v", outer, tt.want)
			}
			if inner == 0 {
				t.Error("nothing was in between")
			}
			// As they come: at any moment of each other.
			ended := make(chan error, 8)
			for range cap(ended) {
				go func() { ended <- Probe(t.Context(), c) }()
			}
			for range cap(ended) {
				if err := <-ended; !errors.Is(err, tt.want) {
					t.Errorf("one of many: %v, want %v", err, tt.want)
				}
			}
			if left := names(t, c); len(left) > 0 {
				t.Errorf("%v are left", left)
			}
		})
	}
}

// TestLeftProbe: what a program has left that was killed while it proved the hook
// goes with the next proof, and nothing that only looks like it.
func TestLeftProbe(t *testing.T) {
	_, c := host(t, false)
	start := func(p probe, paused bool) {
		t.Helper()
		if _, err := c.StartXML(t.Context(), p.xml("qemu"), paused); err != nil {
			t.Fatal(err)
		}
	}
	start(newProbe(), true)
	start(newProbe(), true)
	start(probe{"g1", "11111111-2222-4333-8444-555555555555"}, true)
	start(probe{"g2", newProbe().uuid}, true)
	start(probe{newProbe().name, "11111111-2222-4333-8444-666666666666"}, true)
	runs := newProbe()
	start(runs, false)
	before := len(names(t, c))
	if err := Probe(t.Context(), c); !errors.Is(err, ErrNotCalled) {
		t.Fatal(err)
	}
	left := names(t, c)
	if before != 6 || len(left) != 4 || !slices.Contains(left, "g1") || !slices.Contains(left, "g2") || !slices.Contains(left, runs.name) {
		t.Errorf("of %d are left %v", before, left)
	}
}

func TestProbesDiffer(t *testing.T) {
	seen := map[probe]bool{}
	for range 100 {
		p := newProbe()
		if seen[p] || !IsProbe(p.uuid) || !IsProbeName(p.name) {
			t.Fatalf("probe %+v", p)
		}
		seen[p] = true
	}
}
