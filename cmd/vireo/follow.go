package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// follower shows moves as they go on: on a terminal a bar for each, redrawn in
// place; elsewhere a line whenever one changes its state.
type follower struct {
	p     *program
	json  bool
	lines int               // drawn last time, above the cursor
	said  map[string]string // id → what its last line said
}

func (p *program) follower() *follower {
	return &follower{p: p, said: map[string]string{}}
}

// show shows the moves, oldest first.
func (f *follower) show(migrations []*managerv1.Migration) error {
	migrations = slices.Clone(migrations)
	slices.SortStableFunc(migrations, func(a, b *managerv1.Migration) int {
		return cmp.Or(timeOf(a.Started).Compare(timeOf(b.Started)), cmp.Compare(a.DomainName, b.DomainName))
	})
	if f.p.shows && !f.json {
		f.redraw(migrations)
		return nil
	}
	for _, m := range migrations {
		now := m.State + " " + m.Outcome + " " + m.Waiting
		if f.said[m.Id] == now {
			continue
		}
		f.said[m.Id] = now
		if f.json {
			if err := f.p.printJSONLine(m); err != nil {
				return err
			}
			continue
		}
		f.p.printf("%s  %s → %s  %s%s\n", or(m.DomainName, m.Domain), m.Source, m.Target, m.State, tail(f.p, m))
	}
	return nil
}

// tail is what is worth saying about a move behind its state.
func tail(p *program, m *managerv1.Migration) string {
	switch {
	case m.Outcome == "done" && m.Downtime != nil:
		return fmt.Sprintf("  %s (%s)", arrived(p, m), shares(m.Downtime))
	case m.Outcome != "":
		return "  " + or(m.OutcomeReason, m.Outcome)
	case m.Waiting != "":
		return "  " + m.Waiting
	}
	return ""
}

// arrived is what a guest paid for its move.
func arrived(p *program, m *managerv1.Migration) string {
	return fmt.Sprintf("in %s, down for %s", p.took(m), millis(m.Downtime.Total))
}

// shares are the parts of a downtime.
func shares(d *managerv1.Downtime) string {
	return fmt.Sprintf("switch %s, source's exit %s, hand-over %s", millis(d.Switch), millis(d.SourceExit), millis(d.Handover))
}

// redraw replaces the lines that were drawn last.
func (f *follower) redraw(migrations []*managerv1.Migration) {
	var b strings.Builder
	if f.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", f.lines)
	}
	wide := 0
	for _, m := range migrations {
		wide = max(wide, utf8.RuneCountInString(route(m)))
	}
	width, height := f.p.screen()
	hidden := 0
	if room := max(1, height-3); len(migrations) > room { // what has scrolled away cannot be redrawn: the newest stay
		hidden = len(migrations) - room
		migrations = migrations[hidden:]
	}
	for _, m := range migrations {
		bar := progressBar(m, 24)
		text := clean(pad(route(m), wide) + "  [" + bar + "]  ")
		room := width - 1 - utf8.RuneCountInString(text) // a wrapped line would break the redrawing
		rest := clean(m.State + speed(m) + tail(f.p, m))
		if utf8.RuneCountInString(rest) > room && m.Downtime != nil { // its shares are in vireo explain
			rest = clean(m.State + "  " + arrived(f.p, m))
		}
		rest = cut(rest, room)
		b.WriteString("\x1b[2K" + text + f.p.paint(stateStyle(m.State), rest) + "\n")
	}
	f.lines = len(migrations)
	if hidden > 0 {
		fmt.Fprintf(&b, "\x1b[2K… and %d before them\n", hidden)
		f.lines++
	}
	fmt.Fprint(f.p.out, b.String())
}

func route(m *managerv1.Migration) string {
	return or(m.DomainName, m.Domain) + "  " + m.Source + " → " + m.Target
}

func speed(m *managerv1.Migration) string {
	if m.Outcome != "" || m.GetProgress().GetBytesPerSecond() == 0 {
		return ""
	}
	text := ""
	if pr := m.Progress; pr.DataTotal > 0 {
		text = fmt.Sprintf("  %.0f %%", 100*copied(pr))
	}
	return text + "  " + size(m.Progress.BytesPerSecond) + "/s"
}

// copied is the share of a guest's memory that need not be copied any more, from
// 0 to 1.
func copied(pr *managerv1.Progress) float64 {
	return 1 - float64(min(pr.DataRemaining, pr.DataTotal))/float64(pr.DataTotal)
}

// progressBar fills with what need not be copied any more.
func progressBar(m *managerv1.Migration, width int) string {
	full := 0
	switch pr := m.Progress; {
	case m.Outcome == "done" || m.State == "committing" || m.State == "verifying":
		full = width
	case pr.GetDataTotal() > 0:
		full = int(float64(width) * copied(pr))
	}
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
