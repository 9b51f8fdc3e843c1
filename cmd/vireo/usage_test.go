package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/cmdline"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// TestUsage: whoever calls a command wrongly learns what was expected, exits
// with 2, and nothing is asked of the manager.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"bogus":                            `no command "bogus"; there are hosts, host,`,
		"hosts bogus":                      `unexpected argument "bogus"; its commands are maintenance, prefer,`,
		"host":                             "vireo host: expected HOST, got 0 arguments; for example: vireo host h1",
		"host h1 h2":                       "vireo host: expected HOST, got 2 arguments",
		"hosts --bogus":                    "vireo hosts: flag provided but not defined: -bogus; see vireo hosts --help",
		"decisions approve d1":             "--reason is needed",
		"decisions bogus":                  `unexpected argument "bogus"`,
		"explain bogus":                    `no command "bogus"; there are host, domain and migration`,
		"explain host":                     "expected HOST, got 0 arguments; for example: vireo explain host h1",
		"explain migration":                "expected MIGRATION, got 0 arguments; vireo migrations shows them",
		"risk h1 h2":                       "expected at most HOST, got 2 arguments",
		"automation maybe":                 `no command "maybe"; there are off and on`,
		"automation off":                   "--reason is needed",
		"agents token":                     "--host is needed",
		"agents token --host h --valid 0s": "--valid 0s: expected a time from now",
		"agents token --host h --valid x":  `invalid value "x" for flag -valid`,
		"migrations --limit -1":            `invalid value "-1" for flag -limit`,
		"virsh --all":                      "expected a command such as list",
		"virsh dominfo":                    "vireo virsh dominfo: expected a domain",
		"virsh dominfo g1 g2":              `expected one domain, got "g1" and "g2"`,
		"virsh list --host":                "--host expects the name of a host",
		"pfa bogus":                        `no command "bogus"`,
		"pfa evaluate":                     "vireo pfa evaluate: expected either --data or --daily",
		"pfa evaluate --data d --daily f":  "vireo pfa evaluate: expected either --data or --daily",
		"pfa evaluate --data d --model f":  "--model does not go with this input",
		"pfa evaluate --daily f --evaluate-from x":           "--evaluate-from does not go with this input",
		"pfa import --host h1":                               "expected at least one FILE",
		"pfa import --host h1 x.csv":                         "expected --as-readings",
		"pfa import --as-readings x.csv":                     "--host is needed",
		"pfa import --as-readings --host h1 none":            "none: no such file",
		"pfa import --as-readings --host h1 --until 3 x.csv": "expected 0 or a negative number of days",
	} {
		t.Run(line, func(t *testing.T) {
			f := fleet()
			got := newRunner(t, f).do(t.Context(), strings.Fields(line)...)
			got.expect(t, 2, want)
			if len(f.asked) > 0 {
				t.Errorf("asked %v", f.asked)
			}
			if strings.Count(got.err, "\n") != 1 || got.out != "" {
				t.Errorf("more than one line:\n%s%s", got.out, got.err)
			}
		})
	}
}

// TestRefusals: what the manager says no to, is said, with its exit code.
func TestRefusals(t *testing.T) {
	for kind, code := range map[apierr.Kind]int{apierr.Input: 2, apierr.NotFound: 1, apierr.Permission: 4, apierr.Claim: 4,
		apierr.Policy: 4, apierr.Unavailable: 1, apierr.Failed: 1} {
		f := fleet()
		f.refuse = apierr.New(kind, "no, because of %s", kind)
		newRunner(t, f).do(t.Context(), "hosts").expect(t, code, "vireo: no, because of "+string(kind)+"\n")
	}
}

func TestHelpIsNoError(t *testing.T) {
	r := newRunner(t, fleet())
	for _, line := range []string{"", "explain", "agents", "pfa", "hosts --help", "virsh"} {
		got := r.do(t.Context(), strings.Fields(line)...)
		got.expect(t, 0, "USAGE")
	}
}

func TestFlagsFirst(t *testing.T) {
	app := (&program{}).app()
	app.Commands = append(app.Commands, &cli.Command{Name: "values", Flags: []cli.Flag{
		&cli.StringFlag{Name: "text", Aliases: []string{"t"}}, &cli.BoolFlag{Name: "on"}}})
	for line, want := range map[string]string{
		"":                                 "",
		"evacuate h1 --dry-run":            "evacuate --dry-run h1",
		"decisions approve d1 --reason ok": "decisions approve --reason ok d1",
		"decisions --limit 3":              "decisions --limit 3",
		"values a --text b c -t d --on e":  "values --text b -t d --on a c e",
		"values a --text=b c":              "values --text=b a c",
		"values a --text":                  "values --text a",
		"values a -- --on":                 "values -- a --on",
		"values -- a --on":                 "values -- a --on",
		"values - a":                       "values - a",
		"values --unknown a":               "values --unknown a",
		"virsh list --all --host h1":       "virsh list --all --host h1",
		"bogus --flag":                     "--flag bogus",
	} {
		if got := cmdline.FlagsFirst(app, strings.Fields(line)); strings.Join(got, " ") != want {
			t.Errorf("%q became %q, want %q", line, strings.Join(got, " "), want)
		}
	}
}

func TestVirsh(t *testing.T) {
	ask := func(line string, outputs ...*managerv1.VirshOutput) (result, *managerv1.VirshRequest) {
		f := fleet()
		f.outputs = outputs
		got := newRunner(t, f).do(t.Context(), strings.Fields(line)...)
		if len(f.asked) != 1 {
			t.Fatalf("%s: asked %v", line, f.asked)
		}
		return got, f.asked[0].(*managerv1.VirshRequest)
	}
	odd := " Id   Name\n\x00\xff\x1b[1m\r\n" // not even text

	got, req := ask("virsh dominfo g1", &managerv1.VirshOutput{Host: "h2", Stdout: []byte(odd), Stderr: []byte("warn\n")})
	if got != (result{0, odd, "warn\n"}) || req.Domain != "g1" || req.Host != "" || !reflect.DeepEqual(req.Args, []string{"dominfo"}) {
		t.Errorf("dominfo: %+v for %v", got, req)
	}
	got, req = ask("virsh dumpxml --inactive --host h2 -- -odd-", &managerv1.VirshOutput{Host: "h2", Stdout: []byte("<domain/>\n")})
	if got.out != "<domain/>\n" || req.Domain != "-odd-" || req.Host != "h2" || !reflect.DeepEqual(req.Args, []string{"dumpxml", "--inactive"}) {
		t.Errorf("dumpxml: %+v for %v", got, req)
	}
	got, req = ask("virsh list --all --host=h1", &managerv1.VirshOutput{Host: "h1", Stdout: []byte("one\n\n")})
	if got.out != "one\n\n" || req.Host != "h1" || !reflect.DeepEqual(req.Args, []string{"list", "--all"}) {
		t.Errorf("list on a host: %+v for %v", got, req)
	}
	got, _ = ask("virsh list", &managerv1.VirshOutput{Host: "h1", Stdout: []byte("one\n\n")}, &managerv1.VirshOutput{Host: "h2", Error: "the agent is away"})
	if got != (result{1, "h1:\none\n\nh2:\n", "vireo: virsh on h2: the agent is away\n"}) {
		t.Errorf("list: %+v", got)
	}
	got, _ = ask("virsh domstate g9", &managerv1.VirshOutput{Host: "h1", Stderr: []byte("error: failed to get domain 'g9'\n"), ExitCode: 1})
	if got != (result{1, "", "error: failed to get domain 'g9'\n"}) {
		t.Errorf("failure: %+v", got)
	}
	const no = `virsh destroy is not allowed; allowed: dominfo`
	got, req = ask("virsh destroy g1", &managerv1.VirshOutput{Host: "h2", Error: no, Refused: true})
	if got != (result{4, "", "vireo: virsh on h2: " + no + "\n"}) || req.Domain != "g1" || !reflect.DeepEqual(req.Args, []string{"destroy"}) {
		t.Errorf("a command that changes something: %+v for %v", got, req)
	}
	// Not reached is not refused, whatever was asked for.
	got, _ = ask("virsh destroy g1", &managerv1.VirshOutput{Host: "h2", Error: "not reached: silent for 20s"})
	if got.code != 1 {
		t.Errorf("a host that is away: %+v", got)
	}
	got, _ = ask("virsh list --nonsense", &managerv1.VirshOutput{Host: "h1", Error: "virsh list --nonsense is not allowed", Refused: true},
		&managerv1.VirshOutput{Host: "h2", Error: "the agent is away"})
	if got.code != 4 {
		t.Errorf("refused by one, the other away: %+v", got)
	}
}

func TestImport(t *testing.T) {
	f := fleet()
	r := newRunner(t, f)
	drive := filepath.Join("..", "..", "test", "testdata", "drives", "Z300V1RR.csv")
	got := r.do(t.Context(), "pfa", "import", "--as-readings", "--host", "h1", "--until", "-26", drive)
	got.expect(t, 0, drive+": ", " new\n")
	if len(f.asked) == 0 {
		t.Fatal("nothing was sent")
	}
	var first, last time.Time
	for _, m := range f.asked {
		req := m.(*managerv1.ImportReadingsRequest)
		if req.Host != "h1" || len(req.Readings) > importAtOnce {
			t.Errorf("%d readings for %s", len(req.Readings), req.Host)
		}
		for _, x := range req.Readings {
			if x.Component != "disk:Z300V1RR" || x.Status != "ok" || x.Signal == "" {
				t.Fatalf("reading %v", x)
			}
			at := x.ObservedAt.AsTime()
			if first.IsZero() || at.Before(first) {
				first = at
			}
			if at.After(last) {
				last = at
			}
		}
	}
	// 2013-11-15 to 2014-09-03, 26 days before 2014-09-29; the last becomes yesterday.
	if days := last.Sub(first).Hours() / 24; last.Format(time.DateOnly) != "2026-11-22" || days != 292 {
		t.Errorf("from %v to %v, %v days", first, last, days)
	}
	r.do(t.Context(), "pfa", "import", "--as-readings", "--host", "h1", "--last-day", "2020-02-29", "--json", drive).expect(t, 0, `"kept": "`)
	at := f.asked[len(f.asked)-1].(*managerv1.ImportReadingsRequest).Readings
	if day := at[len(at)-1].ObservedAt.AsTime().Format(time.DateOnly); day != "2020-02-29" {
		t.Errorf("last day %s", day)
	}

	broken := filepath.Join(t.TempDir(), "broken.csv")
	if err := os.WriteFile(broken, []byte("date,serial_number,model,smart_5_raw\nyesterday,A,B,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.do(t.Context(), "pfa", "import", "--as-readings", "--host", "h1", broken).expect(t, 2, "broken.csv", "yesterday")
	r.do(t.Context(), "pfa", "import", "--as-readings", "--host", "h1", "--until", "-9999", drive).expect(t, 2, "nothing is recorded until 9999 days before its end")
}
