package serve

import (
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent/wire/leader"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
)

// NewStandby prepares the server of a manager that does not lead: it refuses
// every call and names the leader. Agents, API and Leads of the options are not used.
// leads gives the leader's URL, "" while nobody leads.
func NewStandby(o Options, leads func() string) *Server {
	o.Leads = nil
	s := &Server{o: o, agents: &agentHandler{}}
	writer := connect.NewErrorWriter()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.readers(o.Metrics))
	mux.Handle("GET /healthz", s.readers(http.HandlerFunc(s.healthz)))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		url := leads()
		err := notLeading(url)
		if writer.IsSupported(r) {
			_ = writer.Write(w, r, err)
			return
		}
		w.Header().Set(leader.Header, url)
		http.Error(w, err.Message(), http.StatusServiceUnavailable)
	})
	s.routes = mux
	return s
}

// notLeading is what a manager says that does not lead.
func notLeading(url string) *connect.Error {
	text := "this manager does not lead, and knows of nobody who does"
	if url != "" {
		text = fmt.Sprintf("this manager does not lead, %s does", url)
	}
	err := apierr.ToConnect(apierr.New(apierr.Unavailable, "%s", text)).(*connect.Error) // it makes no others of ours
	err.Meta().Set(leader.Header, url)
	return err
}
