package sim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is one planted bug: a rule of the protocol taken out of the code. Where
// a second line of defence would hide it, that one is taken out too, and the name
// is followed by which.
type mutant struct {
	name  string
	edits []edit
	// by is the package whose tests (run selects them) must catch it, where days
	// cannot: behind the lock of the store's file and the fence of its instance there
	// is never a second writer whom a compare-and-set would have to stop.
	by, run string
	// managers is how many the days have in which it is hunted; 0: one.
	managers int
}

// edit replaces text that stands exactly once in a file of the repository.
type edit struct{ file, old, new string }

func one(name, file, old, new string) mutant {
	return mutant{name: name, edits: []edit{{file, old, new}}}
}

const (
	bootCheck    = "case o.GetBootId() != c.host.BootID:"
	sessionCheck = `case o.GetSession() != c.link.session || c.link.session == "":`
	termCheck    = "case generation == c.host.Generation && term < c.host.Term:"
	leadsCheck   = "\t\tif !leads() {\n\t\t\treturn errNotLeading"
	agentOrders  = "agent/orders.go"
	rest         = "migration/rest.go"
	copies       = "manager/copies.go"
	claims       = "manager/claims.go"
	departure    = "agent/departure.go"
)

// mutants are the rules that the simulator must miss when they are gone.
var mutants = []mutant{
	{name: "an order survives a reboot", edits: []edit{{agentOrders, bootCheck, "case false:"}, {agentOrders, sessionCheck, "case o.GetBootId() == c.host.BootID && o.GetSession() != c.link.session:"}}},
	{name: "an order survives its session", edits: []edit{{agentOrders, sessionCheck, "case false:"}}},
	{name: "an old term is obeyed", edits: []edit{
		{agentOrders, bootCheck, "case false:"}, {agentOrders, sessionCheck, "case o.GetTerm() == c.host.Term && o.GetSession() != c.link.session:"},
		{"agent/core.go", termCheck, "case false:"}}},
	{name: "an old epoch is obeyed (and what was answered is forgotten)", edits: []edit{{agentOrders, "if o.GetGeneration() == d.Generation && o.GetEpoch() < d.Epoch {", "if false {"},
		{agentOrders, "if r := c.answers.given[o.GetId()]; r != nil {", "if r := c.answers.given[\"\"]; r != nil {"}}},
	one("a release without a look", agentOrders, "if d.present() || len(d.Starts) > 0 {", "if false {"),
	one("direct where guarded belongs", "agent/order_move.go", "Guarded: guarded, Persist:", "Guarded: false, Persist:"),
	one("the journal is not read after a restart", "agent/core.go", "for _, uuid := range s.UUIDs() {", "for _, uuid := range s.UUIDs()[:0] {"),
	one("the journal is not written", "agent/domain.go", "if err := c.Journal.SetDomain(next); err != nil {", "if err := error(nil); err != nil {"),
	one("a lost call has ended at once", departure, "const callMayWait = 40 * time.Second", "const callMayWait = 0 * time.Second"),
	one("gone otherwise is gone by the move", departure, "return journal.Otherwise // seen all the way", "return journal.ByTheMove"),
	one("shut down is gone by the move", departure, "return journal.Otherwise // only a guest that runs shuts down", "return journal.ByTheMove"),
	one("what nobody knows is gone by the move", departure, "case d.blind && (shutOff || went):\n\t\treturn journal.NobodyKnows", "case d.blind && (shutOff || went):\n\t\treturn journal.ByTheMove"),
	{name: "a void crosses the switch or a destroy", edits: []edit{
		{"agent/order_void.go", "case dep.Gone == journal.ByTheMove:\n\t\tc.looked", "case false:\n\t\tc.looked"},
		{"agent/order_void.go", `case dep.Gone == "" && d.exit.ended:`, "case false:"},
		{"agent/order_void.go", `case dep.Gone == "" && dep.Destroying:`, "case false:"}}},
	one("a void while the call is out", "agent/order_void.go", `case dep.Gone == "" && dep.Call == journal.CallOut:`, "case false:"),
	one("alone, whatever way it went", "agent/alone.go", "dep.Gone == journal.ByTheMove && !dep.Destroying", `dep.Gone != "" && !dep.Destroying`),
	one("the call's return code decides", copies, "\tif out.Presence == migration.None {\n\t\tout.Gone",
		"\tif mine && out.Call == migration.CallEnded && s.GetCallError() == \"\" && !out.Void {\n\t\tout.Presence, out.Gone = migration.None, migration.GoneByMove\n\t\treturn out\n\t}\n\tif out.Presence == migration.None {\n\t\tout.Gone"),
	one("a stale none", copies, "m.fresh != 0 && m.freshIn == h.session && s.asked >= m.fresh,", "true,"),
	one("the manager takes otherwise for the move", copies, "out.Gone = migration.GoneOtherwise", "out.Gone = migration.GoneByMove"),
	{name: "running is believed before the call has ended (and the agent voids meanwhile)", edits: []edit{{rest, "case a.Call != CallEnded || a.Job || b.Job:", "case a.Job || b.Job:"},
		{"agent/order_void.go", `case dep.Gone == "" && dep.Call == journal.CallOut:`, "case false:"}}},
	one("old memory is woken", rest, "case b.GuardedCopy() && a.Gone == GoneByMove:", "case b.GuardedCopy():"),
	one("the source is resumed without a void", rest, "\tcase !a.Void:\n\t\treturn Action{Do: Tell, Order: Void, To: Source, State: Aborting, Line: 5", "\tcase false:\n\t\treturn Action{Do: Tell, Order: Void, To: Source, State: Aborting, Line: 5"),
	one("running twice is waited for", rest, "\tcase b.Presence == Alive:\n\t\treturn Action{Do: Commit, End: Ambiguous,", "\tcase b.Presence == Alive:\n\t\treturn Action{Do: Wait, End: Ambiguous,"),
	one("release by time", "manager/fleet.go", "\twas := h.why\n\th.why = why\n",
		"\twas := h.why\n\th.why = why\n\tfor uuid, cl := range c.claims {\n\t\tif cl.Holder == h.Name && !c.busyMove(uuid) && c.st.Update(context.Background(), func(tx store.Tx) error { return tx.DeleteClaim(uuid, cl.Epoch) }) == nil {\n\t\t\tc.setClaim(uuid, store.Claim{}, true)\n\t\t}\n\t}\n"),
	one("adoption over a claim", claims, "\tif cl.Phase == store.Ambiguous {\n\t\tc.disambiguate(cl.Domain, now)\n\t\treturn\n\t}\n\tholder",
		"\tif next := cl.Claim; cl.Phase == store.Held {\n\t\tnext.Holder, next.GrantedBy = h.Name, \"adoption\"\n\t\tc.swap(\"adopting\", cl, &next)\n\t\treturn\n\t}\n\tholder"),
	one("two places are not ambiguous", claims, "\tnext := cl.Claim\n\tnext.Phase, next.Seen, next.Since = store.Ambiguous, now, now\n", "\treturn\n\tnext := cl.Claim\n\tnext.Phase, next.Seen, next.Since = store.Ambiguous, now, now\n"),
	one("a permission given by a read", claims, "	if !cl.fresh {", "	if false {"),
	one("the hook allows after a boot", "agent/hook/alone.go", "case j.Decision == Permit && s.Down == configs.AllowHeld:", "case r.Operation != Migrate && s.Down == configs.AllowHeld:"),
	one("a start while the host's own call is out", "agent/hook/judge.go", `return refuse("%s is being moved from here to %s (attempt %s)", subject.Name, dep.Target, a.ID)`, "return Judgement{Decision: Permit}"),
	{name: "a permission is for whoever asks (its nonce, boot and session count for nothing)", edits: []edit{
		{"agent/permission.go", `case a.GetBootId() != c.host.BootID || a.GetSession() != c.link.session || a.GetDomain() != q.d.UUID:`, "case false:"},
		{"agent/permission.go", "	q := c.permissions.asked[a.GetNonce()]\n", "	q := c.permissions.asked[a.GetNonce()]\n	for _, o := range sortedAsking(c.permissions.asked) {\n		if q == nil && o.d.UUID == a.GetDomain() {\n			q = o\n		}\n	}\n"}}},
	one("a release does not look for the hook's mark", agentOrders, "m != nil && !m.Refused {", "m != nil && m.Refused && !m.Refused {"),
	one("a move over a guest that was started anew", "agent/order_move.go", "	if c.startedAlone(d, now) {\n		// The process", "	if false {\n		// The process"),
	one("a lost journal is forgotten", "agent/journal/journal.go", "Restored{Kept: true, Lost: s.Host.Lost}", "Restored{Kept: true}"),
	one("the leader grants what another host holds", "manager/permission.go", "case cl.Holder != h.Name:", "case false:"),
	{name: "an epoch is used again after a restore (and nobody hears of it from an agent that knows more)", edits: []edit{
		{"store/sqlite/backup.go", "epoch = epoch + ?, instance", "epoch = epoch + 0 * ?, instance"},
		{"manager/recovery.go", "if d.GetEpoch() > c.book.epoch {\n			return d", "if d.GetEpoch() > c.book.epoch {\n			return nil"}}},
	one("a restored store goes to work at once", "manager/recovery.go", "		if h.Revoked.IsZero() && h.Dead.IsZero() && h.Heard < c.id.Generation {\n			return true", "		if h.Revoked.IsZero() && h.Dead.IsZero() && h.Heard < c.id.Generation {\n			return false"),
	one("an older release is taken for this one", claims, "cl.Holder != h.Name || cl.Epoch != o.epoch", "cl.Holder != h.Name"),
	{name: "a claim is swapped without a compare", by: "./store/sqlite", run: "TestSecond|TestStore/claims", edits: []edit{{"store/sqlite/tx.go", "args = updateClaim, append(args, next.Domain, expected)", `args = strings.TrimSuffix(updateClaim, " AND epoch = ?"), append(args, next.Domain)`}}},
	{name: "a claim is deleted without a compare", by: "./store/sqlite", run: "TestSecond|TestStore/claims", edits: []edit{{"store/sqlite/tx.go", `"DELETE FROM claims WHERE domain = ? AND epoch = ?", domain, epoch)`, `"DELETE FROM claims WHERE domain = ?", domain)`}}},
	{name: "a claim is put over one that is there", by: "./store/sqlite", run: "TestSecond|TestStore/claims", edits: []edit{{"store/sqlite/tx.go", `ON CONFLICT (domain) DO NOTHING"`, `ON CONFLICT (domain) DO UPDATE SET epoch = excluded.epoch, holder = excluded.holder"`}}},
	{name: "an overtaken manager writes on", by: "./store/sqlite", run: "TestSecond|TestStore/claims", edits: []edit{{"store/sqlite/db.go", "if mine := db.Identity(); now != mine {", "if mine := db.Identity(); now.Generation < mine.Generation {"}}},
	{name: "an overtaken manager writes on in etcd", by: "./store/etcd", run: "TestOvertaken|TestFencedByTerm", edits: []edit{
		{"store/etcd/commit.go", `clientv3.Compare(clientv3.ModRevision(db.c.key(headKey)), "=", db.revision),`, `clientv3.Compare(clientv3.ModRevision(db.c.key(headKey)), ">", 0),`},
		{"store/etcd/commit.go", `clientv3.Compare(clientv3.CreateRevision(db.won.key), "=", db.won.revision),`, ""}}},
	{name: "an overtaken manager still writes", managers: 2, edits: []edit{{"test/etcdmodel/cluster.go", "\tfenced := db.fence()\n", "\tfenced := error(nil)\n"}}},
	{name: "an overtaken manager still answers", managers: 2, edits: []edit{{"manager/core.go", "\tif !leads() {\n", "\tif false {\n"}, {"manager/serve/session.go", leadsCheck, "\t\tif false {\n\t\t\treturn errNotLeading"}}},
	{name: "an overtaken manager says what it had queued", managers: 2, edits: []edit{{"manager/serve/session.go", leadsCheck, "\t\tif false {\n\t\t\treturn errNotLeading"}}},
	{name: "nobody counts the room", edits: []edit{{"manager/slots.go", "if used > capacity {", "if false {"},
		{"manager/decide/place.go", "used := h.ClaimedKiB + taken[h.Name] + d.MemoryKiB", "used := d.MemoryKiB"}}},
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// apply writes the mutated files into dir and returns Go's overlay for them.
func (m mutant) apply(t *testing.T, dir string) (overlay string) {
	t.Helper()
	texts := map[string]string{}
	for _, e := range m.edits {
		path := filepath.Join(root(t), e.file)
		if _, known := texts[path]; !known {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(raw)
		}
		if n := strings.Count(texts[path], e.old); n != 1 {
			t.Fatalf("%s: %q stands %d times in it, not once", e.file, e.old, n)
		}
		texts[path] = strings.Replace(texts[path], e.old, e.new, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		for use, pkg := range map[string]string{"context.Background()": "context", "strings.TrimSuffix(": "strings"} {
			if strings.Contains(text, use) && !strings.Contains(text, `"`+pkg+`"`) {
				text = strings.Replace(text, "import (", "import (\n\t\""+pkg+"\"", 1)
			}
		}
		to := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(path, root(t)+"/"), "/", "_"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[path] = to
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// TestMutantsStand: every planted bug still finds the code that it is planted in.
func TestMutantsStand(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) { m.apply(t, t.TempDir()) })
	}
}
