package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/ledger"
)

func (p *program) pfaLedgerCommand() *cli.Command {
	threshold := &cli.Float64Flag{Name: "threshold", Value: 10, Usage: "a warning is a 30-day risk of `PERCENT` or more"}
	return &cli.Command{
		Name:  "ledger",
		Usage: "hold the model to what it said of this fleet",
		Description: "A warning is a hit (the component failed within 30 days), a false alarm (it lived on) or mitigated-unknown (it was\n" +
			"taken out in time, or fell silent: nobody knows); a failure that nothing had warned of is missed. What became of a\n" +
			"component is for the operator to say:\n\n" +
			"   vireo pfa ledger mark disk:Z300V1RR --outcome failed --at 2026-03-01 --note 'clicks'\n" +
			"   vireo pfa ledger show\n" +
			"   vireo pfa ledger check --recalibrate own.vpfa",
		Subcommands: []*cli.Command{
			{
				Name: "show", Usage: "what became of every warning, and every failure without one",
				Flags:  append(storeFlags(), threshold, &cli.BoolFlag{Name: "json", Usage: "print JSON"}),
				Action: p.ledgerShow,
			},
			{
				Name: "mark", Usage: "say what became of a component", ArgsUsage: "COMPONENT",
				Flags: []cli.Flag{ledgerFlag(), &cli.PathFlag{Name: "store", Usage: "`DB` beside which the ledger lies"},
					&cli.StringFlag{Name: "outcome", Required: true, Usage: "`WHAT` became of it: failed, replaced (before it broke) or healthy"},
					&cli.StringFlag{Name: "at", Usage: "the `DAY` or time (RFC 3339) it happened", DefaultText: "now"},
					&cli.StringFlag{Name: "host", Usage: "the `HOST` it was in"}, &cli.StringFlag{Name: "note", Usage: "`TEXT` to keep with it"}},
				Action: p.ledgerMark,
			},
			{
				Name: "check", Usage: "compare failures observed with those expected, by drive family",
				Description: "Where the 90 % interval of observed / expected does not hold 1, the model is out of bounds here. --recalibrate writes\n" +
					"the model with its baseline brought to this fleet's own rate, drawn towards the model's (as if it had been right about\n" +
					"ten failures before).",
				Flags: append(storeFlags(), modelFlag, &cli.PathFlag{Name: "recalibrate", Usage: "corrected model `FILE`.vpfa to write"},
					&cli.BoolFlag{Name: "json", Usage: "print JSON"}),
				Action: p.ledgerCheck,
			},
		},
	}
}

func (p *program) ledgerMark(c *cli.Context) error {
	component, err := one(c, "COMPONENT")
	if err != nil {
		return err
	}
	now := p.now().UTC()
	m := ledger.Mark{Component: component, Host: c.String("host"), Outcome: ledger.Outcome(c.String("outcome")), At: now, Marked: now, Note: c.String("note")}
	if u, err := user.Current(); err == nil {
		m.Who = u.Username
	}
	if at := c.String("at"); at != "" {
		if m.At, err = time.Parse(time.DateOnly, at); err != nil {
			if m.At, err = time.Parse(time.RFC3339, at); err != nil {
				return badInput(fmt.Errorf("--at %q: expected a day as 2026-03-01 or a time as 2026-03-01T12:00:00Z", at))
			}
		}
	}
	if err := m.Validate(); err != nil {
		return badInput(err)
	}
	line, err := m.Line()
	if err != nil {
		return err
	}
	return appendLine(ledgerPath(c), line)
}

// appendLine adds a whole line to a file. What a crash left of the last one is
// ended first.
func appendLine(path string, line []byte) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return badInput(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if n := info.Size(); n > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, n-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			return badInput(fmt.Errorf("%s: its last line is not finished: remove it first", path))
		}
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	return f.Sync()
}

func (p *program) ledgerShow(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	if th := c.Float64("threshold"); !(th > 0 && th <= 100) {
		return badInput(fmt.Errorf("--threshold %g: expected a percentage above 0 and at most 100", th))
	}
	f, err := openFleet(c, newProgress(c))
	if err != nil {
		return err
	}
	defer f.Close()
	said, err := f.said(c)
	if err != nil {
		return err
	}
	entries := ledger.Judge(said, f.marks, c.Float64("threshold"), p.now())
	sum := ledger.SumOf(entries)
	if c.Bool("json") {
		return writeJSON(c, struct {
			Entries []ledger.Entry `json:"entries"`
			Sum     ledger.Sum     `json:"sum"`
		}{entries, sum})
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERDICT\tHOST\tCOMPONENT\tWARNED\tRISK\tENDED\tLEAD\tBECAUSE")
	for _, e := range entries {
		lead := ""
		if e.Lead > 0 {
			lead = fmt.Sprintf("%.0f d", e.Lead.Hours()/24)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Verdict, e.Host, e.Component, dayOrNone(e.Warned), pfa.Percent(e.Percent), dayOrNone(e.Ended), lead, e.Reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	p.printf("%s, %s, %d missed, %d mitigated-unknown, %d open; of the warnings whose truth is known %.0f %% were hits, of the failures %.0f %% were warned of\n",
		counted(sum.Count[ledger.Hit], "hit"), counted(sum.Count[ledger.FalseAlarm], "false alarm"), sum.Count[ledger.Missed],
		sum.Count[ledger.Mitigated], sum.Count[ledger.Open], 100*sum.Precision, 100*sum.Recall)
	return nil
}

func dayOrNone(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.DateOnly)
}

func (p *program) ledgerCheck(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	m, err := loadModel(c.String("model"))
	if err != nil {
		return err
	}
	f, err := openFleet(c, newProgress(c))
	if err != nil {
		return err
	}
	defer f.Close()
	said, err := f.said(c)
	if err != nil {
		return err
	}
	// Only what this model said of hard drives: a prior's word is not corrected.
	for i := range said {
		said[i].Said = slices.DeleteFunc(said[i].Said, func(x ledger.Prediction) bool {
			return x.Model != m.Name()
		})
	}
	windows, unknown := ledger.Windows(said, f.marks, p.now())
	checks := ledger.Checks(windows)
	if len(checks) == 0 {
		return badInput(fmt.Errorf("%s: model %s has said nothing there that is 30 days old: %d windows are open or of unknown end", c.Path("store"), m.Name(), unknown))
	}
	if c.Bool("json") {
		if err := writeJSON(c, struct {
			Model   string         `json:"model"`
			Checks  []ledger.Check `json:"checks"`
			Unknown int            `json:"unknown_windows"`
		}{m.Name(), checks, unknown}); err != nil {
			return err
		}
	} else if err := p.printChecks(m.Name(), checks, unknown); err != nil {
		return err
	}
	out := c.Path("recalibrate")
	if out == "" {
		return nil
	}
	if checks[0].InBounds && !slices.ContainsFunc(checks, func(x ledger.Check) bool { return !x.InBounds }) {
		p.printf("within bounds: no model is written\n")
		return nil
	}
	shift := map[string]float64{}
	var outside []string
	for _, x := range checks {
		shift[x.Family] = x.Shift
		if !x.InBounds {
			outside = append(outside, familyName(x.Family))
		}
	}
	all := checks[0]
	corrected, err := m.Recalibrated(shift, fmt.Sprintf("%d failures observed where %s expected %.1f, in %s of 30 days; out of bounds: %s",
		all.Observed, m.Name(), all.Expected, counted(all.Windows, "window"), strings.Join(outside, ", ")))
	if err != nil {
		return err
	}
	b, err := corrected.Bytes()
	if err != nil {
		return err
	}
	if err := writeWhole(out, b); err != nil {
		return err
	}
	p.printf("%s written: %s\n", out, corrected.Name())
	return nil
}

func familyName(f string) string {
	if f == "" {
		return "all"
	}
	return f
}

func (p *program) printChecks(model string, checks []ledger.Check, unknown int) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAMILY\tWINDOWS\tOBSERVED\tEXPECTED\tOBSERVED/EXPECTED\t90 % INTERVAL\tWITHIN BOUNDS")
	for _, x := range checks {
		within := "yes"
		if !x.InBounds {
			within = "no"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%.2f\t%.2f\t%.2f … %.2f\t%s\n", familyName(x.Family), x.Windows, x.Observed, x.Expected,
			float64(x.Observed)/x.Expected, x.Lo, x.Hi, within)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	p.printf("what %s said, in windows of 30 days; %s of unknown end left out\n", model, counted(unknown, "window"))
	return nil
}
