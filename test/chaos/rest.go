package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

const (
	// restLimit is how long after the last fault everything has to be at rest: a
	// call that waits in libvirt's queue, an agent's 40 s without a job, a guest's boot.
	restLimit = 4 * time.Minute
	// acts is how long an operator watches before he does something himself.
	acts = 10 * time.Second
)

// rest waits until the fleet is at rest, acting as its operator would.
func (r *runner) rest(ctx context.Context, round Round) error {
	begun := time.Now()
	since := map[string]time.Time{}
	for ; ctx.Err() == nil; pause(ctx, 200*time.Millisecond) {
		restless := r.restless(ctx)
		if restless == "" {
			r.violated(r.hear(ctx)...) // a boot that has just been heard is still excused
			r.mu.Lock()
			r.judge.rested()
			r.mu.Unlock()
			r.say("at rest after %s", time.Since(begun).Round(100*time.Millisecond))
			return nil
		}
		if time.Since(begun) > restLimit {
			r.violated(fmt.Sprintf("not at rest %s after the last fault: %s", restLimit, restless))
			return nil
		}
		r.tidy(ctx, since)
	}
	return nil
}

// restless says what is not at rest, "" when all is.
func (r *runner) restless(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var hosts managerv1.ListHostsResponse
	if err := r.lab.Ask(ctx, &hosts, "hosts"); err != nil {
		return err.Error()
	}
	for _, h := range hosts.Hosts {
		if h.State != "healthy" || !h.Connected || !h.Libvirtd {
			return fmt.Sprintf("%s is %s: %s", h.Name, h.State, h.StateReason)
		}
	}
	var open managerv1.ListMigrationsResponse
	if err := r.lab.Ask(ctx, &open, "migrations", "--open"); err != nil {
		return err.Error()
	}
	for _, m := range open.Migrations {
		return fmt.Sprintf("%s %s → %s is %s: %s", m.DomainName, m.Source, m.Target, m.State, m.Waiting)
	}
	claims, err := r.claims(ctx)
	if err != nil {
		return err.Error()
	}
	for _, g := range r.lab.Guests {
		if wrong := r.misplaced(ctx, g.Name, claims); wrong != "" {
			return wrong
		}
	}
	beats, err := r.lab.Heartbeats().Guests(ctx)
	if err != nil {
		return err.Error()
	}
	for _, b := range beats {
		if b.SilentMS > 1000 {
			return fmt.Sprintf("%s has been silent for %.0f ms", b.Name, b.SilentMS)
		}
	}
	return ""
}

// misplaced says what is wrong with one guest: by the processes, the claims and each host's libvirt.
func (r *runner) misplaced(ctx context.Context, guest string, claims []*managerv1.Claim) string {
	p, err := r.where(guest)
	if err != nil {
		return err.Error()
	}
	i := slices.IndexFunc(claims, func(c *managerv1.Claim) bool { return c.DomainName == guest })
	if i < 0 {
		return guest + " has no claim"
	}
	if c := claims[i]; c.Phase != "held" || c.Holder != p.Host {
		return fmt.Sprintf("%s runs on %s, its claim is %s by %s", guest, p.Host, c.Phase, c.Holder)
	}
	state, err := r.lab.Virsh(ctx, p.Host, "domstate", guest)
	if err != nil {
		return err.Error()
	}
	if s := strings.TrimSpace(state); s != "running" {
		return fmt.Sprintf("%s is %s on %s", guest, s, p.Host)
	}
	defined, err := r.defined(ctx, guest)
	if err != nil {
		return err.Error()
	}
	if len(defined) != 1 || defined[0] != p.Host {
		return fmt.Sprintf("%s runs on %s and is known to the libvirt of %s", guest, p.Host, strings.Join(defined, ", "))
	}
	return ""
}

// defined returns the hosts whose libvirt knows a guest.
func (r *runner) defined(ctx context.Context, guest string) (on []string, err error) {
	for _, h := range r.lab.Hosts {
		names, err := r.lab.Virsh(ctx, h.Name, "list", "--all", "--name")
		if err != nil {
			return nil, err
		}
		if slices.Contains(strings.Fields(names), guest) {
			on = append(on, h.Name)
		}
	}
	return on, nil
}

// tidy does what only a person can, each thing when it has been necessary for a while.
func (r *runner) tidy(ctx context.Context, since map[string]time.Time) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	due := func(what string, now bool) bool {
		if !now {
			delete(since, what)
			return false
		}
		if since[what].IsZero() {
			since[what] = time.Now()
		}
		if time.Since(since[what]) < acts {
			return false
		}
		delete(since, what) // done; if that was not enough, again after a while
		return true
	}
	var hosts managerv1.ListHostsResponse
	var open managerv1.ListMigrationsResponse
	if r.lab.Ask(ctx, &hosts, "hosts") != nil || r.lab.Ask(ctx, &open, "migrations", "--open") != nil {
		return // nobody can do anything while the manager is silent
	}
	for _, h := range hosts.Hosts {
		if h.State == "drained" || due("return "+h.Name, h.State == "evacuating" && len(open.Migrations) == 0) {
			if _, err := r.lab.Vireo(ctx, "return", h.Name, "--reason", "the round is over"); err != nil {
				r.say("operator: %v", err)
			}
		}
	}
	for _, m := range open.Migrations {
		if due("choose "+m.Id, m.State == "unclear") {
			r.discard(ctx, m)
		}
	}
	for _, g := range r.lab.Guests {
		r.tidyGuest(ctx, g.Name, len(open.Migrations) == 0, due)
	}
}

// discard is a person's choice for a move that nobody can decide (the source has
// crashed, a complete paused copy is on the target): the copy goes, and the
// guest begins anew. Resuming it could set its memory back behind its disk.
func (r *runner) discard(ctx context.Context, m *managerv1.Migration) {
	state, err := r.lab.Virsh(ctx, m.Target, "domstate", m.DomainName)
	if err != nil || strings.TrimSpace(state) != "paused" {
		return
	}
	r.say("operator: %s is unclear (%s): the paused copy on %s is discarded", m.DomainName, m.Waiting, m.Target)
	r.mu.Lock()
	r.judge.lost(m.DomainName)
	r.rep.Chosen++
	r.mu.Unlock()
	if _, err := r.lab.Vireo(ctx, "claims", "resolve", m.Domain, "--discard", "--reason", "its source has crashed"); err != nil {
		r.say("operator: %v", err)
	}
}

// tidyGuest starts a guest that has ended, and removes definitions that are left over.
func (r *runner) tidyGuest(ctx context.Context, guest string, calm bool, due func(string, bool) bool) {
	copies := r.copies(guest)
	defined, err := r.defined(ctx, guest)
	if err != nil {
		return
	}
	if due("start "+guest, calm && len(copies) == 0) {
		r.start(ctx, guest, defined)
	}
	leftover := calm && len(copies) == 1 && len(defined) > 1
	if due("undefine "+guest, leftover) {
		for _, host := range defined {
			if host == copies[0].Host {
				continue
			}
			r.say("operator: the definition of %s is left over on %s and goes", guest, host)
			if _, err := r.lab.Virsh(ctx, host, "undefine", guest); err != nil {
				r.say("operator: %v", err)
				continue
			}
			r.mu.Lock()
			r.rep.Leftovers++
			r.mu.Unlock()
		}
	}
}

// start starts a guest that a fault has ended. One that ended by itself is lost.
func (r *runner) start(ctx context.Context, guest string, defined []string) {
	r.mu.Lock()
	excused := r.judge.losses[guest] > 0
	r.mu.Unlock()
	switch {
	case !excused:
		r.violated(guest + " has ended, and no fault had taken it")
	case len(defined) == 0:
		r.violated(guest + " is defined nowhere any more")
	default:
		r.say("operator: %s has ended and is started on %s", guest, defined[0])
		if _, err := r.lab.Virsh(ctx, defined[0], "start", guest); err != nil {
			r.say("operator: %v", err)
		}
	}
}
