package handshake

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/agent/dial"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/pki"
)

func hello(host string) *agentv1.Hello {
	return &agentv1.Hello{Identity: &agentv1.Identity{Host: host}, Protocol: 1}
}

func note(text string) *agentv1.AgentMessage {
	return &agentv1.AgentMessage{Body: &agentv1.AgentMessage_Note{Note: &agentv1.Note{Text: text}}}
}

func ask(id uint64) *agentv1.ManagerMessage {
	return &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Ask{Ask: &agentv1.Ask{Id: id}}}
}

func open(t *testing.T, h *house, d *dial.Dialer, host string) (agent.Session, *conversation) {
	t.Helper()
	s, err := d.Dial(t.Context(), hello(host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if m, err := s.Recv(); err != nil || m.GetWelcome().GetSession() != "s1" {
		t.Fatalf("the first message is %v, %v", m, err)
	}
	return s, wait(t, h.sessions, "session at the manager")
}

func TestSessionCarriesBothWays(t *testing.T) {
	h := newHouse(t)
	id := h.enrolled("h1")
	s, c := open(t, h, h.dialer(id), "h1")
	if c.peer != (pki.Peer{Host: "h1", Serial: pki.Serial(id.Certificate.Leaf), Ends: id.Certificate.Leaf.NotAfter}) {
		t.Errorf("peer %v", c.peer)
	}
	for i := range 50 {
		if err := s.Send(note("n")); err != nil {
			t.Fatal(err)
		}
		if err := c.link.Send(ask(uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if m := wait(t, c.got, "note"); m.GetNote().GetText() != "n" {
			t.Fatalf("got %v", m)
		}
		if m, err := s.Recv(); err != nil || m.GetAsk().GetId() != uint64(i) {
			t.Fatalf("got %v, %v; want ask %d", m, err, i)
		}
	}
	s.Close()
	wait(t, c.closed, "end at the manager")
	if _, err := s.Recv(); err == nil {
		t.Error("a closed session goes on")
	}
	if err := c.link.Send(ask(1)); err == nil {
		t.Error("a closed link takes messages")
	}
}

// What an agent says of itself proves nothing: the core gets the name that the
// certificate carries.
func TestForgedHost(t *testing.T) {
	h := newHouse(t)
	_, c := open(t, h, h.dialer(h.enrolled("h1")), "h2")
	if c.peer.Host != "h1" || c.hello.GetIdentity().GetHost() != "h2" {
		t.Errorf("peer %v says %v", c.peer, c.hello)
	}
}

func TestSessionNeedsAnAgentsCertificate(t *testing.T) {
	h := newHouse(t)
	for _, role := range []pki.Role{pki.Viewer, pki.Admin} {
		cert, _ := h.operator(role)
		_, err := h.dialer(dial.Identity{Certificate: cert, CA: h.ca.Pool()}).Dial(t.Context(), hello("h1"))
		if connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s: %v", role, err)
		}
	}
	if _, err := h.dialer(dial.Identity{CA: h.ca.Pool()}).Dial(t.Context(), hello("h1")); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("nobody: %v", err)
	}
	other := newHouse(t)
	stranger := other.enrolled("h1")
	stranger.CA = h.ca.Pool()
	if _, err := h.dialer(stranger).Dial(t.Context(), hello("h1")); err == nil {
		t.Error("a certificate of another CA opened a session")
	}
	if len(h.sessions) != 0 {
		t.Error("the core heard of a session")
	}
}

func TestAgentChecksTheManager(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	id := h.enrolled("h1")
	d := dial.NewDialer(dial.Options{Managers: []string{other.url}, Identity: id, Clock: clock{}, Random: func() float64 { return 0 }})
	if _, err := d.Dial(t.Context(), hello("h1")); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a manager of another CA: %v", err)
	}
}

func TestRevoked(t *testing.T) {
	h := newHouse(t)
	id := h.enrolled("h1")
	open(t, h, h.dialer(id), "h1")
	h.revoke(pki.Serial(id.Certificate.Leaf))
	if _, err := h.dialer(id).Dial(t.Context(), hello("h1")); err == nil {
		t.Error("a revoked host opened a session")
	}

	cert, serial := h.operator(pki.Admin)
	client := h.client(cert)
	if _, err := h.api(client).ListHosts(t.Context(), listHosts()); err != nil {
		t.Fatal(err)
	}
	h.revoke(serial)
	// The same connection: no handshake asks again.
	if _, err := h.api(client).ListHosts(t.Context(), listHosts()); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("over the open connection: %v", err)
	}
	if _, err := h.api(h.client(cert)).ListHosts(t.Context(), listHosts()); err == nil {
		t.Error("over a new connection")
	}
}

func TestRefusedSession(t *testing.T) {
	h := newHouse(t)
	d := h.dialer(h.enrolled("h1"))
	h.refuse = apierr.New(apierr.Policy, "not today")
	_, err := d.Dial(t.Context(), hello("h1"))
	if e, ok := apierr.FromConnect(err); !ok || e.Kind != apierr.Policy || !strings.Contains(e.Text, "not today") {
		t.Errorf("Dial = %v", err)
	}
}

func TestLinkCloseTellsBothSides(t *testing.T) {
	h := newHouse(t)
	s, c := open(t, h, h.dialer(h.enrolled("h1")), "h1")
	if err := c.link.Send(ask(9)); err != nil {
		t.Fatal(err)
	}
	reason := errors.New("another session of this host has begun")
	c.link.Close(reason)
	if err := wait(t, c.closed, "end at the manager"); !errors.Is(err, reason) {
		t.Errorf("the manager hears %v", err)
	}
	if m, err := s.Recv(); err != nil || m.GetAsk().GetId() != 9 {
		t.Errorf("what was queued before the end: %v, %v", m, err)
	}
	if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), reason.Error()) {
		t.Errorf("the agent hears %v", err)
	}
}

// An agent that reads nothing must not hold the manager's core back.
func TestAgentThatDoesNotRead(t *testing.T) {
	h := newHouse(t)
	_, c := open(t, h, h.dialer(h.enrolled("h1")), "h1")
	big := &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Welcome{Welcome: &agentv1.Welcome{Session: strings.Repeat("x", 1<<16)}}}
	full := false
	for range 10000 {
		if c.link.Send(big) != nil {
			full = true
			break
		}
	}
	if !full {
		t.Fatal("the queue has no end")
	}
	if err := wait(t, c.closed, "end at the manager"); err == nil {
		t.Error("ended in order")
	}
}

func TestReceivedHoldsTheAgentBack(t *testing.T) {
	h := newHouse(t)
	h.gate = make(chan struct{})
	s, c := open(t, h, h.dialer(h.enrolled("h1")), "h1")
	if err := s.Send(note("slow")); err != nil {
		t.Fatal(err)
	}
	h.gate <- struct{}{} // Received has begun
	c.link.Close(nil)
	select {
	case <-c.closed:
		t.Fatal("Closed while Received had not returned")
	case <-time.After(50 * time.Millisecond):
	}
	close(h.gate)
	wait(t, c.got, "message")
	wait(t, c.closed, "end at the manager")
}

func TestReconnect(t *testing.T) {
	h := newHouse(t)
	d := h.dialer(h.enrolled("h1"))
	s, c := open(t, h, d, "h1")
	h.stop()
	if err := wait(t, c.closed, "end at the manager"); err == nil {
		t.Error("the manager's stop is no reason")
	}
	if _, err := s.Recv(); err == nil {
		t.Error("the session outlived the manager")
	}
	if _, err := d.Dial(t.Context(), hello("h1")); err == nil {
		t.Error("nobody is there, and Dial succeeded")
	}
	h.open(strings.TrimPrefix(h.url, "https://"))
	t.Cleanup(h.stop)
	for range 20 {
		if s, err := d.Dial(t.Context(), hello("h1")); err == nil {
			s.Close()
			return
		}
	}
	t.Error("never came back")
}

func TestDialEndsWithItsContext(t *testing.T) {
	h := newHouse(t)
	d := h.dialer(h.enrolled("h1"))
	ctx, cancel := context.WithCancel(t.Context())
	s, err := d.Dial(ctx, hello("h1"))
	if err != nil {
		t.Fatal(err)
	}
	c := wait(t, h.sessions, "session")
	cancel()
	wait(t, c.closed, "end at the manager")
	s.Recv() // Welcome
	if _, err := s.Recv(); err == nil {
		t.Error("the session outlived its context")
	}
	if _, err := d.Dial(ctx, hello("h1")); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v", err)
	}
}
