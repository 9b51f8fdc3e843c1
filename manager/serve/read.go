package serve

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"github.com/vireo-kvm/vireo/manager/pki"
)

// readers lets through whoever may read: an operator of any role, root on the
// socket, or the bearer of the token.
func (s *Server) readers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callerFrom(r.Context())
		if (c.actor != nil && c.actor.Role.May(pki.Viewer)) || s.bearsToken(r) {
			next.ServeHTTP(w, r)
			return
		}
		if s.o.MetricsToken != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="vireo"`)
		}
		http.Error(w, "this needs an operator's certificate, or the bearer token of metrics.token_file", http.StatusUnauthorized)
	})
}

func (s *Server) bearsToken(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || s.o.MetricsToken == nil {
		return false
	}
	want, err := s.o.MetricsToken()
	if err != nil {
		s.o.Log.ErrorContext(r.Context(), "metrics token", "error", err)
		return false
	}
	want = bytes.TrimSpace(want)
	return len(want) > 0 && subtle.ConstantTimeCompare([]byte(given), want) == 1
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	if err := s.o.Health(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
