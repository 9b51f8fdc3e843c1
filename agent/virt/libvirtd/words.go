package libvirtd

import (
	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// libvirt's numbers in virsh's words, each list in the order of libvirt's enum.

var stateWords = []virt.State{
	virt.StateNone, virt.StateRunning, virt.StateIdle, virt.StatePaused,
	virt.StateInShutdown, virt.StateShutOff, virt.StateCrashed, virt.StatePMSuspended,
}

var reasonWords = map[virt.State][]virt.Reason{
	virt.StateRunning: {
		virt.ReasonUnknown, virt.ReasonBooted, virt.ReasonMigrated, virt.ReasonRestored, "from snapshot",
		virt.ReasonUnpaused, virt.ReasonMigrationCanceled, "save canceled", "event wakeup", virt.ReasonCrashed,
		virt.ReasonPostCopy, virt.ReasonPostCopyFailed,
	},
	virt.StatePaused: {
		virt.ReasonUnknown, virt.ReasonUser, virt.ReasonMigrating, "saving", "dumping", "I/O error", "watchdog",
		"from snapshot", "shutting down", "creating snapshot", virt.ReasonCrashed, virt.ReasonStartingUp,
		virt.ReasonPostCopy, virt.ReasonPostCopyFailed, "API error",
	},
	virt.StateInShutdown: {virt.ReasonUnknown, virt.ReasonUser},
	virt.StateShutOff: {
		virt.ReasonUnknown, virt.ReasonShutdown, virt.ReasonDestroyed, virt.ReasonCrashed, virt.ReasonMigrated,
		virt.ReasonSaved, virt.ReasonFailed, "from snapshot", "daemon",
	},
	virt.StateCrashed: {virt.ReasonUnknown, "panicked"},
}

var operationWords = []virt.Operation{
	virt.OpUnknown, virt.OpStart, virt.OpSave, virt.OpRestore, virt.OpMigrateIn, virt.OpMigrate,
	"snapshot", "snapshot revert", virt.OpDump, virt.OpBackup, "snapshot delete",
}

var jobWords = []virt.JobType{
	virt.JobNone, virt.JobBounded, virt.JobUnbounded, virt.JobCompleted, virt.JobFailed, virt.JobCancelled,
}

// event is one lifecycle event with its details.
type event struct {
	name    string
	details []string
}

var eventWords = []event{
	{virt.Defined, []string{"Added", "Updated", "Renamed", "Snapshot"}},
	{virt.Undefined, []string{"Removed", "Renamed"}},
	{virt.Started, []string{virt.DetailBooted, virt.DetailMigrated, virt.DetailRestored, "Snapshot", "Event wakeup"}},
	{virt.Suspended, []string{virt.DetailPaused, virt.DetailMigrated, "I/O Error", "Watchdog", virt.DetailRestored,
		"Snapshot", "API error", virt.DetailPostCopy, virt.DetailPostCopyFailed}},
	{virt.Resumed, []string{virt.DetailUnpaused, virt.DetailMigrated, "Snapshot", virt.DetailPostCopy, virt.DetailPostCopyFailed}},
	{virt.Stopped, []string{virt.DetailShutdown, virt.DetailDestroyed, virt.DetailCrashed, virt.DetailMigrated,
		"Saved", virt.DetailFailed, "Snapshot"}},
	{virt.Shutdown, []string{"Finished", "On guest request", "On host request"}},
	{virt.PMSuspended, []string{"Memory", "Disk"}},
	{virt.Crashed, []string{"Panicked", "Crashloaded"}},
}

// word gives the n-th of a list, or other for a number that a newer libvirt
// has.
func word[T ~string](words []T, n int, other T) T {
	if n >= 0 && n < len(words) {
		return words[n]
	}
	return other
}

func state(s libvirt.DomainState, reason int) (virt.State, virt.Reason) {
	out := word(stateWords, int(s), virt.StateNone)
	return out, word(reasonWords[out], reason, virt.ReasonUnknown)
}

func lifecycle(number, detail int) (string, string) {
	if number < 0 || number >= len(eventWords) {
		return "unknown", "unknown"
	}
	e := eventWords[number]
	return e.name, word(e.details, detail, "unknown")
}

func job(i *libvirt.DomainJobInfo) virt.Job {
	return virt.Job{
		Type:      word(jobWords, int(i.Type), virt.JobUnbounded), // a job that we do not know is in the way too
		Operation: word(operationWords, int(i.Operation), virt.OpUnknown),
		ElapsedMS: i.TimeElapsed, DowntimeMS: i.Downtime, SetupMS: i.SetupTime,
		DataTotal: i.DataTotal, DataProcessed: i.DataProcessed, DataRemaining: i.DataRemaining,
		MemTotal: i.MemTotal, MemProcessed: i.MemProcessed, MemRemaining: i.MemRemaining,
		MemBps: i.MemBps, DirtyRate: i.MemDirtyRate, PageSize: i.MemPageSize, Iteration: i.MemIteration,
		Throttle: i.AutoConvergeThrottle, PostCopyReqs: i.MemPostcopyReqs,
		DiskTotal: i.DiskTotal, DiskProcessed: i.DiskProcessed, DiskRemaining: i.DiskRemaining,
		Error: i.ErrorMessage,
	}
}
