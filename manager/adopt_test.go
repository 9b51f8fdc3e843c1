package manager

import (
	"fmt"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/store"
)

// TestAdoptsARunningFleet: 200 guests on 10 hosts are claimed where they run, in
// bounded transactions, and nothing is stopped, started or moved.
func TestAdoptsARunningFleet(t *testing.T) {
	var hosts []string
	for i := range 10 {
		hosts = append(hosts, fmt.Sprintf("h%d", i))
	}
	w := newWorld(t, hosts...)
	for i := range 200 {
		w.guest(hosts[i%10], fmt.Sprintf("g%d", i), 512)
	}
	for i := range 50 {
		w.shut(hosts[i%10], fmt.Sprintf("off%d", i), 512)
	}
	w.guest("h3", "twin", 512) // the same UUID on two hosts, one disk
	w.guest("h7", "twin", 512)
	w.guest("h4", "clone", 512) // the same UUID, other disks
	w.guest("h8", "clone", 512)
	for host, guest := range map[string]string{"h3": "twin", "h7": "twin", "h4": "clone", "h8": "clone"} {
		w.hosts[host].domains["uuid-"+guest].planted = true
	}
	w.hosts["h8"].domains["uuid-clone"].disk = "nbd:another"
	before := w.store.updates
	w.pass(10 * time.Second)
	w.restart()
	w.pass(10 * time.Second)

	for i := range 200 {
		if cl := w.claim(fmt.Sprintf("g%d", i)); cl.Holder != hosts[i%10] || cl.Phase != store.Held || w.where(fmt.Sprintf("g%d", i)) != hosts[i%10] {
			t.Fatalf("g%d: claim %+v", i, cl)
		}
	}
	if n := len(w.core.claims); n != 202 {
		t.Errorf("%d claims", n)
	}
	for _, o := range w.orders {
		if !strings.Contains(o, " confirm ") {
			t.Errorf("order %s", o)
		}
	}
	if rows := w.rows(); len(rows) != 0 {
		t.Errorf("moves %v", rows)
	}
	for guest, clone := range map[string]bool{"twin": false, "clone": true} {
		if cl := w.claim(guest); cl.Phase != store.Ambiguous {
			t.Errorf("%s: claim %+v", guest, cl)
		}
		said := false
		for _, e := range w.events("claim.ambiguous") {
			if e.Domain == "uuid-"+guest {
				said = strings.Contains(e.Text, "a clone that has kept its UUID")
			}
		}
		if said != clone {
			t.Errorf("%s: called a clone %v", guest, said)
		}
	}
	if n := w.store.updates - before; n > 400 {
		t.Errorf("%d transactions", n)
	}
}

// TestReplacedHost: a machine that takes another's name inherits nothing and
// releases nothing; only a person's word of the old one's death makes it free.
func TestReplacedHost(t *testing.T) {
	w := fleet(t)
	ca, err := pki.NewCA(w.now)
	if err != nil {
		t.Fatal(err)
	}
	request := csr(t, "h1")
	enrol := func() error {
		token := ca.NewToken()
		err := w.core.update("a test", func(tx store.Tx) error {
			return tx.PutToken(store.Token{ID: token.ID, Kind: store.EnrolToken, Host: "h1", Hash: token.SecretHash(), Replace: true, Created: w.now, Expires: w.now.Add(time.Hour)})
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.core.enrol(w.now, ca, token, &agentv1.EnrollRequest{Host: "h1", MachineId: "new", Csr: request})
		return err
	}
	w.hosts["h1"].disconnect()
	refusedWith(t, enrol(), apierr.Permission, "h1 still has 4 claims", "vireo hosts declare-dead h1")
	if cl := w.claim("g1"); cl.Holder != "h1" || w.core.hosts["h1"].MachineID != "machine-h1" {
		t.Fatalf("claim %+v, machine %s", cl, w.core.hosts["h1"].MachineID)
	}
	if _, err := w.core.declareDead(w.now, "h1", "alice", "burnt"); err != nil {
		t.Fatal(err)
	}
	if err := enrol(); err != nil {
		t.Fatal(err)
	}
	h := w.core.hosts["h1"]
	if h.dead() || h.MachineID != "new" || len(h.last) != 0 {
		t.Errorf("host %+v, seen there %v", h.Host, h.last)
	}
}

// TestRemovedHost needs no claim left, and its farewell or a person's word.
func TestRemovedHost(t *testing.T) {
	w := fleet(t)
	remove := func(host string) error { return w.core.remove(w.now, host, "alice", "sold") }
	refusedWith(t, remove("h1"), apierr.Claim, "h1 still has the claim of")
	refusedWith(t, remove("h2"), apierr.Policy, "has not promised to take nothing", "vireo evacuate h2")
	if err := w.core.maintain(w.now, "h2", "alice", "to be sold"); err != nil {
		t.Fatal(err)
	}
	w.pass(3 * time.Second)
	if err := remove("h2"); err != nil {
		t.Errorf("after its farewell: %v", err)
	}
	w.hosts["h3"].disconnect()
	refusedWith(t, remove("h3"), apierr.Policy, "h3 is unknown", "declare-dead h3")
	if _, err := w.core.declareDead(w.now, "h3", "alice", "burnt"); err != nil {
		t.Fatal(err)
	}
	if err := remove("h3"); err != nil {
		t.Errorf("dead: %v", err)
	}
}

// TestMaintenanceAndPreference: what an operator says about hosts.
func TestMaintenanceAndPreference(t *testing.T) {
	w := fleet(t)
	refusedWith(t, w.core.maintain(w.now, "h2", "alice", ""), apierr.Input, "reason")
	refusedWith(t, w.core.prefer(w.now, "h1", "h1", "alice", ""), apierr.Input, "its own")
	refusedWith(t, w.core.prefer(w.now, "h1", "h9", "alice", ""), apierr.NotFound, "no host h9")
	if err := w.core.prefer(w.now, "h1", "h3", "alice", "same rack"); err != nil {
		t.Fatal(err)
	}
	row, err := w.core.moveByHand(w.now, by("g1"), "")
	if err != nil || row.Target != "h3" {
		t.Errorf("target %s, %v", row.Target, err)
	}
	if err := w.core.maintain(w.now, "h3", "alice", "new memory"); err != nil {
		t.Fatal(err)
	}
	w.pass(3 * time.Second)
	if !w.hosts["h3"].takes || w.state("h3") != store.Maintenance {
		t.Errorf("h3 takes something: %v, %s", w.hosts["h3"].takes, w.state("h3"))
	}
	_, err = w.core.moveByHand(w.now, by("g2"), "h3")
	refusedWith(t, err, apierr.Policy, "it is maintenance")
	if err := w.core.giveBack(w.now, "h3", "alice", "done"); err != nil {
		t.Fatal(err)
	}
	w.pass(3 * time.Second)
	if w.hosts["h3"].takes || w.state("h3") != store.Healthy {
		t.Errorf("h3 %s, takes nothing %v", w.state("h3"), w.hosts["h3"].takes)
	}
}

// TestLeftovers: what lies about is listed with what it is.
func TestLeftovers(t *testing.T) {
	w := fleet(t)
	w.shut("h2", "g1", 128)  // left by a move
	w.shut("h3", "solo", 64) // nobody's leftover
	w.shut("h3", "saved", 64)
	w.hosts["h3"].domains["uuid-saved"].saved = true
	w.shut("h3", "g2", 128)
	w.hosts["h3"].domains["uuid-g2"].disk = "nbd:another"
	w.pass(2 * time.Second)
	var got []string
	for _, l := range w.core.leftovers() {
		got = append(got, strings.Join([]string{l.Host, l.Kind, l.DomainName, l.Remove}, " | "))
	}
	want := []string{
		"h2 | definition | g1 | virsh undefine uuid-g1",
		"h3 | clone | g2 | ",
		"h3 | managed_save | saved | virsh managedsave-remove uuid-saved",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
