//go:build e2e

package several

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/e2e/labtest"
)

// follows is how long agents may take to follow a leader that was lost, in
// seconds: five, of which a busy machine takes as many again.
const follows = 10 * time.Second

func TestEvacuate(t *testing.T) {
	home(t)
	fleet.Watched(t, 3*time.Second, func() { fleet.Must(t, "evacuate", "h1", "--yes", "--reason", "to see it empty") })
	if left := fleet.On(t, "h1"); len(left) != 0 {
		t.Errorf("evacuate returned 0 and %v are on h1", left)
	}
	settled(t)
}

// slow lets moves away from h1 take seconds.
func slow(t *testing.T) {
	t.Helper()
	for _, h := range []string{"h2", "h3"} {
		if err := fleet.Shape(t.Context(), "h1", h, "100mbit"); err != nil {
			t.Fatal(err)
		}
	}
}

// copying waits until a guest is on its way from h1, and returns its move.
func copying(t *testing.T) (id string) {
	t.Helper()
	fleet.Until(t, 30*time.Second, func() string {
		api, err := fleet.API()
		if err != nil {
			return err.Error()
		}
		moves, err := api.ListMigrations(t.Context(), connect.NewRequest(&managerv1.ListMigrationsRequest{OpenOnly: true}))
		if err != nil {
			return err.Error()
		}
		for _, m := range moves.Msg.GetMigrations() {
			if m.Source == "h1" && m.State == "running" {
				id = m.Id
				return ""
			}
		}
		return "nothing is on its way from h1"
	})
	return id
}

// ends waits until a move is done, in the word of the manager that leads by then.
func ends(t *testing.T, id string) {
	t.Helper()
	fleet.Until(t, 90*time.Second, func() string {
		api, err := fleet.API()
		if err != nil {
			return err.Error()
		}
		m, err := api.GetMigration(t.Context(), connect.NewRequest(&managerv1.GetMigrationRequest{Id: id}))
		if err != nil {
			return err.Error()
		}
		if s := m.Msg.GetMigration().GetState(); s != "done" {
			return id + " is " + s
		}
		return ""
	})
}

// TestLeaderLostInMidEvacuation: whatever takes the leader away, the next one goes
// on with the same moves, and the agents are with it in time.
func TestLeaderLostInMidEvacuation(t *testing.T) {
	for _, tt := range []struct {
		name string
		long bool // only when there is time
		lose func(ctx context.Context, leader string) error
	}{
		{"killed", false, func(ctx context.Context, leader string) error {
			return fleet.Signal(ctx, leader, "manager", unix.SIGKILL)
		}},
		{"its machine dead", true, func(_ context.Context, leader string) error { return fleet.Crash(leader) }},
		{"cut off from etcd", true, func(ctx context.Context, leader string) error {
			for _, node := range fleet.EtcdNames() {
				if err := fleet.Cut(ctx, leader, node, false); err != nil {
					return err
				}
			}
			return nil
		}},
		{"cut off from everybody", false, func(ctx context.Context, leader string) error {
			for _, m := range append(append(fleet.EtcdNames(), fleet.Followers(leader)...), "h1", "h2", "h3") {
				if err := fleet.Cut(ctx, leader, m, false); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		if tt.long && !labtest.Long() {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			first := leader(t, "")
			was, err := status(t, first)
			if err != nil {
				t.Fatal(err)
			}
			fleet.Watched(t, 3*time.Second, func() {
				slow(t)
				fleet.Must(t, "evacuate", "h1", "--yes", "--detach", "--reason", "to lose the leader on the way")
				move := copying(t)
				begun := time.Now()
				if err := tt.lose(t.Context(), first); err != nil {
					t.Fatal(err)
				}
				next := leader(t, first)
				followed(t, follows, next)
				took := time.Since(begun)
				t.Logf("%s leads and has all agents %.1f s after %s was lost", next, took.Seconds(), first)
				if took > follows {
					t.Errorf("the agents followed after %s", took)
				}
				now, err := status(t, next)
				if err != nil {
					t.Fatal(err)
				}
				if now.GetTerm() <= was.GetTerm() || now.GetGeneration() != was.GetGeneration() {
					t.Errorf("generation %d term %d after generation %d term %d", now.GetGeneration(), now.GetTerm(), was.GetGeneration(), was.GetTerm())
				}
				ends(t, move)
			})
			fleet.Until(t, 60*time.Second, func() string {
				if left := fleet.On(t, "h1"); len(left) > 0 {
					return fmt.Sprintf("%v are still on h1", left)
				}
				return ""
			})
			settled(t)
		})
	}
}

// TestLeaderStopped: a leader that stood still for longer than its lease neither
// writes nor answers when it goes on.
func TestLeaderStopped(t *testing.T) {
	home(t)
	old := leader(t, "")
	api, err := fleet.APIOf(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := fleet.Signal(t.Context(), old, "manager", unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// These wait in its sockets until it goes on.
	type answer struct {
		what string
		err  error
	}
	answers := make(chan answer, 3)
	go func() {
		_, err := api.GetStatus(context.Background(), connect.NewRequest(&managerv1.GetStatusRequest{}))
		answers <- answer{"a read", err}
	}()
	go func() {
		_, err := api.SetAutomation(context.Background(), connect.NewRequest(&managerv1.SetAutomationRequest{On: false, Reason: "of an old leader"}))
		answers <- answer{"a write", err}
	}()
	go func() {
		_, err := api.EvacuateHost(context.Background(), connect.NewRequest(&managerv1.EvacuateHostRequest{Host: "h1", Reason: "of an old leader"}))
		answers <- answer{"an evacuation", err}
	}()
	next := leader(t, old)
	followed(t, follows, next)
	before, err := status(t, next)
	if err != nil {
		t.Fatal(err)
	}
	if err := fleet.Signal(t.Context(), old, "manager", unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		a := <-answers
		if a.err == nil {
			t.Errorf("%s was answered by a leader that had lost its lease", a.what)
		} else {
			t.Logf("%s: %v", a.what, a.err)
		}
	}
	fleet.Until(t, 20*time.Second, func() string {
		_, err := status(t, old)
		if err == nil {
			return old + " still answers"
		}
		if !strings.Contains(err.Error(), "does not lead") {
			return err.Error()
		}
		return ""
	})
	after, err := status(t, next)
	if err != nil {
		t.Fatal(err)
	}
	if after.GetTerm() != before.GetTerm() || !after.GetAutomation() || after.GetMigrationsOpen() != 0 {
		t.Errorf("something was written in the old term: %v after %v", after, before)
	}
	if int(after.GetHostsConnected()) != len(fleet.Hosts) {
		t.Errorf("%d agents are with %s", after.GetHostsConnected(), next)
	}
	settled(t)
	if left := fleet.On(t, "h1"); len(left) != len(fleet.Guests) {
		t.Errorf("an old leader has moved guests: %v are on h1", left)
	}
}

// TestEtcdMinority: with one node of three away everything goes on.
func TestEtcdMinority(t *testing.T) {
	for _, node := range fleet.EtcdNames() {
		t.Run(node, func(t *testing.T) {
			home(t)
			if err := fleet.Signal(t.Context(), node, "etcd", unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			fleet.Watched(t, 3*time.Second, func() {
				// The node may have been etcd's own leader; the managers' may change with it.
				fleet.Until(t, 20*time.Second, func() string {
					if out, err := fleet.Vireo(t.Context(), "evacuate", "h1", "--yes", "--reason", "without "+node); err != nil {
						return fmt.Sprint(out, err)
					}
					return ""
				})
			})
			if left := fleet.On(t, "h1"); len(left) != 0 {
				t.Errorf("%v are on h1", left)
			}
		})
		if !labtest.Long() {
			break
		}
	}
}

// TestEtcdMajority: with two nodes of three away nobody leads, nothing is granted
// and no guest is harmed; with one of them back all goes on.
func TestEtcdMajority(t *testing.T) {
	home(t)
	first := leader(t, "")
	was, err := status(t, first)
	if err != nil {
		t.Fatal(err)
	}
	fleet.Watched(t, 3*time.Second, func() {
		for _, node := range fleet.EtcdNames()[:2] {
			if err := fleet.Signal(t.Context(), node, "etcd", unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		took := fleet.Until(t, 10*time.Second, func() string {
			for _, m := range fleet.ManagerNames() {
				if _, err := status(t, m); err == nil {
					return m + " still leads"
				}
			}
			return ""
		})
		t.Logf("nobody leads %.1f s after the majority was lost", took.Seconds())
		for _, m := range fleet.ManagerNames() {
			api, err := fleet.APIOf(m)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if _, err := api.EvacuateHost(ctx, connect.NewRequest(&managerv1.EvacuateHostRequest{Host: "h1", Reason: "without etcd"})); err == nil {
				t.Errorf("%s has begun an evacuation without etcd", m)
			}
			cancel()
		}
		if err := fleet.Signal(t.Context(), fleet.EtcdNames()[0], "etcd", unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		next := leader(t, "")
		followed(t, 30*time.Second, next)
		now, err := status(t, next)
		if err != nil {
			t.Fatal(err)
		}
		if now.GetTerm() <= was.GetTerm() || now.GetMigrationsOpen() != 0 {
			t.Errorf("after the majority came back: term %d after %d, %d moves", now.GetTerm(), was.GetTerm(), now.GetMigrationsOpen())
		}
	})
	settled(t)
	fleet.Must(t, "evacuate", "h1", "--yes", "--reason", "with etcd back")
}
