package manager

import (
	"fmt"
	"maps"
	"slices"

	"github.com/vireo-kvm/vireo/store"
)

// enforceWaitsFor says what the hook's mode enforce should wait for, "" when it can
// be set on every host: each has reported in this generation of the store and speaks,
// its libvirtd was seen to call the hook, and no claim is ambiguous. Set earlier, it
// would refuse starts that are right.
func (c *Core) enforceWaitsFor() string {
	for _, h := range c.sortedHosts() {
		switch {
		case !h.Revoked.IsZero() || !h.Dead.IsZero():
		case h.Heard < c.id.Generation || !h.alive():
			return h.Name + " does not report"
		case !h.Facts.HookProven && h.hookProblem != "":
			return fmt.Sprintf("%s: %s", h.Name, h.hookProblem)
		case !h.Facts.HookProven:
			return "libvirtd of " + h.Name + " was not seen to call the hook"
		}
	}
	for _, domain := range slices.Sorted(maps.Keys(c.claims)) {
		if cl := c.claims[domain]; cl.Phase == store.Ambiguous {
			return "the claim of " + c.domainName(domain) + " is ambiguous"
		}
	}
	return ""
}
