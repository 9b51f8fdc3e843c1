package manager

import (
	"fmt"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/store"
)

// The manager and the hosts renew their certificates a year before the end. One
// that ends sooner than this was not renewed, which somebody has to look into.
const (
	certificateWarns  = 60 * 24 * time.Hour
	certificateAlarms = 7 * 24 * time.Hour
	warnAgain         = 24 * time.Hour
	lookForEnds       = time.Minute
)

// ends is what the watch over certificates remembers.
type ends struct {
	own    func() (own, ca time.Time) // the manager's and its CA's; nil: not known
	looked time.Time
	warned map[string]time.Time // by the certificate's name
}

// certificate is one whose end would part somebody from the manager.
type certificate struct {
	name string // manager, ca, or host and the host's name
	host string // "": it is the manager's own
	ends time.Time
	how  string // to renew it
}

// certificates are the manager's own, and those with which hosts speak now.
func (c *Core) certificates() []certificate {
	var out []certificate
	if c.pace.ends.own != nil {
		own, ca := c.pace.ends.own()
		out = append(out,
			certificate{"manager", "", own, "it renews itself; if its log does not say why not: vireo-manager renew"},
			certificate{"ca", "", ca, "every certificate ends with it: vireo-manager init makes another in an empty pki_dir, and hosts and operators enrol anew"})
	}
	for _, h := range c.sortedHosts() {
		if h.session != nil && !h.certificate.IsZero() {
			out = append(out, certificate{"host " + h.Name, h.Name, h.certificate, "its agent renews it when it begins a session: its log says what is in the way"})
		}
	}
	return out
}

// warnOfEnds says once a day which certificates end soon.
func (c *Core) warnOfEnds(now time.Time) {
	if !c.pace.ends.looked.IsZero() && now.Sub(c.pace.ends.looked) < lookForEnds {
		return
	}
	c.pace.ends.looked = now
	for _, x := range c.certificates() {
		left := x.ends.Sub(now)
		if last, told := c.pace.ends.warned[x.name]; left >= certificateWarns || told && now.Sub(last) < warnAgain {
			continue
		}
		c.pace.ends.warned[x.name] = now
		e := store.Event{Kind: "certificate.ends", Severity: store.Warning, Host: x.host,
			Text: fmt.Sprintf("the certificate of %s ends on %s: %s", x.name, x.ends.UTC().Format(time.DateOnly), x.how)}
		if left < certificateAlarms {
			e.Severity = store.Alarm
		}
		c.event(now, e)
		c.log.Warn("a certificate ends", "certificate", x.name, "until", x.ends.UTC().Format(time.DateOnly))
	}
}

func (c *Core) presentCertificates(now time.Time) []*managerv1.Certificate {
	var out []*managerv1.Certificate
	for _, x := range c.certificates() {
		out = append(out, &managerv1.Certificate{Name: x.name, NotAfter: at(x.ends), EndsSoon: x.ends.Sub(now) < certificateWarns})
	}
	return out
}
