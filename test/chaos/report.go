package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vireo-kvm/vireo/configs"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// Report is what a run did and found.
type Report struct {
	Seed        uint64         `json:"seed"`
	Store       string         `json:"store"`
	Hook        string         `json:"hook"`
	Took        time.Duration  `json:"-"`
	Rounds      int            `json:"rounds"` // that have come to rest
	Done        map[Kind]int   `json:"done"`
	NotPossible int            `json:"not_possible"` // put off to a later round
	Moves       map[string]int `json:"moves"`        // of vireo's, by outcome
	Chosen      int            `json:"chosen"`       // moves that a person had to decide
	Leftovers   int            `json:"leftovers"`    // definitions that a person had to remove
	Refused     int            `json:"refused"`      // what users did and vireo refused
	Violations  []string       `json:"violations"`
	History     []string       `json:"history,omitempty"` // with violations only
}

// Missing returns the kinds that the run never did.
func (r *Report) Missing() (out []Kind) {
	for _, k := range Kinds(r.Store == configs.StoreEtcd) {
		if r.Done[k] == 0 {
			out = append(out, k)
		}
	}
	return out
}

// MarshalJSON writes the time it took in seconds.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	return json.Marshal(struct {
		*plain
		Seconds float64 `json:"seconds"`
	}{(*plain)(r), r.Took.Seconds()})
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) {
	if len(r.Violations) > 0 {
		fmt.Fprintf(w, "\nHistory:\n%s\n", strings.Join(r.History, "\n"))
	}
	fmt.Fprintf(w, "\nseed %d, %s, %d rounds, store %s, hook %s\n\n", r.Seed, r.Took, r.Rounds, r.Store, r.Hook)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FAULT\tTIMES")
	for _, k := range Kinds(r.Store == configs.StoreEtcd) {
		fmt.Fprintf(t, "%s\t%d\n", k, r.Done[k])
	}
	t.Flush() // to a writer whose errors nobody could be told of
	var moves []string
	for _, outcome := range slices.Sorted(maps.Keys(r.Moves)) {
		moves = append(moves, fmt.Sprintf("%d %s", r.Moves[outcome], outcome))
	}
	fmt.Fprintf(w, "\nvireo's moves: %s; decided by a person: %d; definitions removed by a person: %d; refused to users: %d\n",
		strings.Join(moves, ", "), r.Chosen, r.Leftovers, r.Refused)
	if len(r.Violations) == 0 {
		fmt.Fprintln(w, "no violation")
		return
	}
	fmt.Fprintf(w, "VIOLATED (seed %d):\n  %s\n", r.Seed, strings.Join(r.Violations, "\n  "))
}

// count takes the outcomes of all moves into the report, and holds every ended
// move against the rule that none ends without an outcome and a reason.
func (r *runner) count(ctx context.Context) {
	var moves managerv1.ListMigrationsResponse
	if err := r.lab.Ask(ctx, &moves, "migrations", "--limit", "1000"); err != nil {
		r.say("moves are not counted: %v", err)
		return
	}
	r.rep.Moves = map[string]int{}
	for _, m := range moves.Migrations {
		r.rep.Moves[m.State]++
		if m.Ended != nil && (m.Outcome == "" || m.OutcomeReason == "") {
			r.rep.Violations = append(r.rep.Violations, fmt.Sprintf("move %s of %s ended %s with outcome %q and reason %q", m.Id, m.DomainName, m.State, m.Outcome, m.OutcomeReason))
		}
	}
}

// evidence adds to the history what helps to understand a violation.
func (r *runner) evidence(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, args := range [][]string{{"hosts"}, {"claims"}, {"migrations"}, {"events", "--last", "80"}} {
		out, err := r.lab.Vireo(ctx, args...)
		if err != nil {
			out += err.Error()
		}
		r.say("$ vireo %s\n%s", strings.Join(args, " "), out)
	}
	for _, h := range r.lab.Hosts {
		for _, args := range [][]string{{"list", "--all"}} {
			out, err := r.lab.Virsh(ctx, h.Name, args...)
			if err != nil {
				out += err.Error()
			}
			r.say("$ virsh %s, on %s\n%s", strings.Join(args, " "), h.Name, out)
		}
	}
	for _, g := range r.lab.Guests {
		r.say("%s has the processes %v", g.Name, r.copies(g.Name))
	}
}
