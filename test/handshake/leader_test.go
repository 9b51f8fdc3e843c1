package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent/dial"
	"github.com/vireo-kvm/vireo/agent/wire/leader"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
)

// standby is the door of a manager that does not lead, until the test ends.
func (h *house) standby(leads func() string) (url string) {
	h.t.Helper()
	https, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	nobody := func(*x509.Certificate) bool { return false }
	server := serve.NewStandby(serve.Options{
		Metrics: http.NotFoundHandler(), Health: func(context.Context) error { return nil }, Revoked: nobody,
		TLS: pki.ServerTLS(func() tls.Certificate { return h.own }, h.ca.Pool(), nobody, time.Now), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}, leads)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, https, nil) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("the standby ended with %v", err)
		}
	})
	return "https://" + https.Addr().String()
}

// dead is an address at which nobody listens.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String()
}

// TestAgentFindsTheLeader: named, or by trying everybody.
func TestAgentFindsTheLeader(t *testing.T) {
	h := newHouse(t)
	id := h.enrolled("h1")
	gone := dead(t)
	named := h.standby(func() string { return h.url })
	lost := h.standby(func() string { return "" })
	late := h.standby(func() string { return gone }) // still names the one that died
	for name, tt := range map[string]struct {
		managers []string
		most     int // attempts
	}{
		"named":             {[]string{named, gone}, 2},
		"nobody is named":   {[]string{lost, gone, h.url}, 3},
		"the dead is named": {[]string{gone, late, lost, h.url}, 4},
		"named by the last": {[]string{gone, late, named}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			d := dial.NewDialer(dial.Options{Managers: tt.managers, Identity: id, Clock: clock{}, Random: func() float64 { return 0 }})
			for attempt := 1; ; attempt++ {
				s, err := d.Dial(t.Context(), hello("h1"))
				if err == nil {
					s.Close()
					<-h.sessions
					return
				}
				if attempt == tt.most {
					t.Fatalf("after %d attempts: %v", attempt, err)
				}
			}
		})
	}
}

// TestStandbyRefuses: in each way in which it is asked it names the leader.
func TestStandbyRefuses(t *testing.T) {
	h := newHouse(t)
	url := h.standby(func() string { return "https://leader:7443" })
	cert, _ := h.operator(pki.Admin)
	client := h.client(cert)
	_, err := managerv1connect.NewManagerServiceClient(client, url).ListHosts(t.Context(), listHosts())
	if named, refused := leader.Of(err); !refused || named != "https://leader:7443" || connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a call: %v, leader %q", err, named)
	}
	res, err := client.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get(leader.Header) != "https://leader:7443" {
		t.Errorf("a plain request: %s %v", res.Status, res.Header)
	}
	if _, refused := leader.Of(context.Canceled); refused {
		t.Error("any error names a leader")
	}
}

// TestLostLead: what waited to be said when the lead was lost is not said.
func TestLostLead(t *testing.T) {
	h := newHouse(t)
	cert, _ := h.operator(pki.Admin)
	api := h.api(h.client(cert))
	s, c := open(t, h, h.dialer(h.enrolled("h1")), "h1")
	h.lead.Store(false)
	if err := c.link.Send(ask(1)); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Recv(); err == nil {
		t.Errorf("the agent was told %v", m)
	}
	wait(t, c.closed, "the end of the conversation")
	if _, err := api.ListHosts(t.Context(), listHosts()); err == nil {
		t.Error("an operator was answered")
	} else if _, refused := leader.Of(err); !refused {
		t.Errorf("an operator was told %v", err)
	}
}
