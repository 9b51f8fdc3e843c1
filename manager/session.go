package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/store"
)

// protocol is the version of the conversation that this manager speaks.
const protocol = 1

// Session is one conversation with an agent. It belongs to the Core.
type Session struct {
	id   string
	host *host // nil when it was refused
	boot string
	link serve.Link
	seq  uint64
	over bool
}

// live says whether messages of this session still count.
func (s *Session) live() bool { return s.host != nil && !s.over && s.host.session == s }

// Connect judges who speaks and begins the conversation, or refuses it with a
// Welcome that says why.
func (c *Core) Connect(now time.Time, peer pki.Peer, hello *agentv1.Hello, link serve.Link) *Session {
	s := &Session{id: c.newID("s"), boot: hello.GetBootId(), link: link}
	h, why := c.admit(peer, hello, now)
	if why != "" {
		if c.book.refused[peer.Host] != why { // it will try again and again
			c.book.refused[peer.Host] = why
			c.log.Warn("session refused", "host", peer.Host, "reason", why)
			c.event(now, store.Event{Kind: "session.refused", Severity: store.Alarm, Host: peer.Host, Who: "agent " + peer.Host, Text: why})
		}
		s.over = true
		_ = link.Send(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Welcome{Welcome: &agentv1.Welcome{Refused: why}}})
		link.Close(errors.New(why))
		return s
	}
	c.hangUp(h, "the agent began another session")
	delete(c.book.refused, peer.Host)
	s.host = h
	h.session, h.certificate = s, peer.Ends
	h.reported, h.asked, h.libvirtd, h.takes = time.Time{}, 0, false, false
	h.seen = map[string]*sight{}
	h.Facts.AgentVersion = hello.GetAgentVersion()
	c.speaksAgain(h, s.boot, now)
	if h.BootID != s.boot {
		if h.BootID != "" {
			c.event(now, store.Event{Kind: "host.booted", Host: h.Name, Text: "the host has booted: nothing is held there before it is confirmed"})
		}
		h.BootID = s.boot
	}
	h.dirty = true
	c.silence(h, "its agent is here and has not reported yet", now)
	c.log.Info("session", "host", h.Name, "session", s.id, "boot", s.boot, "agent", hello.GetAgentVersion())
	c.send(s, &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Welcome{Welcome: &agentv1.Welcome{
		Session: s.id, Generation: c.id.Generation, Term: c.id.Term,
		ReportInterval: durationpb.New(c.pol.reportInterval()),
	}}})
	return s
}

// admit says which host speaks, or why it may not. A mismatch makes the host
// unknown: a cloned image must not be able to release, grant or drain anything.
func (c *Core) admit(peer pki.Peer, hello *agentv1.Hello, now time.Time) (*host, string) {
	h := c.hosts[peer.Host]
	id := hello.GetIdentity()
	switch {
	case h == nil:
		return nil, fmt.Sprintf("host %s is not enrolled", peer.Host)
	case !h.Revoked.IsZero():
		return nil, fmt.Sprintf("host %s was removed", peer.Host)
	case h.CertSerial != peer.Serial:
		return nil, fmt.Sprintf("host %s has enrolled again since with another certificate", peer.Host)
	case hello.GetProtocol() != protocol:
		return nil, fmt.Sprintf("protocol %d, this manager speaks %d", hello.GetProtocol(), protocol)
	case hello.GetBootId() == "":
		return nil, "no boot id"
	}
	mismatch := ""
	switch {
	case id.GetHost() != h.Name:
		mismatch = fmt.Sprintf("it calls itself %q and its certificate is %s's", id.GetHost(), h.Name)
	case h.MachineID != "" && id.GetMachineId() != h.MachineID:
		mismatch = fmt.Sprintf("machine-id %s, enrolled with %s", id.GetMachineId(), h.MachineID)
	case h.LibvirtUUID != "" && id.GetLibvirtHostUuid() != "" && id.GetLibvirtHostUuid() != h.LibvirtUUID:
		mismatch = fmt.Sprintf("libvirt host UUID %s, enrolled with %s", id.GetLibvirtHostUuid(), h.LibvirtUUID)
	case h.session != nil && h.session.boot != hello.GetBootId() && h.alive() && now.Sub(h.reported) < 2*c.pol.reportInterval():
		mismatch = "another machine with the same identity speaks already: is one a copy of the other?"
	}
	for _, o := range c.hosts {
		if mismatch == "" && o != h && o.Revoked.IsZero() && id.GetLibvirtHostUuid() != "" && o.LibvirtUUID == id.GetLibvirtHostUuid() {
			mismatch = fmt.Sprintf("its libvirt host UUID is %s's too: a cloned host image? (host_uuid in libvirtd.conf)", o.Name)
		}
	}
	if mismatch != "" {
		c.hangUp(h, mismatch)
		c.silence(h, mismatch, now)
		return nil, mismatch
	}
	if hello.GetGeneration() > c.id.Generation || hello.GetGeneration() == c.id.Generation && hello.GetTerm() > c.id.Term {
		why := fmt.Sprintf("its agent has seen generation %d, term %d, this manager is at %d, %d", hello.GetGeneration(), hello.GetTerm(), c.id.Generation, c.id.Term)
		if !c.knowsMore(h, why, hello.GetGeneration(), now) {
			return nil, why + ": its store is older than what was promised, or another manager runs"
		}
	}
	if h.LibvirtUUID == "" {
		h.LibvirtUUID = id.GetLibvirtHostUuid()
	}
	if h.MachineID == "" {
		h.MachineID = id.GetMachineId()
	}
	return h, ""
}

// Closed ends a conversation. What its host said last is no word any more.
func (c *Core) Closed(now time.Time, s *Session, err error) {
	if !s.live() {
		s.over = true
		return
	}
	why := "its agent went away"
	switch {
	case errors.Is(err, context.Canceled): // all that HTTP says of a peer that is gone
		why += ": the connection broke"
	case err != nil:
		why += ": " + err.Error()
	}
	c.forget(s, why)
	c.silence(s.host, why, now)
}

// hangUp ends the conversation with a host, if there is one.
func (c *Core) hangUp(h *host, why string) {
	if s := h.session; s != nil {
		s.link.Close(errors.New(why))
		c.forget(s, why)
	}
}

// forget drops what waits for an answer in a conversation that is over.
func (c *Core) forget(s *Session, why string) {
	s.over = true
	s.host.session = nil
	c.forgetOrders(s)
	c.failVirsh(s.host, why)
	c.forgetPleas(s)
}

// Received takes one message.
func (c *Core) Received(now time.Time, s *Session, msg *agentv1.AgentMessage) {
	if !s.live() || c.fatal != nil {
		return
	}
	switch b := msg.GetBody().(type) {
	case *agentv1.AgentMessage_Report:
		c.report(now, s, b.Report)
	case *agentv1.AgentMessage_Sighting:
		c.sighting(now, s, b.Sighting)
	case *agentv1.AgentMessage_Readings:
		c.readings(now, s, b.Readings)
	case *agentv1.AgentMessage_Result:
		c.result(now, s, b.Result)
	case *agentv1.AgentMessage_Permission:
		c.permission(now, s, b.Permission)
	case *agentv1.AgentMessage_Virsh:
		c.virshDone(s, b.Virsh)
	case *agentv1.AgentMessage_Note:
		c.event(now, store.Event{Kind: "agent.note", Host: s.host.Name, Domain: b.Note.GetDomain(), Who: "agent " + s.host.Name, Text: b.Note.GetText()})
	}
}

// send queues a message. A link that fails ends by itself; what was lost is
// sent again to the next session.
func (c *Core) send(s *Session, msg *agentv1.ManagerMessage) {
	if err := s.link.Send(msg); err != nil {
		c.log.Debug("not sent", "host", s.host.Name, "err", err)
	}
}

// ask wants a complete report made from now on, and returns its number.
func (c *Core) ask(h *host) uint64 {
	if h.session == nil {
		return 0
	}
	c.asked.last++
	c.send(h.session, &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Ask{Ask: &agentv1.Ask{Id: c.asked.last}}})
	return c.asked.last
}
