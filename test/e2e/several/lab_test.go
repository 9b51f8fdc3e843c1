//go:build e2e

package several

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"connectrpc.com/connect"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/lab"
)

// fleet is the one lab of this package: three managers, three nodes of etcd, three
// hosts, and two guests that begin on h1.
var fleet *lab.Lab

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	fleet, err = lab.Up(context.Background(), lab.Options{
		Hosts: 3, Guests: 2, GuestsOn: "h1", ShortKeepalive: true, Store: "etcd", Managers: 3, Say: func(s string) { fmt.Println(s) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "no lab:", err)
		return 1
	}
	code := m.Run()
	if code != 0 && os.Getenv("KEEP") != "" {
		return code
	}
	if err := fleet.Down(); err != nil {
		fmt.Fprintln(os.Stderr, "the lab does not go down:", err)
		return 1
	}
	return code
}

// until waits for a condition, which returns "" or what is not yet, and returns
// how long it took.
func until(t *testing.T, limit time.Duration, missing func() string) time.Duration {
	t.Helper()
	begun := time.Now()
	for {
		what := missing()
		if what == "" {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			story(t)
			t.Fatalf("after %s: %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// story shows what helps to understand a failure.
func story(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"hosts"}, {"claims"}, {"migrations"}, {"events", "--last", "30"}} {
		out, err := fleet.Vireo(context.WithoutCancel(t.Context()), args...)
		t.Logf("$ vireo %v\n%s%v", args, out, err)
	}
}

// leader waits until a manager leads, other than one.
func leader(t *testing.T, not string) (name string) {
	t.Helper()
	until(t, 20*time.Second, func() string {
		var err error
		if name, err = fleet.Leader(t.Context()); err != nil {
			return err.Error()
		}
		if name == not {
			return name + " still leads"
		}
		return ""
	})
	return name
}

// status asks one manager.
func status(t *testing.T, manager string) (*managerv1.GetStatusResponse, error) {
	t.Helper()
	api, err := fleet.APIOf(manager)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	res, err := api.GetStatus(ctx, connect.NewRequest(&managerv1.GetStatusRequest{}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// followed waits until every agent speaks with a manager.
func followed(t *testing.T, limit time.Duration, manager string) time.Duration {
	t.Helper()
	return until(t, limit, func() string {
		s, err := status(t, manager)
		if err != nil {
			return err.Error()
		}
		if n := s.GetHostsConnected(); int(n) < len(fleet.Hosts) {
			return fmt.Sprintf("%d of %d agents have come to %s", n, len(fleet.Hosts), manager)
		}
		return ""
	})
}

// settled waits until every guest runs once where its claim is held, every host is
// in service, and nothing is on its way.
func settled(t *testing.T) {
	t.Helper()
	until(t, 90*time.Second, func() string {
		api, err := fleet.API()
		if err != nil {
			return err.Error()
		}
		claims, err := api.ListClaims(t.Context(), connect.NewRequest(&managerv1.ListClaimsRequest{}))
		if err != nil {
			return err.Error()
		}
		held := map[string]string{}
		for _, c := range claims.Msg.GetClaims() {
			if c.Phase == "held" {
				held[c.DomainName] = c.Holder
			}
		}
		s, err := api.GetStatus(t.Context(), connect.NewRequest(&managerv1.GetStatusRequest{}))
		if err != nil {
			return err.Error()
		}
		if n := s.Msg.GetMigrationsOpen(); n > 0 {
			return fmt.Sprintf("%d moves are open", n)
		}
		guests, err := fleet.GuestStates(t.Context())
		if err != nil {
			return err.Error()
		}
		for _, g := range guests {
			if len(g.Copies) != 1 || held[g.Name] != g.Host {
				return fmt.Sprintf("%s has the processes %+v, its claim is held by %q", g.Name, g.Copies, held[g.Name])
			}
		}
		return ""
	})
}

// home brings both guests back to h1, every host and every daemon into service.
func home(t *testing.T) {
	t.Helper()
	for _, name := range fleet.ManagerNames() {
		if m, err := fleet.Machine(t.Context(), name); err != nil {
			t.Fatal(err)
		} else if !m.Up {
			if err := fleet.Boot(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := fleet.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	followed(t, 30*time.Second, leader(t, ""))
	settled(t)
	for _, h := range []string{"h1", "h2", "h3"} {
		give(t, h)
	}
	for _, h := range []string{"h2", "h3"} {
		for _, guest := range on(t, h) {
			vireo(t, "claims", "move", "--to", "h1", "--reason", "the test is over", guest)
		}
	}
	until(t, time.Minute, func() string {
		if n := len(on(t, "h1")); n < len(fleet.Guests) || len(on(t, "h2"))+len(on(t, "h3")) > 0 {
			return fmt.Sprintf("%d guests are back on h1", n)
		}
		return ""
	})
	settled(t)
}

// give takes a host back into service, if it is out of it.
func give(t *testing.T, host string) {
	t.Helper()
	api, err := fleet.API()
	if err != nil {
		t.Fatal(err)
	}
	res, err := api.GetHost(t.Context(), connect.NewRequest(&managerv1.GetHostRequest{Name: host}))
	if err != nil {
		t.Fatal(err)
	}
	if state := res.Msg.GetHost().GetState(); state == "healthy" || state == "watch" {
		return
	}
	vireo(t, "return", host, "--reason", "the test is over")
}

// vireo runs the operator's command, which finds the leader by itself.
func vireo(t *testing.T, args ...string) {
	t.Helper()
	if out, err := fleet.Vireo(t.Context(), args...); err != nil {
		story(t)
		t.Fatalf("%v\n%s", err, out)
	}
}

// on returns the guests with a process on a host.
func on(t *testing.T, host string) (names []string) {
	t.Helper()
	guests, err := fleet.GuestStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guests {
		for _, c := range g.Copies {
			if c.Host == host {
				names = append(names, g.Name)
			}
		}
	}
	return names
}

// watched runs f and then looks at what the guests went through.
func watched(t *testing.T, f func()) {
	t.Helper()
	if err := fleet.Heartbeats().Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	f()
	time.Sleep(300 * time.Millisecond) // a beat of each, after all
	beats, err := fleet.Heartbeats().Guests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(beats) != len(fleet.Guests) {
		t.Errorf("%d of %d guests were heard", len(beats), len(fleet.Guests))
	}
	for _, b := range beats {
		if b.Restarts != 0 || b.Rewinds != 0 || b.DoubleSeconds != 0 || b.PatternErrors != 0 || b.DiskErrors != 0 || b.SilentMS > 3000 {
			t.Errorf("%s: %d restarts, %d rewinds, two senders in %d s, %d damaged pages, %d disk errors, silent for %.0f ms",
				b.Name, b.Restarts, b.Rewinds, b.DoubleSeconds, b.PatternErrors, b.DiskErrors, b.SilentMS)
		}
	}
}

// long says whether what takes longer is asked for too.
func long() bool { return os.Getenv("VIREO_LONG") != "" }
