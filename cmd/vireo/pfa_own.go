package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/manager/backtest"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/ledger"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// ownHistories are the hard drives that a manager has kept readings of; those
// failed that the ledger marks as failed. Their source's checksum is that of
// the histories, since the store itself changes all the time.
func ownHistories(c *cli.Context, said *progress) (history, error) {
	marks, err := readMarks(c)
	if err != nil {
		return history{}, err
	}
	path := c.Path("store")
	s, err := sqlite.OpenReadOnly(c.Context, path)
	if err != nil {
		return history{}, badInput(err)
	}
	defer s.Close()
	own, err := readOwn(c, s, marks, said)
	if err != nil {
		return history{}, err
	}
	failed := 0
	sum := sha256.New()
	for _, d := range own {
		fmt.Fprintf(sum, "%+v\n", d)
		if d.Failed {
			failed++
		}
	}
	if len(own) == 0 {
		return history{}, badInput(fmt.Errorf("%s: no ATA hard drive there", path))
	}
	said.step("%s, %d of them marked as failed in %s", counted(len(own), "hard drive"), failed, ledgerPath(c))
	return history{drives: own, sources: []pfa.Source{{Name: filepath.Base(path), SHA256: hex.EncodeToString(sum.Sum(nil)), Rows: len(own)}}}, nil
}

// readOwn reads drives host by host. Of one that moved to another host what
// counts is where it was last: that is where it failed, or did not. A store has
// no order of rows that a model could learn from, so theirs means nothing: by
// host or serial number drives of one make and age would follow each other.
func readOwn(c *cli.Context, s backtest.Source, marks []ledger.Mark, said *progress) ([]pfa.Drive, error) {
	failures := ledger.Failures(marks)
	last := map[string]pfa.Drive{}
	hosts := 0
	isDisk := func(component string) bool { return strings.HasPrefix(component, signal.DiskComponent("")) }
	err := backtest.Each(c.Context, s, isDisk, func(h backtest.Host) error {
		if hosts++; hosts%100 == 0 {
			said.step("%d hosts read", hosts)
		}
		byComponent(h.Readings, func(component string, readings []signal.Reading) {
			d, ok := pfa.DriveOf(component, readings, failures[component])
			if before, moved := last[d.Serial]; ok && (!moved || d.Last.After(before.Last)) {
				last[d.Serial] = d
			}
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]pfa.Drive, 0, len(last))
	for _, d := range last {
		out = append(out, d)
	}
	meaningless := func(d *pfa.Drive) []byte { h := sha256.Sum256([]byte(d.Serial)); return h[:] }
	slices.SortFunc(out, func(a, b pfa.Drive) int { return bytes.Compare(meaningless(&a), meaningless(&b)) })
	return out, nil
}

// byComponent visits the readings of each component, in the order in which they
// first appear.
func byComponent(readings []signal.Reading, visit func(component string, readings []signal.Reading)) {
	by := map[string][]signal.Reading{}
	var names []string
	for _, r := range readings {
		if by[r.Component] == nil {
			names = append(names, r.Component)
		}
		by[r.Component] = append(by[r.Component], r)
	}
	for _, name := range names {
		visit(name, by[name])
	}
}
