package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager"
	"github.com/vireo-kvm/vireo/manager/backtest"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/pfa"
)

func (p *program) pfaBacktestCommand() *cli.Command {
	t := configs.DefaultManager().Thresholds
	level := func(name string, th configs.Threshold) cli.Flag {
		return &cli.StringFlag{Name: name, Value: fmt.Sprintf("%g/%g", th.Enter, th.Leave), Usage: "`ENTER/LEAVE` in percent within 30 days"}
	}
	return &cli.Command{
		Name:  "backtest",
		Usage: "replay stored telemetry through other thresholds or another model",
		Description: "Says what would have been moved, when, at what cost, and, by the ledger's marks, what came of it. The stored days are\n" +
			"looked at one by one, so hold times do not count; guests are those that the hosts hold now.",
		Flags: append(storeFlags(), modelFlag, level("watch", t.Watch), level("quarantine", t.Quarantine), level("evacuate", t.Evacuate),
			&cli.BoolFlag{Name: "json", Usage: "print JSON"}),
		Action: p.backtest,
	}
}

func threshold(c *cli.Context, name string) (decide.Threshold, error) {
	enter, leave, ok := strings.Cut(c.String(name), "/")
	e, err1 := strconv.ParseFloat(enter, 64)
	l, err2 := strconv.ParseFloat(leave, 64)
	if !ok || err1 != nil || err2 != nil || !(l > 0 && e > l && e <= 100) {
		return decide.Threshold{}, usagef("vireo pfa backtest: --%s %s: expected ENTER/LEAVE as 25/12, in percent, ENTER above LEAVE", name, c.String(name))
	}
	return decide.Threshold{Enter: e, Leave: l}, nil
}

func (p *program) backtest(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	policy := manager.PolicyFrom(configs.DefaultManager()).Decide
	policy.Hold, policy.HoldReadings = 0, 1 // a day's last reading stands for the day
	var err error
	for name, to := range map[string]*decide.Threshold{"watch": &policy.Watch, "quarantine": &policy.Quarantine, "evacuate": &policy.Evacuate} {
		if *to, err = threshold(c, name); err != nil {
			return err
		}
	}
	if policy.Watch.Enter > policy.Quarantine.Enter || policy.Quarantine.Enter > policy.Evacuate.Enter {
		return usagef("vireo pfa backtest: --watch %g, --quarantine %g, --evacuate %g: expected them to rise", policy.Watch.Enter, policy.Quarantine.Enter, policy.Evacuate.Enter)
	}
	m, err := loadModel(c.String("model"))
	if err != nil {
		return err
	}
	said := newProgress(c)
	f, err := openFleet(c, said)
	if err != nil {
		return err
	}
	defer f.Close()
	res, err := backtest.Replay(c.Context, f.hosts, manager.ModelScorer{Model: m}, policy, f.marks,
		func(done, of int) { said.at("%d of %s replayed", done, counted(of, "host")) })
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(c, res)
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DAY\tHOST\tLEVEL\tRISK\tGUESTS\tMEMORY\tTAKES\tCAME OF IT\tBECAUSE")
	for _, s := range res.Steps {
		guests, memory, takes := "", "", ""
		if s.To == decide.LevelEvacuate.String() {
			guests, memory, takes = strconv.Itoa(s.Guests), fmt.Sprintf("%.1f GiB", float64(s.MemoryKiB)/(1<<20)), s.Transfer.String()
		}
		risk := pfa.Percent(s.Percent)
		if s.Hard {
			risk = "hard"
		}
		fmt.Fprintf(w, "%s\t%s\t%s → %s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.At.Format(time.DateOnly), s.Host, s.From, s.To, risk, guests, memory, takes, s.Outcome, s.Reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	p.printf("%s, %s from %s to %s: %s of %.1f GiB would have been moved; %d of %s came after their host was to be emptied; %s for nothing\n",
		res.Model, counted(res.Hosts, "host"), res.From.Format(time.DateOnly), res.Until.Format(time.DateOnly), counted(res.Moves, "guest"),
		float64(res.MemoryKiB)/(1<<20), res.Ahead, counted(res.Ahead+res.Missed, "marked failure"), counted(res.Wasted, "move"))
	return nil
}
