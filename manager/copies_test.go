package manager

import (
	"testing"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
)

// TestPresence: a start in progress is no absence, on which a claim could be
// given up.
func TestPresence(t *testing.T) {
	for _, tt := range []struct {
		name string
		d    *agentv1.Domain
		want migration.Presence
	}{
		{"not defined", &agentv1.Domain{State: agentv1.DomainState_DOMAIN_STATE_NONE}, migration.None},
		{"shut off", &agentv1.Domain{State: agentv1.DomainState_DOMAIN_STATE_SHUTOFF}, migration.None},
		{"shut off, being started", &agentv1.Domain{State: agentv1.DomainState_DOMAIN_STATE_SHUTOFF, StartInProgress: true}, migration.Unknown},
		{"not defined, being started", &agentv1.Domain{State: agentv1.DomainState_DOMAIN_STATE_NONE, StartInProgress: true}, migration.Unknown},
		{"running", &agentv1.Domain{State: agentv1.DomainState_DOMAIN_STATE_RUNNING, StartInProgress: true}, migration.Alive},
		{"crashed", &agentv1.Domain{State: agentv1.DomainState_DOMAIN_STATE_OTHER}, migration.Alive},
		{"paused", &agentv1.Domain{State: agentv1.DomainState_DOMAIN_STATE_PAUSED}, migration.Paused},
		{"being found out", &agentv1.Domain{}, migration.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := presence(tt.d); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
