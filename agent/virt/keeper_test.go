package virt_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
)

// TestKeeperBacksOff counts the tries of a keeper whose libvirtd is away.
func TestKeeperBacksOff(t *testing.T) {
	tries := 0
	k := virt.NewKeeper(func(context.Context, string, virt.Sink) (virt.Conn, error) {
		tries++
		return nil, &virt.Error{Op: "open", Kind: virt.KindNotConnected}
	}, "qemu:///system", nil)
	now := time.Unix(1000, 0)
	var waits []time.Duration
	last := now
	for range 1000 {
		before := tries
		if err := k.Ensure(t.Context(), now); !virt.IsNotConnected(err) {
			t.Fatalf("Ensure without libvirtd: %v", err)
		}
		if tries > before {
			waits = append(waits, now.Sub(last))
			last = now
		}
		now = now.Add(50 * time.Millisecond)
	}
	want := []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second}
	if !slices.Equal(waits, want) {
		t.Errorf("waited %v between tries, want %v", waits, want)
	}
	if _, _, err := k.Conn(); !virt.IsNotConnected(err) {
		t.Errorf("Conn: %v", err)
	}
}

func TestKeeperComesBack(t *testing.T) {
	f := virttest.NewFleet([]string{"a"})
	var seen []virt.Event
	k := virt.NewKeeper(f.Host("a").Opener(), "qemu:///system", func(e virt.Event) { seen = append(seen, e) })
	now := time.Unix(0, 0)
	ensure := func() error { now = now.Add(time.Minute); return k.Ensure(t.Context(), now) }
	if err := ensure(); err != nil {
		t.Fatal(err)
	}
	if err := ensure(); err != nil { // nothing to do
		t.Fatal(err)
	}
	f.Host("a").KillLibvirtd()
	if _, _, err := k.Conn(); !virt.IsNotConnected(err) {
		t.Errorf("Conn while libvirtd is dead: %v", err)
	}
	if err := ensure(); !virt.IsNotConnected(err) {
		t.Errorf("Ensure while libvirtd is dead: %v", err)
	}
	f.Host("a").StartLibvirtd()
	if err := ensure(); err != nil {
		t.Fatal(err)
	}
	if _, n, err := k.Conn(); err != nil || n < 2 {
		t.Errorf("Conn: incarnation %d, %v", n, err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if err := ensure(); !virt.IsNotConnected(err) {
		t.Errorf("Ensure after Close: %v", err)
	}
	var kinds []virt.EventKind
	for _, e := range seen {
		kinds = append(kinds, e.Kind)
	}
	want := []virt.EventKind{virt.EventConnected, virt.EventDisconnected, virt.EventConnected}
	if !slices.Equal(kinds, want) || seen[0].Incarnation != 1 || seen[1].Incarnation != 1 || seen[2].Incarnation < 2 {
		t.Errorf("events: %+v", seen)
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("why")
	for _, c := range []struct {
		kind                      virt.Kind
		is                        func(error) bool
		refused, unknown, invalid bool
	}{
		{virt.KindNoDomain, virt.IsNoDomain, true, false, false},
		{virt.KindNotConnected, virt.IsNotConnected, false, true, false},
		{virt.KindTimeout, virt.IsTimeout, false, true, false},
		{virt.KindAlreadyRunning, virt.IsAlreadyRunning, true, false, true},
		{virt.KindOperationInvalid, virt.IsOperationInvalid, true, false, true},
		{virt.KindAborted, virt.IsAborted, true, false, false},
		{virt.KindNotAsExpected, virt.IsNotAsExpected, true, false, false},
		{virt.KindUnsupported, virt.IsUnsupported, true, false, false},
		{virt.KindRefused, virt.IsRefused, true, false, false},
	} {
		err := error(&virt.Error{Op: "resume", On: "u", Kind: c.kind, Message: "libvirt's words", Err: cause})
		err = errors.Join(errors.New("outer"), err)
		if !c.is(err) || virt.IsRefused(err) != c.refused || virt.OutcomeUnknown(err) != c.unknown ||
			virt.IsOperationInvalid(err) != c.invalid || !errors.Is(err, cause) || virt.Message(err) != "libvirt's words" {
			t.Errorf("%s: predicates are wrong", c.kind)
		}
	}
	if virt.IsRefused(nil) || virt.OutcomeUnknown(nil) || virt.IsRefused(cause) || virt.Message(nil) != "" || virt.Message(cause) != "why" {
		t.Error("an error that is not libvirt's was taken for one")
	}
}

func TestMigrateParams(t *testing.T) {
	good := virt.MigrateParams{UUID: "u", DestURI: "qemu+tcp://b/system", Guarded: true, Persist: true}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*virt.MigrateParams){
		"no domain":                          func(p *virt.MigrateParams) { p.UUID = "" },
		"no target":                          func(p *virt.MigrateParams) { p.DestURI = "" },
		"guarded post-copy":                  func(p *virt.MigrateParams) { p.PostCopy = true },
		"copied disks without the guard":     func(p *virt.MigrateParams) { p.Guarded, p.CopyDisks = false, []string{"vda"} },
		"one parallel connection":            func(p *virt.MigrateParams) { p.Parallel = 1 },
		"parallel post-copy":                 func(p *virt.MigrateParams) { p.Guarded, p.PostCopy, p.Parallel = false, true, 2 },
		"auto-converge over 99":              func(p *virt.MigrateParams) { p.AutoConverge, p.AutoConvergeInitial = true, 100 },
		"increment below 0":                  func(p *virt.MigrateParams) { p.AutoConverge, p.AutoConvergeIncrement = true, -1 },
		"auto-converge values without doing": func(p *virt.MigrateParams) { p.AutoConvergeInitial = 20 },
	} {
		p := good
		change(&p)
		if err := p.Validate(); !virt.IsRefused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
