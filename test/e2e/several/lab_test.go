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
	"github.com/vireo-kvm/vireo/test/e2e/labtest"
	"github.com/vireo-kvm/vireo/test/lab"
)

// fleet is the one lab of this package: three managers, three nodes of etcd, three
// hosts, and two guests that begin on h1.
var fleet labtest.Fleet

func TestMain(m *testing.M) {
	os.Exit(fleet.Main(m, lab.Options{Hosts: 3, Guests: 2, GuestsOn: "h1", ShortKeepalive: true, Store: "etcd", Managers: 3}))
}

// leader waits until a manager leads, other than one.
func leader(t *testing.T, not string) (name string) {
	t.Helper()
	fleet.Until(t, 20*time.Second, func() string {
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
	return fleet.Until(t, limit, func() string {
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
	fleet.Until(t, 90*time.Second, func() string {
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
		hosts, err := api.ListHosts(t.Context(), connect.NewRequest(&managerv1.ListHostsRequest{}))
		if err != nil {
			return err.Error()
		}
		for _, h := range hosts.Msg.GetHosts() {
			if h.GetMemoryKib() == 0 {
				return h.GetName() + " has not said how much memory it has"
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
		for _, guest := range fleet.On(t, h) {
			fleet.Must(t, "claims", "move", "--to", "h1", "--reason", "the test is over", guest)
		}
	}
	fleet.Until(t, time.Minute, func() string {
		if n := len(fleet.On(t, "h1")); n < len(fleet.Guests) || len(fleet.On(t, "h2"))+len(fleet.On(t, "h3")) > 0 {
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
	fleet.Must(t, "return", host, "--reason", "the test is over")
}
