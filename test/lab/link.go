package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Storage is the name of the guests' disks as one end of a link. A link to it is
// cut for disks only: the beats, which arrive at the same address, are measured
// before the cut.
const Storage = "storage"

// linkFault is what is wrong with the way from one machine to another.
type linkFault struct {
	From string `json:"from"`
	To   string `json:"to"`
	Cut  bool   `json:"cut"`            // nothing passes
	Rate string `json:"rate,omitempty"` // as tc understands it, such as "1gbit"; "": unshaped
}

func linksFile() string { return filepath.Join(Dir, "links.json") }

func readLinks() ([]linkFault, error) {
	b, err := os.ReadFile(linksFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var faults []linkFault
	return faults, json.Unmarshal(b, &faults)
}

// Cut drops everything that a sends to b, and also what b sends to a unless it is
// to go one way only. An end is a host, ManagerName or Storage.
func (l *Lab) Cut(ctx context.Context, a, b string, oneWay bool) error {
	return l.changeLink(ctx, a, b, oneWay, func(f *linkFault) { f.Cut = true })
}

// Shape limits what a and b send to each other to a rate, such as "1gbit" or "200mbit", each way.
func (l *Lab) Shape(ctx context.Context, a, b, rate string) error {
	if a == Storage || b == Storage {
		return errors.New("links to the storage can be cut, not shaped")
	}
	return l.changeLink(ctx, a, b, false, func(f *linkFault) { f.Rate = rate })
}

// HealLink undoes what was done to the link between a and b.
func (l *Lab) HealLink(ctx context.Context, a, b string) error {
	return l.changeLink(ctx, a, b, false, func(f *linkFault) { f.Cut, f.Rate = false, "" })
}

// HealLinks undoes what was done to any link.
func (l *Lab) HealLinks(ctx context.Context) error {
	if err := os.Remove(linksFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return l.applyLinks(ctx)
}

// changeLink changes both ways between two machines, or one, and puts them into force.
func (l *Lab) changeLink(ctx context.Context, a, b string, oneWay bool, change func(*linkFault)) error {
	for _, end := range []string{a, b} {
		if end == Storage {
			continue
		}
		if _, err := l.addressOf(end); err != nil || end == SwitchName {
			return fmt.Errorf("%q is no end of a link: expected a host, %s or %s", end, ManagerName, Storage)
		}
	}
	if a == b {
		return fmt.Errorf("%s has no link to itself", a)
	}
	faults, err := readLinks()
	if err != nil {
		return err
	}
	ways := [][2]string{{a, b}, {b, a}}
	if oneWay {
		ways = ways[:1]
	}
	for _, way := range ways {
		i := slices.IndexFunc(faults, func(f linkFault) bool { return f.From == way[0] && f.To == way[1] })
		if i < 0 {
			faults = append(faults, linkFault{From: way[0], To: way[1]})
			i = len(faults) - 1
		}
		change(&faults[i])
	}
	faults = slices.DeleteFunc(faults, func(f linkFault) bool { return !f.Cut && f.Rate == "" })
	text, err := json.Marshal(faults)
	if err != nil {
		return err
	}
	if err := writeWhole(linksFile(), text); err != nil {
		return err
	}
	return l.applyLinks(ctx)
}

// applyLinks makes the switch do what the file of faults says, and nothing else.
func (l *Lab) applyLinks(ctx context.Context) error {
	faults, err := readLinks()
	if err != nil {
		return err
	}
	rules, shapes := linkRules(faults)
	if _, err := output(ctx, rules, "ip", "netns", "exec", netnsOf(SwitchName), "nft", "-f", "-"); err != nil {
		return err
	}
	for _, m := range l.Machines() {
		if m == SwitchName {
			continue
		}
		// An unshaped port has no discipline to delete, which is an error to tc only.
		_ = run("tc", "-n", netnsOf(SwitchName), "qdisc", "del", "dev", m, "root")
	}
	if len(shapes) == 0 {
		return nil
	}
	_, err = output(ctx, strings.Join(shapes, "\n")+"\n", "tc", "-n", netnsOf(SwitchName), "-batch", "-")
	return err
}

// linkRules returns what nft and tc have to be told. A shaped way is a class of the
// port it leaves by, chosen where the switch forwards; all else goes unhindered.
func linkRules(faults []linkFault) (rules string, shapes []string) {
	var forward, input, output strings.Builder
	shaped := map[string]bool{}
	for i, f := range faults {
		switch {
		case f.Cut && f.To == Storage:
			fmt.Fprintf(&input, "    iifname %q ip protocol tcp drop\n", f.From)
		case f.Cut && f.From == Storage:
			fmt.Fprintf(&output, "    oifname %q ip protocol tcp drop\n", f.To)
		case f.Cut:
			fmt.Fprintf(&forward, "    iifname %q oifname %q drop\n", f.From, f.To)
		default:
			if !shaped[f.To] {
				shaped[f.To] = true
				shapes = append(shapes,
					"qdisc add dev "+f.To+" root handle 1: htb default 1",
					"class add dev "+f.To+" parent 1: classid 1:1 htb rate 40gbit quantum 60000",
				)
			}
			class := fmt.Sprintf("1:%x", i+2)
			shapes = append(shapes, fmt.Sprintf("class add dev %s parent 1: classid %s htb rate %s burst 128k quantum 60000", f.To, class, f.Rate))
			fmt.Fprintf(&forward, "    iifname %q oifname %q meta priority set %s\n", f.From, f.To, class)
		}
	}
	chain := func(hook string, b *strings.Builder) string {
		return fmt.Sprintf("  chain %s {\n    type filter hook %s priority 0; policy accept;\n%s  }\n", hook, hook, b.String())
	}
	// Adding the table before deleting it makes the deletion succeed the first time, too.
	return "table bridge vireo_lab { }\ndelete table bridge vireo_lab\ntable bridge vireo_lab {\n" +
		chain("forward", &forward) + chain("input", &input) + chain("output", &output) + "}\n", shapes
}
