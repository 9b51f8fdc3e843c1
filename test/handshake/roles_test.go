package handshake

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/manager/pki"
)

func (h *house) api(c *http.Client) managerv1connect.ManagerServiceClient {
	return managerv1connect.NewManagerServiceClient(c, h.url)
}

func listHosts() *connect.Request[managerv1.ListHostsRequest] {
	return connect.NewRequest(&managerv1.ListHostsRequest{})
}

// TestEveryProcedureHasItsRole calls each method of both services as everybody.
// What each may do stands here again, in words of its own: a method that is
// added without a thought about who may call it fails.
func TestEveryProcedureHasItsRole(t *testing.T) {
	h := newHouse(t)
	clients := map[string]*http.Client{
		"nobody": h.client(),
		"agent":  h.client(h.enrolled("h1").Certificate),
	}
	for _, role := range []pki.Role{pki.Viewer, pki.Operator, pki.Admin} {
		cert, _ := h.operator(role)
		clients[string(role)] = h.client(cert)
	}
	verbs := " EvacuateHost ReturnHost AbortMigration ResolveDecision SetAutomation ImportReadings GrantClaim ReleaseClaim MoveClaim ResolveClaim " +
		"DeclareHostDead ExcuseHost SetHost "
	admins := " CreateToken RemoveHost RevokeOperator "
	may := func(who string, m protoreflect.MethodDescriptor) bool {
		name := string(m.Name())
		switch {
		case name == "Enroll":
			return true
		case m.Parent().Name() == "AgentService":
			return who == "agent"
		case strings.Contains(admins, " "+name+" "):
			return who == "admin"
		case strings.Contains(verbs, " "+name+" "):
			return who == "admin" || who == "operator"
		}
		return who == "admin" || who == "operator" || who == "viewer"
	}
	methods := 0
	for _, file := range []protoreflect.FileDescriptor{agentv1.File_agent_wire_v1_agent_proto, managerv1.File_manager_api_v1_manager_proto} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				methods++
				for who, client := range clients {
					status := call(t, client, h.url, m)
					refused := status == http.StatusForbidden
					if refused == may(who, m) {
						t.Errorf("%s by %s: HTTP %d, may %v", m.FullName(), who, status, may(who, m))
					}
				}
			}
		}
	}
	if methods < 20 {
		t.Errorf("only %d methods were tried", methods)
	}
}

// call sends an empty message and returns the status, for a stream the one that
// its error stands for: whether the door opened, not what was behind it.
func call(t *testing.T, client *http.Client, base string, m protoreflect.MethodDescriptor) int {
	t.Helper()
	body, kind := io.Reader(strings.NewReader("{}")), "application/json"
	if m.IsStreamingServer() {
		body, kind = strings.NewReader("\x00\x00\x00\x00\x02{}"), "application/connect+json"
	}
	url := fmt.Sprintf("%s/%s/%s", base, m.Parent().FullName(), m.Name())
	res, err := client.Post(url, kind, body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if m.IsStreamingServer() && strings.Contains(string(answer), `"permission_denied"`) {
		return http.StatusForbidden
	}
	return res.StatusCode
}

func TestActorIsKnownBehindTheDoor(t *testing.T) {
	h := newHouse(t)
	cert, serial := h.operator(pki.Viewer)
	if _, err := h.api(h.client(cert)).ListHosts(t.Context(), listHosts()); err != nil {
		t.Fatal(err)
	}
	if len(h.actors) != 1 || h.actors[0] != (pki.Actor{Name: "op-viewer", Role: pki.Viewer, Serial: serial}) {
		t.Errorf("actors %v", h.actors)
	}
}

func TestRefusalsCrossTheWire(t *testing.T) {
	h := newHouse(t)
	cert, _ := h.operator(pki.Viewer)
	api := h.api(h.client(cert))
	_, err := api.GetHost(t.Context(), connect.NewRequest(&managerv1.GetHostRequest{Name: "h9"}))
	e, ok := apierr.FromConnect(err)
	if !ok || e.Kind != apierr.NotFound || e.Text != "no host h9" || connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("GetHost = %v (%v)", err, e)
	}
	_, err = api.EvacuateHost(t.Context(), connect.NewRequest(&managerv1.EvacuateHostRequest{Host: "h1"}))
	if apierr.ExitCode(err) != apierr.ExitRefused || !strings.Contains(err.Error(), "role operator") {
		t.Errorf("EvacuateHost = %v, exit %d", err, apierr.ExitCode(err))
	}
	_, err = api.GetHost(t.Context(), connect.NewRequest(&managerv1.GetHostRequest{Name: "panic"}))
	if connect.CodeOf(err) != connect.CodeInternal {
		t.Errorf("a panic became %v", err)
	}
	h.stop()
	if _, err := api.ListHosts(t.Context(), listHosts()); apierr.ExitCode(err) != apierr.ExitUnreachable {
		t.Errorf("no manager: %v, exit %d", err, apierr.ExitCode(err))
	}
}

func TestStrangersRequestsAreSmall(t *testing.T) {
	h := newHouse(t)
	e := strings.NewReader(`{"token":"` + strings.Repeat("x", 1<<20) + `"}`)
	res, err := h.client().Post(h.url+"/vireo.agent.v1.AgentService/Enroll", "application/json", e)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode == http.StatusOK || h.enrolls != 0 {
		t.Errorf("a request of 1 MiB got through: HTTP %d", res.StatusCode)
	}
}

// A flood of strangers reaches the core a few at a time, and all are answered.
func TestStrangersWaitTheirTurn(t *testing.T) {
	h := newHouse(t)
	h.slow = make(chan struct{})
	const strangers = 30
	client, answers := h.client(), make(chan error, strangers)
	for range strangers {
		go func() {
			res, err := client.Post(h.url+"/vireo.agent.v1.AgentService/Enroll", "application/json", strings.NewReader("{}"))
			if err == nil {
				err = res.Body.Close()
			}
			answers <- err
		}()
	}
	for range strangers {
		h.slow <- struct{}{}
	}
	for range strangers {
		if err := wait(t, answers, "answer"); err != nil {
			t.Error(err)
		}
	}
	if h.most == 0 || h.most > 4 {
		t.Errorf("%d calls were with the core at once", h.most)
	}
}

func TestReadersOfMetrics(t *testing.T) {
	h := newHouse(t)
	viewer, _ := h.operator(pki.Viewer)
	for name, c := range map[string]struct {
		certs []tls.Certificate
		token string
		want  int
	}{
		"viewer":      {[]tls.Certificate{viewer}, "", http.StatusOK},
		"token":       {nil, "open sesame", http.StatusOK},
		"nobody":      {nil, "", http.StatusUnauthorized},
		"wrong token": {nil, "open sesam", http.StatusUnauthorized},
		"empty token": {nil, " ", http.StatusUnauthorized},
		"agent":       {[]tls.Certificate{h.enrolled("h1").Certificate}, "", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/metrics", "/healthz"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if c.token != "" {
					req.Header.Set("Authorization", "Bearer "+c.token)
				}
				res, err := h.client(c.certs...).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if res.StatusCode != c.want {
					t.Errorf("%s: HTTP %d, want %d", path, res.StatusCode, c.want)
				}
			}
		})
	}
}

// On the socket root is an admin, and everybody else nobody.
func TestSocket(t *testing.T) {
	h := newHouse(t)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", h.socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	api := managerv1connect.NewManagerServiceClient(&http.Client{Transport: transport}, "http://manager")
	_, err := api.ListHosts(t.Context(), listHosts())
	if os.Getuid() != 0 {
		if connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("user %d: %v", os.Getuid(), err)
		}
		return
	}
	if err != nil || len(h.actors) != 1 || h.actors[0] != (pki.Actor{Name: "root", Role: pki.Admin}) {
		t.Errorf("root: %v, actors %v", err, h.actors)
	}
}
