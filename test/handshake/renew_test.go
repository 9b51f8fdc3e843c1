package handshake

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/dial"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/pki"
)

// later is a clock of some years from now.
type later struct {
	clock
	by time.Duration
}

func (c later) Now() time.Time { return time.Now().Add(c.by) }

func (c *core) renewed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renewals
}

const year = 365 * 24 * time.Hour

// renewing is a host in the last year of its certificate, or before.
func renewing(t *testing.T, h *house, age time.Duration) (e dial.Enrolment, state string, d *dial.Dialer) {
	t.Helper()
	e = h.enrolment("h1", h.token("h1"))
	if _, err := dial.Enroll(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	id, err := dial.Load(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // certificates count seconds: the next one ends later
	state = t.TempDir()
	return e, state, dial.NewDialer(dial.Options{Managers: []string{h.url}, Identity: id, Clock: later{by: age},
		Random: func() float64 { return 0 }, Save: func(text []byte) error { return dial.Save(state, text) }})
}

func load(t *testing.T, dir, state string) dial.Identity {
	t.Helper()
	id, err := dial.LoadRenewed(dir, state)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestHostRenews: in its certificate's last year a host gets another one, which is
// the same host to the manager, and is there after the agent's restart.
func TestHostRenews(t *testing.T) {
	h := newHouse(t)
	other := h.enrolment("h1", h.token("h1"))
	if _, err := dial.Enroll(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	e, state, d := renewing(t, h, 4*year+24*time.Hour)
	first := load(t, e.Dir, state)
	_, c := open(t, h, d, "h1")
	if h.renewed() != 1 || c.peer.Serial != pki.Serial(first.Certificate.Leaf) {
		t.Fatalf("%d renewals, peer %v", h.renewed(), c.peer)
	}
	next := load(t, e.Dir, state)
	if next.Certificate.Leaf.Equal(first.Certificate.Leaf) || !next.Certificate.Leaf.NotAfter.After(first.Certificate.Leaf.NotAfter) {
		t.Fatalf("the next agent begins with the certificate until %s", next.Certificate.Leaf.NotAfter)
	}
	info, err := os.Stat(filepath.Join(state, "agent.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kept as %v, %v", info, err)
	}
	for what, dialer := range map[string]*dial.Dialer{"the same agent": d, "the next agent": h.dialer(next)} {
		_, c := open(t, h, dialer, "h1")
		if c.peer != (pki.Peer{Host: "h1", Serial: pki.Serial(first.Certificate.Leaf), Ends: next.Certificate.Leaf.NotAfter}) {
			t.Errorf("%s is %v, enrolled as %s", what, c.peer, pki.Serial(first.Certificate.Leaf))
		}
	}
	if h.renewed() != 1 {
		t.Errorf("asked %d times within an hour", h.renewed())
	}

	// What was renewed of one enrolment is none of another's, however late it ends.
	if id := load(t, other.Dir, state); id.Certificate.Leaf.Equal(next.Certificate.Leaf) {
		t.Error("the certificate of another enrolment is in use")
	}
	if err := os.WriteFile(filepath.Join(state, "agent.pem"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	load(t, e.Dir, state)
}

func TestHostRenewsNotTooEarly(t *testing.T) {
	h := newHouse(t)
	_, state, d := renewing(t, h, 4*year-24*time.Hour)
	open(t, h, d, "h1")
	if _, err := os.Stat(filepath.Join(state, "agent.pem")); h.renewed() != 0 || !os.IsNotExist(err) {
		t.Errorf("%d renewals, %v", h.renewed(), err)
	}
}

// TestRenewalRefused: the session goes on with the certificate that there is.
func TestRenewalRefused(t *testing.T) {
	h := newHouse(t)
	e, state, d := renewing(t, h, 4*year+24*time.Hour)
	h.mu.Lock()
	h.noRenewal = apierr.New(apierr.Permission, "not now")
	h.mu.Unlock()
	s, c := open(t, h, d, "h1")
	if err := s.Send(note("n")); err != nil {
		t.Fatal(err)
	}
	if m := wait(t, c.got, "note"); m.GetNote().GetText() != "n" {
		t.Errorf("got %v", m)
	}
	first, err := dial.Load(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if h.renewed() != 1 || !load(t, e.Dir, state).Certificate.Leaf.Equal(first.Certificate.Leaf) {
		t.Errorf("%d renewals, and another certificate", h.renewed())
	}
}
