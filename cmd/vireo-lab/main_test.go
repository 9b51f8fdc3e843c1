package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestMistakesOnTheCommandLineExitWith2(t *testing.T) {
	for _, tc := range []struct {
		args string
		want string // in what it says
	}{
		{"conjure", `no command "conjure"; there are up, down,`},
		{"--verbose", "verbose"},
		{"up --hosts many", "hosts"},
		{"up here", "up takes no arguments"},
		{"exec", "HOST -- COMMAND"},
		{"exec h1 --", "HOST -- COMMAND"},
		{"virsh", "virsh HOST"},
		{"crash", "crash HOST"},
		{"boot h1 h2", "boot HOST"},
		{"inject h1", "inject HOST disk"},
		{"heartbeats --jsom", "jsom"},
		{"logs a b c", "MACHINE"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			var out, words bytes.Buffer
			code := run(t.Context(), append([]string{"vireo-lab"}, strings.Fields(tc.args)...), &out, &words)
			if code != exitUsage || !strings.Contains(words.String(), tc.want) {
				t.Errorf("exit code %d, said %q; want %d and %q", code, words.String(), exitUsage, tc.want)
			}
		})
	}
}

func TestHelpNamesEveryCommandAndHidesTheRest(t *testing.T) {
	var out, words bytes.Buffer
	if code := run(t.Context(), []string{"vireo-lab", "--help"}, &out, &words); code != 0 {
		t.Fatalf("exit code %d: %s", code, words.String())
	}
	for _, name := range []string{"up", "down", "status", "env", "exec", "virsh", "hosts", "guests", "heartbeats", "inject", "heal", "crash", "boot", "logs", "demo", "chaos"} {
		if !strings.Contains(out.String(), "\n     "+name+" ") {
			t.Errorf("help does not list %s", name)
		}
	}
	if strings.Contains(out.String(), "host-init") || strings.Contains(out.String(), "heartbeat-receiver") {
		t.Error("help lists what only the lab itself runs")
	}
}
