package collect

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// EDAC reads the memory controllers' error counters.
type EDAC struct {
	Sys string // root of /sys
}

// Name is "edac".
func (*EDAC) Name() string { return "edac" }

// Collect reads each controller and each DIMM (or rank, where the driver knows
// no DIMMs); ErrAbsent when no driver has found a controller.
func (e *EDAC) Collect(_ context.Context, now time.Time) (agent.Collected, error) {
	r := readings{at: now}
	root := filepath.Join(e.Sys, "devices/system/edac/mc")
	for _, mc := range names(root) {
		n, ok := strings.CutPrefix(mc, "mc")
		if !ok || !exists(root, mc, "ce_count") {
			continue
		}
		r.maybe("mc:"+n, signal.EDACCorrectedNI, number(root, mc, "ce_noinfo_count"))
		r.maybe("mc:"+n, signal.EDACUncorrectedNI, number(root, mc, "ue_noinfo_count"))
		for _, dimm := range names(root, mc) {
			if !strings.HasPrefix(dimm, "dimm") && !strings.HasPrefix(dimm, "rank") || !exists(root, mc, dimm, "dimm_ce_count") {
				continue
			}
			component := "dimm:" + n + "/" + dimmPlace(word(root, mc, dimm, "dimm_location"), dimm)
			r.maybe(component, signal.EDACCorrected, number(root, mc, dimm, "dimm_ce_count"))
			r.maybe(component, signal.EDACUncorrected, number(root, mc, dimm, "dimm_ue_count"))
		}
	}
	if len(r.list) == 0 {
		return agent.Collected{}, ErrAbsent
	}
	return agent.Collected{Readings: r.list}, nil
}

// dimmPlace makes "1/0" of the kernel's "channel 1 slot 0" (also "csrow 2
// channel 0"). A place that says nothing is the directory's name.
func dimmPlace(location, dir string) string {
	var numbers []string
	for _, field := range strings.Fields(location) {
		if strings.Trim(field, "0123456789") == "" {
			numbers = append(numbers, field)
		}
	}
	if len(numbers) == 0 {
		return dir
	}
	return strings.Join(numbers, "/")
}
