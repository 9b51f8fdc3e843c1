package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/backtest"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/ledger"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// storeFlags are those of commands that look at what a manager has kept.
func storeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.PathFlag{Name: "store", Value: filepath.Join(configs.DefaultManager().StateDir, "vireo.db"),
			Usage: "the manager's `DB`, which may be running: it is only read"},
		ledgerFlag(),
	}
}

func ledgerFlag() cli.Flag {
	return &cli.PathFlag{Name: "ledger", DefaultText: "ledger.ndjson beside the store", Usage: "`FILE` with the operator's marks"}
}

func ledgerPath(c *cli.Context) string {
	if path := c.Path("ledger"); path != "" {
		return path
	}
	dir := configs.DefaultManager().StateDir
	if s := c.Path("store"); s != "" {
		dir = filepath.Dir(s)
	}
	return filepath.Join(dir, "ledger.ndjson")
}

// readMarks reads the ledger's file; without one nothing is marked.
func readMarks(c *cli.Context) ([]ledger.Mark, error) {
	path := ledgerPath(c)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) && c.Path("ledger") == "" {
		return nil, nil
	}
	if err != nil {
		return nil, badInput(err)
	}
	defer f.Close()
	marks, err := ledger.Read(path, f)
	return marks, badInput(err)
}

// ownFleet is what is stored of a fleet, and marked by its operator.
type ownFleet struct {
	*sqlite.ReadOnly
	marks []ledger.Mark
	hosts []backtest.Host
}

func openFleet(c *cli.Context, said *progress) (*ownFleet, error) {
	marks, err := readMarks(c)
	if err != nil {
		return nil, err
	}
	s, err := sqlite.OpenReadOnly(c.Context, c.Path("store"))
	if err != nil {
		return nil, badInput(err)
	}
	f := &ownFleet{ReadOnly: s, marks: marks}
	if f.hosts, err = backtest.Read(c.Context, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	n := 0
	for _, h := range f.hosts {
		n += len(h.Readings)
	}
	if n == 0 {
		return nil, errors.Join(badInput(fmt.Errorf("%s: nothing was read of any host yet", c.Path("store"))), s.Close())
	}
	said.step("%s, %s by day and signal, %s", counted(len(f.hosts), "host"), counted(n, "reading"), counted(len(marks), "mark"))
	return f, nil
}

// components are the readings of each component, by host and component.
func (f *ownFleet) components(visit func(host, component string, readings []signal.Reading)) {
	for _, h := range f.hosts {
		byComponent(h.Readings, func(component string, readings []signal.Reading) { visit(h.Name, component, readings) })
	}
}

// said is what the model has said of each component.
func (f *ownFleet) said(c *cli.Context) ([]ledger.Component, error) {
	var out []ledger.Component
	var err error
	f.components(func(host, component string, readings []signal.Reading) {
		x := ledger.Component{Host: host, Component: component}
		for _, r := range readings {
			if r.Signal == signal.DriveModel {
				x.Family = pfa.Family(r.Text)
			}
			x.Seen = r.ObservedAt
		}
		history, e := f.RiskHistory(c.Context, host, component, time.Time{})
		if e != nil {
			err = e
		}
		for _, r := range history {
			p := ledger.Prediction{At: r.Score.At, Percent: r.Score.P30d, Model: r.Model}
			if len(r.Reasons) > 0 {
				p.Reason = r.Reasons[0].Text
			}
			if r.Score.Hard {
				p.Percent = 100
			}
			x.Said = append(x.Said, p)
		}
		out = append(out, x)
	})
	return out, err
}
